#include "benchmarks/gateway/sse_reader.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include <fmt/format.h>

namespace trireme::bench {

int64_t monotonic_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

void pin_to(const std::string& cores) {
  if (cores.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  std::istringstream list(cores);
  for (std::string core; std::getline(list, core, ',');) CPU_SET(size_t(std::atoi(core.c_str())), &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0) std::fprintf(stderr, "cannot run on cores %s\n", cores.c_str());
}

SseReader::SseReader(uint16_t port, OnEvent on_event)
    : port_(port), on_event_(std::move(on_event)), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

SseReader::~SseReader() { ::close(epoll_); }

void SseReader::open(std::string_view request) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port_);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::send(socket, request.data(), request.size(), 0) != ssize_t(request.size())) {
    std::perror("cannot reach the server");
    std::exit(3);
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = socket;
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event);
  if (streams_.size() <= size_t(socket)) streams_.resize(size_t(socket) + 1);
  streams_[size_t(socket)] = {.number = size_t(open_++), .carry = {}};
}

bool SseReader::run() {
  bool good = true;
  std::vector<char> bytes(256 << 10);
  std::vector<epoll_event> events(256);
  while (open_ > 0) {
    const int count = ::epoll_wait(epoll_, events.data(), int(events.size()), 30'000);
    if (count <= 0) {
      std::printf("nothing to read for 30 s, %d streams open\n", open_);
      return false;
    }
    for (int i = 0; i < count; ++i) {
      const int socket = events[size_t(i)].data.fd;
      const ssize_t size = ::recv(socket, bytes.data(), bytes.size(), 0);
      if (size > 0) {
        good &= take(streams_[size_t(socket)], {bytes.data(), size_t(size)}, monotonic_ns());
      } else {
        ::close(socket);
        --open_;
      }
    }
  }
  return good;
}

// Chunk sizes lie between events and before "data: ", and are skipped with whatever does not begin an event.
bool SseReader::take(Stream& stream, std::string_view bytes, int64_t now) {
  stream.carry.append(bytes);
  if (!stream.answered && stream.carry.size() >= 12) {
    if (stream.carry.compare(9, 3, "200") != 0) {
      std::printf("a stream was answered with %s\n", stream.carry.substr(0, 500).c_str());
      stream.carry.clear();
      return false;
    }
    stream.answered = true;
  }
  size_t done = 0;
  for (size_t end; (end = stream.carry.find("\n\n", done)) != std::string::npos; done = end + 2) {
    const size_t mark = stream.carry.find("data: ", done);
    if (mark < end)
      on_event_(stream.number, stream.events++, now, std::string_view(stream.carry).substr(mark + 6, end - mark - 6));
  }
  stream.carry.erase(0, done);
  return true;
}

std::string delay_line(std::vector<int64_t> delays) {
  if (delays.empty()) return "no delays";
  std::sort(delays.begin(), delays.end());
  const auto at = [&](double part) { return double(delays[size_t(double(delays.size() - 1) * part)]) / 1e3; };
  return fmt::format("p50 {:.0f} us, p99 {:.0f} us, p99.9 {:.0f} us, max {:.0f} us", at(0.5), at(0.99), at(0.999), at(1));
}

}  // namespace trireme::bench
