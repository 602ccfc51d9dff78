// The front's end against ranks played by this test over real sockets.

#include "gateway/engine_client.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "protocol/codec.h"
#include "protocol/socket.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A rank: says what it is told to, when it is told to.
class FakeRank {
 public:
  FakeRank(const FrontEndpoint& front, int rank, int world, const std::string& key = "")
      : attempt_(front.attempt), socket_(dial(front.address, seconds(5))), reader_(front.attempt) {
    say(Hello{key.empty() ? front.key : key, rank, world, int64_t(getpid()), "elsewhere", ""});
  }
  void say(const RankMessage& message) {
    std::string bytes;
    append_frame(bytes, message, attempt_);
    write_available(socket_, bytes);
  }
  void say_bytes(std::string bytes) { write_available(socket_, bytes); }
  // The next message, or nothing when the connection ends or 3 s pass.
  std::optional<FrontMessage> hear() {
    for (const auto deadline = std::chrono::steady_clock::now() + seconds(3);
         std::chrono::steady_clock::now() < deadline;) {
      if (auto message = reader_.next()) return message;
      wait_socket(socket_, false, milliseconds(50));
      const SocketRead read = read_available(socket_, 65536);
      reader_.feed(read.bytes);
      if (read.ended && read.bytes.empty()) return std::nullopt;
    }
    return std::nullopt;
  }
  template <typename T>
  std::optional<T> hear_a() {
    while (auto message = hear())
      if (T* wanted = std::get_if<T>(&*message)) return std::move(*wanted);
    return std::nullopt;
  }
  void close() { socket_.close(); }

 private:
  uint32_t attempt_;
  FileDescriptor socket_;
  FrameReader<FrontMessage> reader_;
};

class EngineClientTest : public testing::Test {
 protected:
  EngineClientTest() : client_(options()) {}
  static EngineClientOptions options() {
    EngineClientOptions options;
    options.listen_address = "tcp:127.0.0.1:0";
    options.advertised_host = "127.0.0.1";
    options.world = 2;
    options.attempt = 3;
    options.limits.silence = milliseconds(800);
    return options;
  }
  // The next event of type T; a fault that was not asked for fails the test.
  template <typename T>
  std::optional<T> next(milliseconds timeout = seconds(5)) {
    for (const auto deadline = std::chrono::steady_clock::now() + timeout; std::chrono::steady_clock::now() < deadline;)
      for (ClientEvent& event : client_.poll(milliseconds(20)))
        if (T* wanted = std::get_if<T>(&event)) return std::move(*wanted);
    return std::nullopt;
  }

  EngineClient client_;
};

TEST_F(EngineClientTest, WakesItsLoop) {
  std::thread other([this] { client_.wake(); });
  EXPECT_TRUE(client_.poll(seconds(600)).empty());  // returns because it was woken
  other.join();
}

TEST_F(EngineClientTest, WelcomesRanksAndCarriesRequestsTokensLogsAndTheEnd) {
  FakeRank zero(client_.endpoint(), 0, 2), one(client_.endpoint(), 1, 2);
  EXPECT_TRUE(zero.hear_a<Welcome>());
  EXPECT_TRUE(one.hear_a<Welcome>());
  EngineFacts facts;
  facts.vocab_size = 5;
  zero.say(facts);
  EXPECT_EQ(next<EngineFacts>()->vocab_size, 5);
  Request request;
  request.id = 4;
  client_.submit(request);
  EXPECT_EQ(zero.hear_a<SubmitCommand>()->request.id, 4u);
  zero.say(Announce{1, {4}});
  TokenEvent token;
  token.request = 4;
  zero.say(EventBatch{{token}});
  EXPECT_EQ(next<std::vector<EngineEvent>>()->size(), 1u);
  EXPECT_EQ(client_.suspects(), std::vector<RequestId>{4});
  for (RequestId id : {7, 6, 5}) zero.say(Announce{2, {id}});
  zero.say(EventBatch{{token}});  // behind them
  EXPECT_EQ(next<std::vector<EngineEvent>>()->size(), 1u);
  EXPECT_EQ(client_.suspects(), (std::vector<RequestId>{5, 6}));  // two plans may be under way

  one.say(LogLine{3, "warm"});
  EXPECT_EQ(next<RankLog>()->rank, 1);
  client_.shutdown(true);
  EXPECT_TRUE(zero.hear_a<ShutdownCommand>()->drain);
  zero.say(Stopped{});
  one.say(Stopped{});
  one.close();
  EXPECT_TRUE(next<EngineStopped>());
}

TEST_F(EngineClientTest, SendsKeepalives) {
  FakeRank zero(client_.endpoint(), 0, 2);
  EXPECT_TRUE(zero.hear_a<Keepalive>());
}

TEST_F(EngineClientTest, DropsStrangersWithoutTheKeyAndRanksThatCannotBe) {
  FakeRank liar(client_.endpoint(), 0, 2, "wrong"), beyond(client_.endpoint(), 2, 2),
      noisy(client_.endpoint(), 0, 2, "x");
  noisy.say_bytes(std::string(100000, '\xff'));
  EXPECT_FALSE(liar.hear());
  EXPECT_FALSE(beyond.hear());
  FakeRank zero(client_.endpoint(), 0, 2);
  EXPECT_TRUE(zero.hear_a<Welcome>());
  FakeRank again(client_.endpoint(), 0, 2);
  EXPECT_FALSE(again.hear());
  EXPECT_FALSE(client_.ranks()[1].connected);
}

TEST_F(EngineClientTest, AnEndedConnectionIsADeath) {
  FakeRank zero(client_.endpoint(), 0, 2), one(client_.endpoint(), 1, 2);
  ASSERT_TRUE(one.hear_a<Welcome>());
  one.say(Beat{Phase::stepping, 12, 3, "attention", 1000});
  one.close();
  const auto fault = next<EngineFault>(milliseconds(700));
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->rank, 1);
  EXPECT_EQ(fault->kind, FaultKind::ended);
  EXPECT_NE(fault->summary.find("step 12, last operation attention"), std::string::npos);
}

TEST_F(EngineClientTest, SilenceIsNoticed) {
  FakeRank zero(client_.endpoint(), 0, 2);
  ASSERT_TRUE(zero.hear_a<Welcome>());
  const auto fault = next<EngineFault>(seconds(3));
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind, FaultKind::silent);
  EXPECT_EQ(fault->rank, 0);
}

TEST_F(EngineClientTest, ARanksOwnWordsComeBeforeItsEnd) {
  FakeRank zero(client_.endpoint(), 0, 2);
  ASSERT_TRUE(zero.hear_a<Welcome>());
  zero.say(Failure{FailureKind::config, 0, 1, "join", "too few GPUs"});
  zero.close();
  const auto fault = next<EngineFault>();
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind, FaultKind::failed);
  EXPECT_EQ(fault->cause, FailureKind::config);
  EXPECT_EQ(fault->text, "too few GPUs");
}

TEST_F(EngineClientTest, AMalformedFrameOfAProvedRankIsAFault) {
  FakeRank zero(client_.endpoint(), 0, 2);
  ASSERT_TRUE(zero.hear_a<Welcome>());
  zero.say_bytes(std::string(64, '\xff'));
  const auto fault = next<EngineFault>();
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind, FaultKind::protocol);
}

}  // namespace
}  // namespace trireme
