// FrontLink in child processes, because losing the front ends the process; the front is this test, with bare sockets.

#include "protocol/link.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "protocol/codec.h"
#include "protocol/socket.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using TestClock = std::chrono::steady_clock;

class LinkTest : public testing::Test {
 protected:
  LinkTest()
      : path_("/tmp/trireme_link_" + std::to_string(getpid()) + ".sock"),
        listener_((std::filesystem::remove(path_), listen_on("unix:" + path_))),
        endpoint_{"unix:" + path_, make_attempt_key(), 5} {}
  ~LinkTest() override {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    std::filesystem::remove(path_);
  }

  LinkOptions options() const {
    LinkOptions options;
    options.front = endpoint_;
    options.identity = {1, 2, "cuda:1"};
    options.front_timeout = milliseconds(600);
    return options;
  }

  // Runs `body` in a child; its return is the exit code.
  void in_child(const std::function<int()>& body) {
    child_ = fork();
    if (child_ == 0) {
      int code = 99;
      try {
        code = body();
      } catch (const std::exception&) {
        code = 98;
      }
      _exit(code);
    }
  }

  void accept_child(bool welcome = true) {
    const auto deadline = TestClock::now() + seconds(10);
    while (!socket_.valid() && TestClock::now() < deadline) {
      wait_socket(listener_, false, milliseconds(100));
      socket_ = accept_connection(listener_);
    }
    ASSERT_TRUE(socket_.valid());
    if (welcome) say(Welcome{});
  }

  void say(const FrontMessage& message) {
    std::string bytes;
    append_frame(bytes, message, endpoint_.attempt);
    ASSERT_TRUE(write_available(socket_, bytes));
  }

  // The next message that `wanted` accepts; others are dropped.
  template <typename T>
  std::optional<T> hear(seconds timeout = seconds(5)) {
    for (const auto deadline = TestClock::now() + timeout; TestClock::now() < deadline;) {
      while (auto message = reader_.next())
        if (auto* wanted = std::get_if<T>(&*message)) return std::move(*wanted);
      wait_socket(socket_, false, milliseconds(50));
      const SocketRead read = read_available(socket_, 1 << 20);
      reader_.feed(read.bytes);
      if (read.ended && read.bytes.empty()) break;
    }
    return std::nullopt;
  }

  int child_exit(milliseconds timeout = seconds(10)) {
    int status = 0;
    for (const auto deadline = TestClock::now() + timeout; TestClock::now() < deadline;
         std::this_thread::sleep_for(milliseconds(5)))
      if (::waitpid(child_, &status, WNOHANG) == child_) {
        child_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
    return -1;
  }

  std::string path_;
  FileDescriptor listener_, socket_;
  FrontEndpoint endpoint_;
  FrameReader<RankMessage> reader_{5};
  pid_t child_ = -1;
};

int sleep_forever() {
  std::this_thread::sleep_for(seconds(60));
  return 0;
}

TEST_F(LinkTest, SaysWhoItIsAndBeats) {
  in_child([this] {
    FrontLink link(options());
    rank_progress().phase = Phase::stepping;
    rank_progress().step = 42;
    rank_progress().tick("attention");
    return sleep_forever();
  });
  accept_child();
  const auto hello = hear<Hello>();
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->key, endpoint_.key);
  EXPECT_EQ(hello->rank, 1);
  EXPECT_EQ(hello->pid, child_);
  EXPECT_EQ(hello->gpu, "cuda:1");
  std::optional<Beat> beat;
  const auto begun = TestClock::now();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(beat = hear<Beat>());
  EXPECT_GT(TestClock::now() - begun, milliseconds(250));  // 100 ms apart
  EXPECT_EQ(beat->step, 42);
  EXPECT_EQ(beat->operation, "attention");
}

TEST_F(LinkTest, EndsTheProcessAtOnceWhenTheFrontEnds) {
  in_child([this] {
    FrontLink link(options());
    return sleep_forever();
  });
  accept_child();
  ASSERT_TRUE(hear<Beat>());
  const auto begun = TestClock::now();
  socket_.close();
  EXPECT_EQ(child_exit(), kExitFrontLost);
  EXPECT_LT(TestClock::now() - begun, seconds(1));
}

TEST_F(LinkTest, EndsTheProcessWhenTheFrontIsSilentAndNotWhileItSpeaks) {
  in_child([this] {
    FrontLink link(options());
    return sleep_forever();
  });
  accept_child();
  for (int i = 0; i < 6; ++i) {
    std::this_thread::sleep_for(milliseconds(200));
    say(Keepalive{});
  }
  ASSERT_TRUE(hear<Beat>()) << "1.2 s with keepalives";
  EXPECT_EQ(child_exit(), kExitFrontLost);
}

TEST_F(LinkTest, ARefusedRankThrows) {
  in_child([this] {
    LinkOptions impatient = options();
    impatient.dial_timeout = milliseconds(300);
    try {
      FrontLink link(impatient);
    } catch (const Error&) {
      return 3;
    }
    return 0;
  });
  accept_child(false);
  socket_.close();
  EXPECT_EQ(child_exit(), 3);
}

