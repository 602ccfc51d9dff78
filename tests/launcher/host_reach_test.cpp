#include "launcher/host_reach.h"

#include <gtest/gtest.h>

#include <thread>

namespace trireme {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TimePoint now() { return std::chrono::steady_clock::now(); }

RankState rank_of(const std::string& host, const std::string& address) {
  RankState state;
  state.connected = true;
  state.hello.host = host;
  state.address = address;
  return state;
}

// Loopback addresses stand for hosts: one that listens, one that refuses.
class HostReachTest : public testing::Test {
 protected:
  HostReachTest() : listener_(listen_on("tcp:127.0.0.2:0")), port_(listening_port(listener_)), reach_(port_) {}

  bool answers_within(Duration timeout) {
    for (const TimePoint end = now() + timeout; now() < end; std::this_thread::sleep_for(milliseconds(5)))
      if (reach_.all_answer(now())) return true;
    return false;
  }
  void learn(const std::vector<RankState>& ranks) {
    for (int i = 0; i < 20; ++i, std::this_thread::sleep_for(milliseconds(5))) reach_.learn(ranks, now());
  }

  FileDescriptor listener_;
  int port_;
  HostReach reach_;
};

TEST_F(HostReachTest, NobodyNeedsToAnswerWhereNobodyIsKnown) {
  reach_.begin(now());
  EXPECT_TRUE(reach_.all_answer(now()));
  learn({rank_of(local_host_name(), "127.0.0.2"), rank_of("b", "")});  // our own host; a Unix socket
  reach_.begin(now());
  EXPECT_TRUE(reach_.all_answer(now()));
}

TEST_F(HostReachTest, ARefusalIsAnAnswer) {
  learn({rank_of("b", "127.0.0.2"), rank_of("c", "127.0.0.3"), rank_of("c", "127.0.0.3")});
  reach_.begin(now());
  EXPECT_TRUE(answers_within(seconds(1)));
  EXPECT_TRUE(reach_.missing().empty());
}

// 240.0.0.0/4 has no route, or nobody at its end.
TEST_F(HostReachTest, WhoNeverAnsweredIsNotWaitedFor) {
  for (const TimePoint end = now() + milliseconds(1200); now() < end; std::this_thread::sleep_for(milliseconds(10)))
    reach_.learn({rank_of("b", "240.0.0.1")}, now());
  reach_.begin(now());
  EXPECT_TRUE(reach_.all_answer(now()));
}

}  // namespace
}  // namespace trireme
