#include "launcher/host_reach.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
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

// Never answers at this address and port: its queue of connections is full and nobody takes any, so the kernel drops what
// comes. What a network says of an address that nobody has differs from one to the next.
class Silence {
 public:
  Silence(const char* address, int port) : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET, at.sin_port = htons(uint16_t(port));
    inet_pton(AF_INET, address, &at.sin_addr);
    const auto* where = reinterpret_cast<const sockaddr*>(&at);
    EXPECT_EQ(bind(listener_.get(), where, sizeof at), 0) << std::strerror(errno);
    EXPECT_EQ(listen(listener_.get(), 0), 0) << std::strerror(errno);
    for (FileDescriptor& waiting : waiting_) {
      waiting = FileDescriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      connect(waiting.get(), where, sizeof at);
    }
  }

 private:
  FileDescriptor listener_, waiting_[4];
};

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

TEST_F(HostReachTest, WhoNeverAnsweredIsNotWaitedFor) {
  const Silence silence("127.0.0.4", port_);
  for (const TimePoint end = now() + milliseconds(1200); now() < end; std::this_thread::sleep_for(milliseconds(10)))
    reach_.learn({rank_of("b", "127.0.0.4")}, now());
  reach_.begin(now());
  EXPECT_TRUE(reach_.all_answer(now()));
}

// Once it has answered it is waited for, and named.
TEST_F(HostReachTest, WhoAnsweredOnceIsWaitedFor) {
  learn({rank_of("b", "127.0.0.4")});
  const Silence silence("127.0.0.4", port_);
  reach_.begin(now());
  EXPECT_FALSE(answers_within(milliseconds(1200)));
  EXPECT_EQ(reach_.missing(), std::vector<std::string>{"b (127.0.0.4)"});
}

}  // namespace
}  // namespace trireme