TEST_F(LinkTest, CarriesCommandsAndEventsAndEndsCleanly) {
  in_child([this] {
    FrontLink link(options());
    EngineFacts facts;
    facts.vocab_size = 17;
    link.send_ready(facts);
    for (;;)
      for (const EngineCommand& command : link.receive(milliseconds(50))) {
        if (const auto* submit = std::get_if<SubmitCommand>(&command)) {
          const RequestId id = submit->request.id;
          link.announce(3, std::span(&id, 1));
          TokenEvent token;
          token.request = id;
          link.emit({token});
        } else {
          link.stop();
          return 0;
        }
      }
  });
  accept_child();
  EXPECT_EQ(hear<EngineFacts>()->vocab_size, 17);
  Request request;
  request.id = 8;
  request.prompt = {1};
  say(SubmitCommand{request});
  EXPECT_EQ(hear<Announce>()->requests, std::vector<RequestId>{8});
  EXPECT_EQ(std::get<TokenEvent>(hear<EventBatch>()->events.at(0)).request, 8u);
  say(ShutdownCommand{});
  EXPECT_TRUE(hear<Stopped>());
  EXPECT_EQ(child_exit(), 0);
}

// The caller writes what the kernel takes; the rest leaves by itself, in order, without a further call.
TEST_F(LinkTest, EventsBeyondWhatTheKernelTakesFollowInOrder) {
  constexpr int kBatches = 200, kEvents = 200;  // some 2 MB
  in_child([this] {
    LinkOptions patient = options();
    patient.front_timeout = seconds(60);
    FrontLink link(patient);
    for (int batch = 0; batch < kBatches; ++batch) {
      std::vector<EngineEvent> events;
      for (int i = 0; i < kEvents; ++i) {
        TokenEvent token;
        token.index = batch * kEvents + i;
        events.emplace_back(token);
      }
      link.emit(std::move(events));
    }
    while (link.receive(milliseconds(50)).empty()) {
    }
    link.stop();
    return 0;
  });
  accept_child();
  std::this_thread::sleep_for(milliseconds(300));  // nobody reads: the kernel's buffer is full
  for (int next = 0; next < kBatches * kEvents;) {
    const auto batch = hear<EventBatch>();
    ASSERT_TRUE(batch) << "after " << next << " events";
    for (const EngineEvent& event : batch->events) ASSERT_EQ(std::get<TokenEvent>(event).index, next++);
  }
  say(ShutdownCommand{});
  EXPECT_TRUE(hear<Stopped>());
  EXPECT_EQ(child_exit(), 0);
}

// A front may be gone as soon as it has read the word.
TEST_F(LinkTest, AFrontThatLeavesOnceARankHasStoppedIsNotLost) {
  in_child([this] {
    FrontLink link(options());
    link.stop();
    return 0;
  });
  accept_child();
  EXPECT_TRUE(hear<Stopped>());
  socket_.close();
  EXPECT_EQ(child_exit(), 0);
}

TEST_F(LinkTest, SendsAFailureWithStepAndOperationBeforeTheProcessEnds) {
  in_child([this] {
    FrontLink link(options());
    rank_progress().step = 7;
    rank_progress().tick("all_reduce");
    link.report_failure(CheckpointError("model.safetensors is truncated"));
    return kExitEngineFailure;
  });
  accept_child();
  const auto failure = hear<Failure>();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->kind, FailureKind::checkpoint);
  EXPECT_EQ(failure->step, 7);
  EXPECT_EQ(failure->operation, "all_reduce");
  EXPECT_EQ(failure->text, "model.safetensors is truncated");
  EXPECT_EQ(child_exit(), kExitEngineFailure);
}

TEST_F(LinkTest, ForwardsLogLinesAndDropsThemRatherThanBlocking) {
  in_child([this] {
    FrontLink link(options());
    initialize_logging("rank 1");
    link.forward_logs();
    for (int i = 0; i < 5000; ++i) log_warning("{} {}", i, std::string(1000, 'x'));  // 5 MB at once, nobody reads yet
    for (;; std::this_thread::sleep_for(milliseconds(20))) log_warning("last");
    return 0;
  });
  accept_child();
  std::this_thread::sleep_for(milliseconds(300));
  int lines = 0;
  for (;;) {
    say(Keepalive{});
    const auto line = hear<LogLine>();
    ASSERT_TRUE(line) << lines;
    EXPECT_EQ(line->level, 3);
    ++lines;
    if (line->line.find("last") != std::string::npos) break;
  }
  EXPECT_LT(lines, 5001);
}

TEST(Socket, TcpListensDialsAndCarriesBytes) {
  const FileDescriptor listener = listen_on("tcp:127.0.0.1:0");
  const FileDescriptor dialled = dial("tcp:127.0.0.1:" + std::to_string(listening_port(listener)), seconds(2));
  ASSERT_TRUE(wait_socket(listener, false, seconds(2)));
  const FileDescriptor accepted = accept_connection(listener);
  std::string bytes = "hello";
  EXPECT_TRUE(write_available(dialled, bytes));
  ASSERT_TRUE(wait_socket(accepted, false, seconds(2)));
  EXPECT_EQ(read_available(accepted, 100).bytes, "hello");
}

TEST(Socket, ErrorsNameTheAddress) {
  try {
    dial("unix:/nowhere/front.sock", milliseconds(50));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("unix:/nowhere/front.sock"), std::string::npos);
  }
  EXPECT_THROW(listen_on("carrier pigeon"), Error);
}

}  // namespace
}  // namespace trireme
