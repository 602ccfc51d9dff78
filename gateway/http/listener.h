#pragma once
// The socket that clients dial. Accepts on the first I/O thread and deals the connections out in turn.

#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <vector>

#include "gateway/http/io_thread.h"

namespace trireme {

class Listener final : public std::enable_shared_from_this<Listener> {
 public:
  // Binds and listens. Throws Error naming the address and the remedy.
  Listener(std::shared_ptr<HttpCore> core, std::vector<std::shared_ptr<IoThread>> threads);
  ~Listener();

  void start();
  void stop();                            // any thread; closed() follows
  bool closed() const { return closed_; }
  uint16_t port() const { return port_; }  // 0 for a Unix socket
  const std::string& url() const { return url_; }

 private:
  void bind_tcp();
  void bind_unix();
  void wait();
  void accept_all();
  void accept_later();
  void adopt(int socket, std::string peer);

  const std::shared_ptr<HttpCore> core_;
  const std::vector<std::shared_ptr<IoThread>> threads_;
  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer timer_;
  std::string url_;
  uint16_t port_ = 0;
  size_t next_thread_ = 0;
  std::atomic<bool> closed_{false};
};

}  // namespace trireme
