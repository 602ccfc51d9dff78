#include "protocol/codec.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace trireme {
namespace {

constexpr uint32_t kAttempt = 7;

Request sample_request() {
  Request request;
  request.id = 99;
  request.prompt = {1, 2, 3};
  request.sampling.temperature = 0.25f;
  request.sampling.seed = UINT64_MAX;
  request.sampling.prompt_logprobs = 3;
  request.sampling.bad_words = {{1, 2}, {3}};
  request.sampling.allowed_token_ids = {6, 7};
  request.sampling.logit_bias = {{8, -1.5f}};
  request.sampling.beam_width = 4;
  request.sampling.early_stopping = EarlyStopping::never;
  request.beam_stop = {"END"};
  request.sampling.stop_token_ids = {4, 5};
  request.eos_token_ids = {2};
  request.cache_salt = 11;
  request.emitted = {{0, true, {7, 8}}, {1, false, {}}};
  return request;
}

std::vector<RankMessage> rank_messages() {
  TokenEvent token;
  token.request = 5;
  token.index = 3;
  token.token = {17, -0.5f};
  token.top = {{17, -0.5f}, {18, -1.5f}};
  token.finish = FinishReason::length;
  EngineStats stats;
  stats.device_seconds = 1.25;
  stats.engine_cpu_seconds = 0.5;
  stats.worker_cpu_seconds = 0.75;
  stats.padded_tokens = 1234567890123;
  EngineFacts facts;
  facts.vocab_size = 49152;
  facts.device = "a GPU";
  facts.weight_bytes = {1, 2};
  facts.memory_bandwidth = {4.8e12, 1};
  return {
      Hello{"key", 1, 4, 123, "host", "cuda:0"},
      Beat{Phase::stepping, 12, 34, "attention", 500, 1234567890123},
      LogLine{3, "a line"},
      Failure{FailureKind::checkpoint, 2, 5, "load", "why"},
      facts,
      EventBatch{{token, PromptLogprobsEvent{1, 1, {{2, -1}}, {{{3, -2}}}}, RequestFailedEvent{2, false, "no"}, stats}},
      Announce{6, {1, 2, 3}},
      Stopped{}};
}

std::string frame(const auto& message) {
  std::string bytes;
  append_frame(bytes, message, kAttempt);
  return bytes;
}

TEST(Codec, RankMessagesComeBackWhole) {
  for (const RankMessage& message : rank_messages()) {
    FrameReader<RankMessage> reader(kAttempt);
    reader.feed(frame(message));
    const auto back = reader.next();
    ASSERT_TRUE(back) << message.index();
    EXPECT_TRUE(*back == message) << message.index();
    EXPECT_FALSE(reader.next());
  }
}

TEST(Codec, FrontMessagesComeBackWhole) {
  std::string bytes;
  append_frame(bytes, FrontMessage(Welcome{}), kAttempt);
  append_frame(bytes, FrontMessage(SubmitCommand{sample_request()}), kAttempt);
  append_frame(bytes, FrontMessage(CancelCommand{12}), kAttempt);
  append_frame(bytes, FrontMessage(CancelCommand{12, 3}), kAttempt);
  append_frame(bytes, FrontMessage(ShutdownCommand{false}), kAttempt);
  FrameReader<FrontMessage> reader(kAttempt);
  reader.feed(bytes);
  EXPECT_TRUE(std::holds_alternative<Welcome>(*reader.next()));
  EXPECT_EQ(std::get<SubmitCommand>(*reader.next()).request, sample_request());
  EXPECT_EQ(std::get<CancelCommand>(*reader.next()).choice, -1);
  const CancelCommand one = std::get<CancelCommand>(*reader.next());
  EXPECT_EQ(one.request, 12u);
  EXPECT_EQ(one.choice, 3);
  EXPECT_FALSE(std::get<ShutdownCommand>(*reader.next()).drain);
}

TEST(Codec, TheLayoutIsFixed) {
  EXPECT_EQ(frame(FrontMessage(CancelCommand{0x0102, 3})),
            std::string("\x0c\0\0\0\x07\0\0\0\x44\x02\x01\0\0\0\0\0\0\x03\0\0\0", 21));
}

TEST(Codec, MessagesComeOutOfBytesInAnyPieces) {
  std::string stream;
  for (const RankMessage& message : rank_messages()) append_frame(stream, message, kAttempt);
  for (const size_t piece : {size_t(1), size_t(3), size_t(1000)}) {
    FrameReader<RankMessage> reader(kAttempt);
    size_t count = 0;
    for (size_t at = 0; at < stream.size(); at += piece) {
      reader.feed(std::string_view(stream).substr(at, piece));
      for (; auto message = reader.next(); ++count) EXPECT_TRUE(*message == rank_messages()[count]);
    }
    EXPECT_EQ(count, rank_messages().size());
    EXPECT_EQ(reader.buffered_bytes(), 0u);
  }
}

TEST(Codec, FramesOfAnotherAttemptAreRefused) {
  FrameReader<RankMessage> reader(kAttempt + 1);
  reader.feed(frame(RankMessage(Stopped{})));
  EXPECT_THROW(reader.next(), WireError);
}

TEST(Codec, FramesBeyondTheCapAreRefusedBeforeTheyArrive) {
  FrameReader<RankMessage> reader(kAttempt, 16);
  reader.feed(frame(RankMessage(LogLine{2, std::string(100, 'x')})).substr(0, kFrameHeaderBytes));
  EXPECT_THROW(reader.next(), WireError);
}

TEST(Codec, TextsBeyondTheCapAreNotSent) {
  std::string bytes = "kept";
  EXPECT_THROW(append_frame(bytes, RankMessage(LogLine{2, std::string(kMaxTextBytes + 1, 'x')}), kAttempt), WireError);
}

TEST(Codec, ACountThatExceedsTheFrameAllocatesNothing) {
  std::string bytes = frame(RankMessage(Announce{6, {}}));
  const uint32_t lie = 0x7fffffff;
  std::memcpy(bytes.data() + kFrameHeaderBytes + 8, &lie, 4);
  FrameReader<RankMessage> reader(kAttempt);
  reader.feed(bytes);
  EXPECT_THROW(reader.next(), WireError);
}

// Any change of any byte, and any cut, is either still a message or a WireError.
TEST(Codec, DamagedFramesAreMessagesOrErrorsNeverWildReads) {
  std::mt19937 random(1);
  std::vector<std::string> frames;
  for (const RankMessage& message : rank_messages()) frames.push_back(frame(message));
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = frames[random() % frames.size()];
    for (unsigned i = 0; i <= random() % 3; ++i) bytes[8 + random() % (bytes.size() - 8)] = char(random());
    if (random() % 4 == 0) {
      bytes.resize(kFrameHeaderBytes + random() % (bytes.size() - kFrameHeaderBytes + 1));
      const uint32_t length = uint32_t(bytes.size() - kFrameHeaderBytes);
      std::memcpy(bytes.data(), &length, 4);
    }
    FrameReader<RankMessage> reader(kAttempt);
    reader.feed(bytes);
    try {
      reader.next();
    } catch (const WireError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace trireme
