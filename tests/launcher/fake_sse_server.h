#pragma once
// A server of one thread that answers by plan, on a free port of 127.0.0.1: what its handler says, then the end. No
// answer begins before `hold` requests have come.

#include <boost/asio.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace trireme {

class FakeSseServer {
 public:
  using Parts = std::vector<std::string>;                            // each written by itself
  using Handler = std::function<Parts(const std::string& request)>;  // head and body

  explicit FakeSseServer(Handler handler, size_t hold = 0) : handler_(std::move(handler)), hold_(hold) {
    accept();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~FakeSseServer() {
    boost::asio::post(io_, [this] { io_.stop(); });
    thread_.join();
  }
  std::string port() const { return std::to_string(acceptor_.local_endpoint().port()); }
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  int most_at_once() const { return most_at_once_; }  // after the load

 private:
  using Tcp = boost::asio::ip::tcp;
  struct Connection {
    explicit Connection(boost::asio::io_context& io) : socket(io), timer(io) {}
    Tcp::socket socket;
    boost::asio::steady_timer timer;
    std::array<char, 4096> buffer;
    std::string request;
    Parts parts;
    size_t next = 0;
  };
  using Held = std::shared_ptr<Connection>;

  void accept() {
    auto connection = std::make_shared<Connection>(io_);
    acceptor_.async_accept(connection->socket, [this, connection](auto error) {
      if (error) return;
      most_at_once_ = std::max(most_at_once_, ++open_);
      read(connection);
      accept();
    });
  }

  void read(const Held& connection) {
    connection->socket.async_read_some(boost::asio::buffer(connection->buffer),
                                       [this, connection](auto error, size_t count) {
                                         if (error) return;
                                         connection->request.append(connection->buffer.data(), count);
                                         if (!is_complete(connection->request)) return read(connection);
                                         {
                                           const std::lock_guard lock(mutex_);
                                           requests_.push_back(connection->request);
                                         }
                                         connection->parts = handler_(connection->request);
                                         held_.push_back(connection);
                                         if (requests_.size() < hold_) return;
                                         for (const Held& ready : std::exchange(held_, {})) write(ready);
                                       });
  }

  static bool is_complete(const std::string& text) {
    const size_t head = text.find("\r\n\r\n"), length = text.find("Content-Length: ");
    const size_t body = length == std::string::npos || length > head ? 0 : std::stoul(text.substr(length + 16));
    return head != std::string::npos && text.size() >= head + 4 + body;
  }

  void write(const Held& connection) {
    if (connection->next == connection->parts.size()) {
      --open_;
      boost::system::error_code ignored;
      connection->socket.close(ignored);
      return;
    }
    boost::asio::async_write(connection->socket, boost::asio::buffer(connection->parts[connection->next++]),
                             [this, connection](auto error, size_t) {
                               if (error) return;
                               connection->timer.expires_after(std::chrono::milliseconds(1));
                               connection->timer.async_wait([this, connection](auto) { write(connection); });
                             });
  }

  Handler handler_;
  const size_t hold_;
  std::vector<Held> held_;
  boost::asio::io_context io_{1};
  Tcp::acceptor acceptor_{io_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0)};
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  int open_ = 0, most_at_once_ = 0;
  std::thread thread_;
};

}  // namespace trireme
