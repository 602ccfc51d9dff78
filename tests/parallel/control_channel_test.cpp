#include "parallel/control_channel.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#include "parallel/cluster.h"

namespace trireme {
namespace {

int world_size() {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  return size ? std::atoi(size) : 1;
}

ControlMessage message_of(int number, size_t size) {
  ControlMessage message;
  message.kind = number % 3 == 2 ? ControlKind::sampling : ControlKind::plan;
  message.bytes.assign(size, std::byte(number));
  return message;
}

class ControlChannelTest : public testing::Test {
 protected:
  bool is_root() { return cluster_.topology().rank() == 0; }
  ControlChannel& channel() { return cluster_.control(); }

  ControlMessage receive() {
    std::optional<ControlMessage> message;
    poll_with_backoff([&] { return (message = channel().try_receive()).has_value(); });
    return *message;
  }
  void expect_message(int number, size_t size) {
    const ControlMessage expected = message_of(number, size), got = receive();
    ASSERT_EQ(got.kind, expected.kind) << number;
    ASSERT_EQ(got.bytes, expected.bytes) << number;
  }
  void pump_until_idle(std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      channel().pump();
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  Cluster cluster_{{.tp = 1, .pp = world_size()}};
};

TEST_F(ControlChannelTest, DeliversPlansAndSamplingOrdersInOrder) {
  const size_t sizes[] = {0, 1, 100, 4096, 5000, 70000, 3000000};
  constexpr int kMessages = 200;   // far beyond the bound of pending broadcasts
  for (int i = 0; i < kMessages; ++i) {
    const size_t size = i % 50 == 49 ? sizes[6] : sizes[size_t(i % 6)];
    if (is_root()) channel().broadcast(message_of(i, size));
    else expect_message(i, size);
  }
  if (is_root()) {   // what is pending goes on moving while the root works
    int64_t acks = 0;
    poll_with_backoff([&] {
      channel().pump();
      while (channel().try_receive_ack()) ++acks;
      return acks == world_size() - 1;
    });
  } else {
    channel().acknowledge({cluster_.topology().rank(), 0, 0});
  }
}

TEST_F(ControlChannelTest, CollectsAcknowledgementsInOrderFromEachRank) {
  constexpr int kSteps = 500;
  if (!is_root()) {
    for (int step = 0; step < kSteps; ++step)
      channel().acknowledge({cluster_.topology().rank(), step == 77 ? 5 : 0, step});
  } else {
    std::vector<int64_t> next(static_cast<size_t>(world_size()));
    int64_t received = 0;
    poll_with_backoff([&] {
      while (const std::optional<StepAck> ack = channel().try_receive_ack()) {
        EXPECT_EQ(ack->step, next.at(size_t(ack->rank))++);
        EXPECT_EQ(ack->status, ack->step == 77 ? 5 : 0);
        ++received;
      }
      return received == int64_t(kSteps) * (world_size() - 1);
    });
    EXPECT_FALSE(channel().try_receive_ack());
  }
}

TEST_F(ControlChannelTest, BroadcastReturnsBeforeAnybodyReceives) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 3 && is_root(); ++i) channel().broadcast(message_of(i, 400000));
  if (is_root()) {
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(150));
    pump_until_idle(std::chrono::milliseconds(400));
  } else {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    for (int i = 0; i < 3; ++i) expect_message(i, 400000);
  }
}

// Rank 0 waits for activations that stage 0 sends only after it has its plan, which rank 0 has yet to pass on:
// the idle hook does that from inside recv.
TEST_F(ControlChannelTest, PlansPassWhileRankZeroWaitsInARecv) {
  if (world_size() < 2) GTEST_SKIP() << "one rank";
  const Stream stream(kCpu);
  const Tensor data(DType::f32, {1000}, kCpu);
  const int stage = cluster_.topology().stage();
  constexpr int kSteps = 20;
  int passed = 0;
  cluster_.set_idle_hook([&] {
    if (is_root() && passed < kSteps) channel().broadcast(message_of(passed++, 20000));
    channel().pump();
  });
  for (int step = 0; step < kSteps; ++step) {
    if (!is_root()) expect_message(step, 20000);
    if (stage > 0) cluster_.from_previous_stage().recv(data, 0, stream);
    else data.as<float>()[999] = float(step);
    ASSERT_EQ(data.as<float>()[999], float(step));
    if (!cluster_.topology().is_last_stage()) cluster_.to_next_stage().send(data, 1, stream);
  }
  EXPECT_EQ(passed, is_root() ? kSteps : 0);
  cluster_.set_idle_hook(nullptr);
}

// An idle rank polls; it must leave its core to others and yet notice a plan soon.
TEST_F(ControlChannelTest, AnIdleRankUsesLittleOfItsCore) {
  constexpr std::chrono::milliseconds kIdle{1500};
  cluster_.barrier();
  timespec cpu_begin, cpu_end;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_begin);
  const auto begin = std::chrono::steady_clock::now();
  if (is_root()) {
    std::this_thread::sleep_for(kIdle);
    channel().broadcast(message_of(1, 64));
    channel().pump();
  } else {
    receive();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_end);
  const double cpu = double(cpu_end.tv_sec - cpu_begin.tv_sec) + double(cpu_end.tv_nsec - cpu_begin.tv_nsec) * 1e-9;
  const std::vector<std::string> all = cluster_.gather_text(std::to_string(100 * cpu / seconds).substr(0, 5) + " %");
  for (size_t rank = 1; rank < all.size(); ++rank)
    std::printf("rank %zu idle: %s of a core\n", rank, all[rank].c_str());
  EXPECT_LT(cpu / seconds, 0.15);   // sleeping and waking 1,000 times a second is 1 to 4 %, busy polling 100 %
}

// How long after the broadcast a rank that has been idle has the plan, and the root its acknowledgement.
TEST_F(ControlChannelTest, PrintsTheRoundTripOfAPlan) {
  constexpr int kSteps = 50;
  double total_us = 0;
  for (int step = 0; step < kSteps; ++step) {
    if (!is_root()) {
      receive();
      channel().acknowledge({cluster_.topology().rank(), 0, step});
      continue;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const auto begin = std::chrono::steady_clock::now();
    channel().broadcast(message_of(1, 1200));
    int acks = 0;
    poll_with_backoff([&] {
      channel().pump();
      while (channel().try_receive_ack()) ++acks;
      return acks == world_size() - 1;
    });
    total_us += std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
  }
  if (is_root())
    std::printf("%d ranks, idle for 5 ms: plan out and all acks back in %.0f us\n", world_size(), total_us / kSteps);
}

}  // namespace
}  // namespace trireme
