#include "protocol/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "base/check.h"

namespace trireme {
namespace {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

[[noreturn]] void fail(const std::string& what, int error) { throw Error(what + ": " + std::strerror(error)); }

SocketAddress unix_address(const std::string& path) {
  SocketAddress address;
  auto* target = reinterpret_cast<sockaddr_un*>(&address.storage);
  if (path.size() + 1 > sizeof target->sun_path)
    throw Error("the socket path " + path + " is longer than the kernel takes (" +
                std::to_string(sizeof target->sun_path - 1) + " bytes); set TMPDIR to a shorter directory");
  target->sun_family = AF_UNIX;
  std::memcpy(target->sun_path, path.c_str(), path.size() + 1);
  address.size = socklen_t(sizeof *target);
  return address;
}

SocketAddress tcp_address(const std::string& host_and_port, bool passive) {
  const size_t colon = host_and_port.rfind(':');
  if (colon == std::string::npos) throw Error("no port in the address " + host_and_port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = passive ? AI_PASSIVE : 0;
  addrinfo* found = nullptr;
  const std::string host = host_and_port.substr(0, colon), port = host_and_port.substr(colon + 1);
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0)
    throw Error("cannot resolve " + host + ": " + gai_strerror(error));
  SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  freeaddrinfo(found);
  return address;
}

SocketAddress resolve(const std::string& address, bool passive) {
  if (address.rfind("unix:", 0) == 0) return unix_address(address.substr(5));
  if (address.rfind("tcp:", 0) == 0) return tcp_address(address.substr(4), passive);
  throw Error("an address starts with unix: or tcp:, got " + address);
}

FileDescriptor open_socket(const SocketAddress& address) {
  FileDescriptor socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) fail("cannot open a socket", errno);
  const int yes = 1;
  if (address.family() != AF_UNIX) setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return socket;
}

// 0: connected; otherwise the errno.
int connect_once(const FileDescriptor& socket, const SocketAddress& address, std::chrono::milliseconds timeout) {
  if (::connect(socket.get(), address.get(), address.size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!wait_socket(socket, true, timeout)) return ETIMEDOUT;
  return dial_error(socket);
}

}  // namespace

void FileDescriptor::close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

FileDescriptor listen_on(const std::string& address) {
  const SocketAddress resolved = resolve(address, true);
  FileDescriptor listener = open_socket(resolved);
  if (::bind(listener.get(), resolved.get(), resolved.size) != 0) fail("cannot listen on " + address, errno);
  if (::listen(listener.get(), 1024) != 0) fail("cannot listen on " + address, errno);
  return listener;
}

int listening_port(const FileDescriptor& listener) {
  SocketAddress address;
  address.size = sizeof address.storage;
  CHECK_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.size), 0);
  if (address.family() == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_port);
  return ntohs(reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port);
}

FileDescriptor accept_connection(const FileDescriptor& listener) {
  FileDescriptor socket(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const int yes = 1;
  if (socket.valid()) setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);  // fails on Unix sockets
  return socket;
}

FileDescriptor dial(const std::string& address, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const SocketAddress resolved = resolve(address, false);
  for (;;) {
    FileDescriptor socket = open_socket(resolved);
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const int error = connect_once(socket, resolved, std::max(left, std::chrono::milliseconds(0)));
    if (error == 0) return socket;
    const bool again = error == ECONNREFUSED || error == ENOENT || error == EAGAIN || error == ETIMEDOUT;
    if (!again || std::chrono::steady_clock::now() >= deadline) fail("cannot reach the front at " + address, error);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

FileDescriptor begin_dial(const std::string& address, int& error) {
  const SocketAddress resolved = resolve(address, false);
  FileDescriptor socket = open_socket(resolved);
  error = ::connect(socket.get(), resolved.get(), resolved.size) == 0 ? 0 : errno;
  if (error != 0 && error != EINPROGRESS) socket.close();
  return socket;
}

int dial_error(const FileDescriptor& socket) {
  if (!wait_socket(socket, true, std::chrono::milliseconds(0))) return EINPROGRESS;
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

std::string peer_address(const FileDescriptor& socket) {
  SocketAddress peer;
  peer.size = sizeof peer.storage;
  char text[NI_MAXHOST] = {};
  if (getpeername(socket.get(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.size) != 0 ||
      (peer.family() != AF_INET && peer.family() != AF_INET6) ||
      getnameinfo(peer.get(), peer.size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0)
    return "";
  return text;
}

SocketRead read_available(const FileDescriptor& socket, size_t max_bytes) {
  SocketRead result;
  char buffer[65536];
  while (result.bytes.size() < max_bytes) {
    const ssize_t count = ::recv(socket.get(), buffer, std::min(sizeof buffer, max_bytes - result.bytes.size()), 0);
    if (count > 0) {
      result.bytes.append(buffer, size_t(count));
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    result.ended = count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    break;
  }
  return result;
}

bool write_available(const FileDescriptor& socket, std::string& pending) {
  size_t sent = 0;
  bool intact = true;
  while (sent < pending.size()) {
    const ssize_t count = ::send(socket.get(), pending.data() + sent, pending.size() - sent, MSG_NOSIGNAL);
    if (count > 0) {
      sent += size_t(count);
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    intact = count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    break;
  }
  pending.erase(0, sent);
  return intact;
}

bool wait_socket(const FileDescriptor& socket, bool for_write, std::chrono::milliseconds timeout) {
  pollfd entry{socket.get(), short(for_write ? POLLOUT : POLLIN), 0};
  return ::poll(&entry, 1, int(timeout.count())) > 0;
}

std::string local_host_name() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0) return "localhost";
  return name;
}

Wakeup::Wakeup() : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { CHECK(event_.valid()) << "eventfd"; }

void Wakeup::notify() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = ::write(event_.get(), &one, sizeof one);  // full counter: awake already
}

void Wakeup::drain() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t ignored = ::read(event_.get(), &count, sizeof count);
}

}  // namespace trireme
