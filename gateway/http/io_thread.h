#pragma once
// One thread, one event loop, and the connections that live on it: nothing of a connection needs a lock.

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "gateway/http/answer.h"

namespace trireme {

class Connection;

class IoThread final : public std::enable_shared_from_this<IoThread> {
 public:
  explicit IoThread(std::shared_ptr<HttpCore> core);
  void start();

  // Any thread.
  void adopt(int socket, std::string peer);        // an accepted, admitted, non-blocking socket
  void wake(std::shared_ptr<Answer> answer);       // it has something for its connection
  void drain();                                    // close what is idle
  void stop();                                     // cut every connection, end the thread; not from the thread itself

  // This thread.
  boost::asio::io_context& context() { return context_; }
  HttpCore& core() { return *core_; }
  const std::shared_ptr<HttpCore>& shared_core() { return core_; }
  std::vector<char>& read_buffer() { return read_buffer_; }
  std::string& plain_buffer() { return plain_buffer_; }
  void remove(Connection* connection);

 private:
  void serve_woken();
  void arm_tick();
  void tick();
  std::vector<std::shared_ptr<Connection>> connections() const;
  std::chrono::milliseconds tick_interval() const;

  const std::shared_ptr<HttpCore> core_;
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{context_.get_executor()};
  boost::asio::steady_timer timer_{context_};
  bool ticking_ = false;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  std::vector<std::shared_ptr<Answer>> round_;   // serve_woken's
  std::vector<char> read_buffer_;
  std::string plain_buffer_;
  std::thread thread_;

  std::mutex mutex_;  // guards the rest
  std::vector<std::shared_ptr<Answer>> woken_;
  bool closed_ = false;
};

}  // namespace trireme
