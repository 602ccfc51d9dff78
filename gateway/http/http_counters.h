#pragma once
// What the HTTP server counts, for /metrics. A copy of the figures, and the live ones.

#include <array>
#include <atomic>
#include <cstdint>
#include <map>

namespace trireme {

struct HttpCounters {
  int64_t connections_open = 0;
  uint64_t connections_accepted = 0;
  uint64_t connections_refused = 0;   // over a limit of connections
  uint64_t requests_malformed = 0;    // ended by the framing rules
  uint64_t timeouts = 0;              // connections ended by a clock: slow senders, slow readers, idle ones not
  uint64_t hangups = 0;               // clients that left before their answer's end
  uint64_t slow_readers_cut = 0;
  uint64_t bytes_in = 0, bytes_out = 0;
  int64_t buffered_body_bytes = 0;    // of requests under way
  std::map<int, uint64_t> answers;    // by status
};

struct LiveHttpCounters {
  std::atomic<int64_t> connections_open{0}, buffered_body_bytes{0};
  std::atomic<uint64_t> connections_accepted{0}, connections_refused{0}, requests_malformed{0}, timeouts{0}, hangups{0},
      slow_readers_cut{0}, bytes_in{0}, bytes_out{0};
  std::array<std::atomic<uint64_t>, 600> answers{};

  void count_answer(int status) {
    if (status >= 100 && status < 600) answers[size_t(status)].fetch_add(1, std::memory_order_relaxed);
  }
  HttpCounters copy() const;
};

}  // namespace trireme
