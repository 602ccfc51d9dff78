#include "gateway/http/io_thread.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "base/log.h"
#include "gateway/http/connection.h"

namespace trireme {

namespace asio = boost::asio;

IoThread::IoThread(std::shared_ptr<HttpCore> core) : core_(std::move(core)), read_buffer_(64 << 10) {}

void IoThread::start() {
  thread_ = std::thread([this] { context_.run(); });
}

void IoThread::adopt(int socket, std::string peer) {
  std::lock_guard lock(mutex_);
  if (closed_) {
    ::close(socket);
    core_->leave_connection(peer);
    return;
  }
  asio::post(context_, [this, socket, peer = std::move(peer)] {
    std::shared_ptr<Connection> connection;
    try {
      connection = std::make_shared<Connection>(*this, socket, peer);
    } catch (const std::exception& failure) {
      core_->leave_connection(peer);
      return log_error("http: a connection could not be set up: {}", failure.what());
    }
    connections_.insert(connection);
    connection->start();
    arm_tick();
  });
}

void IoThread::wake(std::shared_ptr<Answer> answer) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  woken_.push_back(std::move(answer));
  if (woken_.size() == 1) asio::post(context_, [this] { serve_woken(); });
}

void IoThread::serve_woken() {
  {
    std::lock_guard lock(mutex_);
    round_.swap(woken_);
  }
  for (const std::shared_ptr<Answer>& answer : round_) {
    if (!answer->connection) continue;
    const auto connection = answer->connection->shared_from_this();  // it may end itself
    connection->pump();
  }
  round_.clear();
}

void IoThread::drain() {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  asio::post(context_, [this] {
    for (const auto& connection : connections()) connection->drain();
  });
}

void IoThread::stop() {
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    woken_.clear();
  }
  asio::post(context_, [this] {
    for (const auto& connection : connections()) connection->close();
    timer_.cancel();
    work_.reset();
  });
  if (thread_.joinable()) {
    thread_.join();
  } else {
    context_.run();
  }
}

void IoThread::remove(Connection* connection) { connections_.erase(connection->shared_from_this()); }

std::vector<std::shared_ptr<Connection>> IoThread::connections() const {
  return {connections_.begin(), connections_.end()};
}

// Fine enough for the shortest time-out, and rare enough to cost nothing.
std::chrono::milliseconds IoThread::tick_interval() const {
  const HttpLimits& limits = core_->options.limits;
  const auto shortest = std::min({limits.header_timeout, limits.body_timeout, limits.idle_timeout, limits.write_timeout,
                                  limits.slow_reader_timeout, limits.linger_timeout});
  return std::clamp(shortest / 8, std::chrono::milliseconds(5), std::chrono::milliseconds(100));
}

void IoThread::arm_tick() {
  if (ticking_ || connections_.empty()) return;
  ticking_ = true;
  timer_.expires_after(tick_interval());
  timer_.async_wait([this](const boost::system::error_code& error) {
    ticking_ = false;
    if (!error) tick();
  });
}

void IoThread::tick() {
  const auto now = std::chrono::steady_clock::now();
  for (const auto& connection : connections()) connection->check_time(now);
  arm_tick();
}

}  // namespace trireme
