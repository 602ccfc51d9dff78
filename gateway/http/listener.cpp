#include "gateway/http/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "gateway/http/error_body.h"

namespace trireme {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr int kBacklog = 4096;
constexpr int kAcceptsPerRound = 64;

std::string remedy(int error) {
  switch (error) {
    case EADDRINUSE: return "stop what listens there (ss -ltnp shows it) or choose another --port; 0 takes a free one";
    case EACCES: return "ports below 1024 need privileges: choose another --port, or check the directory's permissions";
    case EADDRNOTAVAIL: return "this host does not have that address: choose another --host (0.0.0.0 is all of them)";
    default: return "choose another --host, --port or --uds";
  }
}

[[noreturn]] void fail_to_bind(const std::string& address, int error) {
  throw Error("cannot listen on " + address + ": " + std::strerror(error) + "; " + remedy(error));
}

std::string text_of(const sockaddr* address, socklen_t size) {
  if (address->sa_family == AF_UNIX) return "unix";
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getnameinfo(address, size, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  return (address->sa_family == AF_INET6 ? "[" + std::string(host) + "]" : std::string(host)) + ":" + port;
}

// Notices clients whose host has vanished within a minute, even while nothing is sent to them.
void set_options(int socket, const HttpLimits& limits) {
  const auto set = [&](int level, int option, int value) { ::setsockopt(socket, level, option, &value, sizeof(value)); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  if (limits.socket_send_buffer > 0) set(SOL_SOCKET, SO_SNDBUF, int(limits.socket_send_buffer));
}

bool somebody_listens(const sockaddr_un& address) {
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool answered = probe >= 0 && ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  if (probe >= 0) ::close(probe);
  return answered;
}

}  // namespace

Listener::Listener(std::shared_ptr<HttpCore> core, std::vector<std::shared_ptr<IoThread>> threads)
    : core_(std::move(core)), threads_(std::move(threads)), socket_(threads_.front()->context()),
      timer_(threads_.front()->context()) {
  if (core_->options.uds.empty()) {
    bind_tcp();
  } else {
    bind_unix();
  }
}

Listener::~Listener() {
  if (!core_->options.uds.empty()) ::unlink(core_->options.uds.c_str());
}

void Listener::bind_tcp() {
  std::string host = core_->options.host;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const std::string wanted = core_->options.host + ":" + std::to_string(core_->options.port);
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const int problem = ::getaddrinfo(host.c_str(), std::to_string(core_->options.port).c_str(), &hints, &found);
  if (problem != 0) {
    throw Error("cannot listen on " + wanted + ": " + ::gai_strerror(problem) + "; give --host as an address of this host");
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  const int socket = ::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) fail_to_bind(wanted, errno);
  socket_.assign(socket);
  const int on = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(socket, found->ai_addr, found->ai_addrlen) != 0 || ::listen(socket, kBacklog) != 0) fail_to_bind(wanted, errno);
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size);
  const std::string address = text_of(reinterpret_cast<sockaddr*>(&bound), size);
  port_ = uint16_t(std::stoi(address.substr(address.rfind(':') + 1)));
  url_ = (core_->options.tls.enabled() ? "https://" : "http://") + address;
}

void Listener::bind_unix() {
  const std::string& path = core_->options.uds;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    throw ConfigError("--uds " + path + ": longer than " + std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  path.copy(address.sun_path, path.size());
  struct stat old{};
  if (::lstat(path.c_str(), &old) == 0) {
    if (!S_ISSOCK(old.st_mode)) throw Error("cannot listen on " + path + ": it exists and is no socket; remove it");
    if (somebody_listens(address)) {
      throw Error("cannot listen on " + path + ": another process does; stop it or choose another --uds");
    }
    ::unlink(path.c_str());  // left by a process that died
  }
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) fail_to_bind(path, errno);
  socket_.assign(socket);
  if (::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) fail_to_bind(path, errno);
  ::chmod(path.c_str(), 0660);
  if (::listen(socket, kBacklog) != 0) fail_to_bind(path, errno);
  url_ = "unix:" + path;
}

void Listener::start() {
  asio::post(threads_.front()->context(), [self = shared_from_this()] { self->wait(); });
}

void Listener::stop() {
  asio::post(threads_.front()->context(), [self = shared_from_this()] {
    error_code ignored;
    self->socket_.close(ignored);
    self->timer_.cancel();
    self->closed_ = true;
  });
}

void Listener::wait() {
  if (!socket_.is_open()) return;
  socket_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](const error_code& error) {
    if (!error && self->socket_.is_open()) self->accept_all();
  });
}

void Listener::accept_all() {
  for (int i = 0; i < kAcceptsPerRound; ++i) {
    sockaddr_storage from{};
    socklen_t size = sizeof(from);
    const int socket = ::accept4(socket_.native_handle(), reinterpret_cast<sockaddr*>(&from), &size,
                                 SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket >= 0) {
      adopt(socket, text_of(reinterpret_cast<sockaddr*>(&from), size));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      log_warning("http: cannot accept: {}; raise the limit of open files (ulimit -n)", std::strerror(errno));
      return accept_later();
    } else if (errno != EINTR && errno != ECONNABORTED) {
      break;
    }
  }
  wait();
}

// A full table of files would make every wait return at once.
void Listener::accept_later() {
  timer_.expires_after(std::chrono::milliseconds(100));
  timer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (!error) self->wait();
  });
}

void Listener::adopt(int socket, std::string peer) {
  if (!core_->admit_connection(peer)) {
    core_->counters.connections_refused.fetch_add(1, std::memory_order_relaxed);
    if (!core_->options.tls.enabled()) {
      const std::string body = error_body(503, "too many connections: try again later");
      const std::string answer = response_head(503, "application/json", int64_t(body.size()), {{"Retry-After", "1"}},
                                               {make_request_id(), false, false, false, {}}, false) + body;
      if (::send(socket, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) ::shutdown(socket, SHUT_WR);
      core_->counters.count_answer(503);
    }
    ::close(socket);
    return;
  }
  core_->counters.connections_accepted.fetch_add(1, std::memory_order_relaxed);
  set_options(socket, core_->options.limits);
  threads_[next_thread_++ % threads_.size()]->adopt(socket, std::move(peer));
}

}  // namespace trireme
