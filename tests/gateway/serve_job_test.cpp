#include "gateway/serve_job.h"

#include "tests/gateway/serve_harness.h"

namespace trireme {
namespace {

constexpr const char* kStream = R"({"prompt": "hi", "stream": true, "max_tokens": 8, "temperature": 0})";

std::string streamed_text(const RecordingExchange& exchange) {
  std::string text;
  for (const json::value& event : exchange.events("data: ", exchange.ended))
    for (const json::value& choice : event.at("choices").as_array()) text += std::string(choice.at("text").as_string());
  return text;
}

TEST(ServeJob, GoesOnInTheNextAttemptWithoutGapOrDuplicate) {
  ServeHarness harness;
  harness.start();
  const auto stream = harness.post("/v1/completions", kStream);
  harness.text(1, "abc");
  harness.lose_engine();
  EXPECT_EQ(harness.job->status().phase, ServePhase::recovering);
  const auto late = harness.post("/v1/completions", kStream);  // accepted meanwhile
  EXPECT_EQ(late->status, 0);
  harness.start();
  ASSERT_EQ(harness.port->open.size(), 2u);
  const Request& again = harness.port->open.at(1);
  ASSERT_EQ(again.emitted.size(), 1u);
  EXPECT_EQ(again.emitted[0].ids, (std::vector<int32_t>{'a', 'b', 'c'}));
  EXPECT_TRUE(harness.port->open.at(2).emitted.empty());
  EXPECT_FALSE(stream->ended);
  harness.text(1, "de");
  harness.token(1, 0);
  EXPECT_TRUE(stream->ended);
  EXPECT_EQ(streamed_text(*stream), "abcde");
  EXPECT_EQ(harness.job->status().open_requests, 1u);
}

TEST(ServeJob, ReplaysTheSeedAndTellsTheEngineWhichChoicesHaveEndedByText) {
  ServeHarness harness;
  harness.start();
  const auto exchange = harness.post("/v1/completions", R"({"prompt": "hi", "n": 2, "stop": "X"})");
  const uint64_t seed = harness.port->open.at(1).sampling.seed;
  harness.text(1, "aX", 0);
  EXPECT_EQ(harness.port->cancelled, (std::vector<std::pair<RequestId, int32_t>>{{1, 0}}));
  harness.text(1, "b", 1);
  harness.lose_engine();
  harness.start();
  const Request& again = harness.port->open.at(1);
  EXPECT_EQ(again.sampling.seed, seed);
  ASSERT_EQ(again.emitted.size(), 2u);
  EXPECT_TRUE(again.emitted[0].finished);
  EXPECT_FALSE(again.emitted[1].finished);
  harness.token(1, 0, FinishReason::stop, 1);
  ASSERT_EQ(exchange->status, 200);
  EXPECT_EQ(exchange->json().at("choices").at(0).at("text"), "a");
  EXPECT_EQ(exchange->json().at("choices").at(0).at("stop_reason"), "X");
  EXPECT_EQ(exchange->json().at("choices").at(1).at("text"), "b");
}

TEST(ServeJob, BeamsStartAgainFromThePrompt) {
  ServeHarness harness;
  harness.start();
  const auto exchange =
      harness.post("/v1/completions", R"({"prompt": "hi", "n": 2, "use_beam_search": true, "max_tokens": 4})");
  harness.text(1, "ab", 0);  // the first beam's tokens came, its end did not
  harness.lose_engine();
  harness.next_index.clear();
  harness.start();
  EXPECT_TRUE(harness.port->open.at(1).emitted.empty());
  for (int beam : {0, 1}) {
    harness.text(1, beam == 0 ? "ab" : "cd", beam);
    harness.end(1, FinishReason::length, beam);
  }
  ASSERT_EQ(exchange->status, 200);
  EXPECT_EQ(exchange->json().at("choices").at(0).at("text"), "ab");
  EXPECT_EQ(exchange->json().at("choices").at(1).at("text"), "cd");
}

TEST(ServeJob, AClientThatLeavesIsCancelledAtOnce) {
  ServeHarness harness;
  harness.start();
  const auto exchange = harness.post("/v1/completions", R"({"prompt": ["hi", "ho"], "stream": true})");
  harness.text(1, "a");
  const int wakes = harness.port->wakes;
  exchange->hang_up();
  EXPECT_GT(harness.port->wakes, wakes);
  harness.job->on_tick(harness.now);
  EXPECT_TRUE(harness.port->open.empty());
  EXPECT_EQ(harness.job->status().open_requests, 0u);
  TokenEvent late;
  late.request = 1;
  late.index = 1;
  late.token = {'b', 0};
  harness.job->on_events({late}, harness.now);  // on its way when it was cancelled
  exchange->hang_up();
  harness.job->on_tick(harness.now);
}

TEST(ServeJob, RefusesBeyondItsBoundAndReplaysRegardless) {
  ServeHarness harness({.max_requests = 2});
  harness.start();
  harness.post("/v1/completions", kStream);
  harness.post("/v1/completions", kStream);
  const auto refused = harness.post("/v1/completions", kStream);
  EXPECT_EQ(refused->status, 429);
  EXPECT_EQ(refused->header("Retry-After"), "1");
  EXPECT_NE(refused->error().find("--max-queue"), std::string::npos);
  harness.lose_engine();
  harness.start();
  EXPECT_EQ(harness.port->open.size(), 2u);
  harness.token(1, 0);
  EXPECT_EQ(harness.post("/v1/completions", kStream)->status, 0);
}

TEST(ServeJob, CutsAStreamThatNobodyReads) {
  ServeHarness harness({.max_unsent_bytes = 100});
  harness.start();
  const auto exchange = harness.post("/v1/completions", kStream);
  exchange->unsent = 101;
  harness.text(1, "a");
  EXPECT_TRUE(exchange->aborted);
  EXPECT_TRUE(harness.port->open.empty());
  EXPECT_EQ(harness.job->status().open_requests, 0u);
}

TEST(ServeJob, KeepsSilentStreamsAwake) {
  ServeHarness harness;
  harness.start();
  const auto stream = harness.post("/v1/completions", kStream);
  const auto whole = harness.post("/v1/completions", R"({"prompt": "hi"})");
  harness.now += std::chrono::seconds(9);
  harness.job->on_tick(harness.now);
  EXPECT_EQ(stream->body, "");
  harness.now += std::chrono::seconds(1);
  harness.job->on_tick(harness.now);
  EXPECT_EQ(stream->body, ": waiting\n\n");
  EXPECT_EQ(whole->status, 0);
}

TEST(ServeJob, DrainsAndShutsDown) {
  ServeHarness harness;
  EXPECT_EQ(harness.post("/v1/completions", kStream)->status, 503);  // still loading
  harness.job->set_loading(0.25);
  EXPECT_EQ(harness.call("GET", "/health/ready")->json().at("progress"), 0.25);
  harness.start();
  const auto open = harness.post("/v1/completions", kStream);
  harness.text(1, "a");
  EXPECT_FALSE(harness.job->done());
  harness.job->drain();
  EXPECT_EQ(harness.job->status().phase, ServePhase::draining);
  EXPECT_EQ(harness.post("/v1/completions", kStream)->status, 503);
  EXPECT_FALSE(harness.job->done());
  harness.job->cancel();
  EXPECT_TRUE(open->ended);
  EXPECT_NE(open->body.find("shutting down"), std::string::npos);
  EXPECT_TRUE(harness.job->done());
}

TEST(ServeJob, PassesTheEnginesRefusalsOn) {
  ServeHarness harness;
  harness.start();
  const auto whole = harness.post("/v1/completions", R"({"prompt": ["hi", "ho"]})");
  harness.job->on_events({RequestFailedEvent{2, true, "no room for it"}}, harness.now);
  EXPECT_EQ(whole->status, 400);
  EXPECT_EQ(whole->error(), "no room for it");
  EXPECT_TRUE(harness.port->open.count(1) == 0);
  const auto stream = harness.post("/v1/completions", kStream);
  harness.text(3, "a");
  harness.job->on_events({RequestFailedEvent{3, false, "not finite"}}, harness.now);
  EXPECT_EQ(stream->events().back().at("error").at("code"), 500);
}

// The value of a series without labels of its own.
double series(const ServeMetrics& metrics, const std::string& name) {
  const std::string text = metrics.exposition();
  const size_t at = text.find("\n" + name + "{");
  CHECK(at != std::string::npos) << name;
  const size_t end = text.find('\n', at + 1);
  return std::stod(text.substr(text.rfind(' ', end) + 1));
}

TEST(ServeJob, CountsWhatClientsGotOnceOverAttempts) {
  ServeMetrics metrics({.model_name = "letters"});
  ServeHarness harness({.metrics = &metrics});
  harness.start();
  EXPECT_EQ(series(metrics, "trireme_ready"), 1);
  harness.post("/v1/completions", kStream);
  harness.now += std::chrono::seconds(1);
  harness.job->on_started({1}, harness.now);
  harness.now += std::chrono::seconds(2);
  harness.text(1, "abc");
  harness.lose_engine();
  EXPECT_EQ(series(metrics, "trireme_ready"), 0);
  RestartCounters counters;
  counters.of(RestartCause::rank_died) = 1;
  harness.job->on_restart_counters(counters);
  harness.job->on_restart_counters(counters);
  harness.start();
  harness.job->on_started({1}, harness.now + std::chrono::seconds(1));
  harness.now += std::chrono::seconds(3);
  harness.text(1, "d");
  harness.token(1, 0);
  EXPECT_EQ(series(metrics, "trireme_requests_admitted_total"), 1);
  EXPECT_EQ(series(metrics, "trireme_generation_tokens_total"), 5);
  EXPECT_EQ(series(metrics, "trireme_prompt_tokens_total"), 2);
  EXPECT_EQ(series(metrics, "trireme_time_to_first_token_seconds_sum"), 3);
  EXPECT_EQ(series(metrics, "trireme_inter_token_latency_seconds_count"), 4);
  EXPECT_EQ(series(metrics, "trireme_inter_token_latency_seconds_sum"), 3);
  EXPECT_EQ(series(metrics, "trireme_request_queue_time_seconds_sum"), 1);
  EXPECT_EQ(series(metrics, "trireme_request_prefill_time_seconds_sum"), 2);
  EXPECT_EQ(series(metrics, "trireme_e2e_request_latency_seconds_sum"), 6);
  EXPECT_EQ(series(metrics, "trireme_engine_restarts_total"), 1);
}

TEST(ServeJob, APoisonedRequestFailsWithItsOwnCode) {
  ServeHarness harness;
  harness.start();
  const auto exchange = harness.post("/v1/completions", R"({"prompt": "hi"})");
  harness.lose_engine();
  harness.job->on_request_poisoned(1, "twice", harness.now);
  EXPECT_EQ(exchange->status, 500);
  EXPECT_EQ(exchange->json().at("error").at("code"), "request_poisoned");
  harness.start();
  EXPECT_TRUE(harness.port->open.empty());
}

TEST(ServeJob, UsesNoPortThatWasReleased) {
  ServeHarness harness;
  harness.start();
  const auto exchange = harness.post("/v1/completions", R"({"prompt": "hi"})");
  harness.job->release_port();
  harness.port.reset();
  harness.job->cancel();
  EXPECT_EQ(exchange->status, 503);
}

TEST(ServeJob, TellsHowFarTheModelIs) {
  ServeHarness harness;
  harness.job->set_loading(0.375);
  const auto models = harness.call("GET", "/v1/models");
  EXPECT_EQ(models->status, 503);
  EXPECT_NE(models->error().find("(37%)"), std::string::npos) << models->body;
  EXPECT_EQ(harness.call("GET", "/health/ready")->json().at("progress"), 0.375);
}

}  // namespace
}  // namespace trireme
