#pragma once
// A blocking client on a raw socket, for tests that care about every byte.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

namespace trireme::test {

struct RawResponse {
  int status = 0;  // 0: none came
  std::string head, body;
  std::string field(std::string name) const {  // of the head; case-sensitive
    const size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const size_t start = at + name.size() + 4;
    return head.substr(start, head.find("\r\n", start) - start);
  }
};

class RawClient {
 public:
  explicit RawClient(uint16_t port, int receive_buffer = 0) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << errno;
  }
  ~RawClient() { close(); }
  RawClient(RawClient&& other) noexcept : socket_(std::exchange(other.socket_, -1)), buffer_(std::move(other.buffer_)) {}

  int socket() const { return socket_; }
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  void reset() {  // a RST instead of an end of file
    const linger hard{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close();
  }
  void half_close() { ::shutdown(socket_, SHUT_WR); }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(size_t(count));
    }
    return true;
  }

  // Reads what comes into the buffer; false at the end of file, an error or after the wait.
  bool read_some(int wait_ms = 10'000) {
    pollfd state{socket_, POLLIN, 0};
    if (::poll(&state, 1, wait_ms) <= 0) return false;
    char bytes[65536];
    const ssize_t count = ::recv(socket_, bytes, sizeof(bytes), 0);
    if (count <= 0) return false;
    buffer_.append(bytes, size_t(count));
    return true;
  }

  bool closed_by_server(int wait_ms = 10'000) {
    pollfd state{socket_, POLLIN, 0};
    char byte;
    while (::poll(&state, 1, wait_ms) > 0) {
      const ssize_t count = ::recv(socket_, &byte, 1, 0);
      if (count <= 0) return true;
    }
    return false;
  }

  std::string& buffer() { return buffer_; }
  bool read_until(std::string_view mark) {
    while (buffer_.find(mark) == std::string::npos) {
      if (!read_some()) return false;
    }
    return true;
  }

  // One answer, with its body by Content-Length, chunks or the end of the connection. Skips 100 Continue.
  RawResponse response(bool head_only = false) {
    RawResponse answer;
    do {
      if (!read_until("\r\n\r\n")) return {};
      const size_t end = buffer_.find("\r\n\r\n") + 4;
      answer.head = buffer_.substr(0, end);
      buffer_.erase(0, end);
      answer.status = std::atoi(answer.head.c_str() + 9);
    } while (answer.status == 100);
    if (head_only || answer.status == 204) return answer;
    if (const std::string length = answer.field("Content-Length"); !length.empty()) {
      const size_t size = std::strtoull(length.c_str(), nullptr, 10);
      while (buffer_.size() < size && read_some()) {
      }
      answer.body = buffer_.substr(0, size);
      buffer_.erase(0, size);
    } else if (!answer.field("Transfer-Encoding").empty()) {
      read_chunks(answer);
    } else {
      while (read_some()) {
      }
      answer.body = std::exchange(buffer_, "");
    }
    return answer;
  }

 private:
  void read_chunks(RawResponse& answer) {
    for (;;) {
      if (!read_until("\r\n")) break;
      const size_t line = buffer_.find("\r\n");
      const size_t size = std::strtoull(buffer_.c_str(), nullptr, 16);
      while (buffer_.size() < line + 2 + size + 2) {
        if (!read_some()) {
          answer.status = -1;  // cut off
          return;
        }
      }
      answer.body += buffer_.substr(line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) return;
    }
    answer.status = -1;
  }

  int socket_;
  std::string buffer_;
};

// Waits, without a deadline that a slow machine could miss, until the predicate holds.
template <typename Predicate>
bool eventually(Predicate holds) {
  for (int i = 0; i < 20'000; ++i) {
    if (holds()) return true;
    ::usleep(1000);
  }
  return false;
}

}  // namespace trireme::test
