#include "launcher/bench_job.h"

#include <gtest/gtest.h>

#include "launcher/bench_floor.h"

namespace trireme {
namespace {

constexpr double kMs = 1e-3;

class RecordingPort final : public RequestPort {
 public:
  void submit(Request request) override { requests.push_back(std::move(request)); }
  void cancel(RequestId, int32_t) override {}
  std::vector<Request> requests;
};

EngineFacts facts() {
  EngineFacts facts;
  facts.vocab_size = 50;
  facts.max_model_len = 1000;
  facts.num_slots = 2;
  facts.weight_bytes = {1000};
  facts.kv_bytes_per_token = {10};
  facts.memory_bandwidth = {1e6};
  return facts;
}

TimePoint at(double seconds) {
  return TimePoint(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(100 + seconds)));
}

// Answers every open request, one token per step of 10 ms; returns the time of the last.
double serve(BenchJob& job, RecordingPort& port, double now) {
  while (!port.requests.empty()) {
    const std::vector<Request> batch = std::exchange(port.requests, {});
    const int length = batch[0].sampling.max_new_tokens;
    for (int i = 0; i < length; ++i) {
      now += 10 * kMs;
      std::vector<EngineEvent> events;
      for (const Request& request : batch) {
        TokenEvent event;
        event.request = request.id;
        event.index = i;
        event.token.id = 1;
        event.finish = i + 1 == length ? FinishReason::length : FinishReason::none;
        events.push_back(event);
      }
      job.on_events(events, at(now));
    }
  }
  return now;
}

// One sequence after the other: no step has them all, and no figure claims one.
TEST(BenchLatency, NoDecodeStepWhereSequencesDoNotOverlap) {
  BenchCommand command;
  command.batch_sizes = {2};
  command.output_len = 5;
  command.warmup_iterations = 0;
  command.iterations = 1;
  const auto job = make_latency_job(command);
  RecordingPort port;
  job->start(facts(), port, at(0));
  const std::vector<Request> batch = std::exchange(port.requests, {});
  double now = 0;
  for (const Request& request : batch) {
    port.requests = {request};
    now = serve(*job, port, now);
  }
  ASSERT_TRUE(job->done());
  const BenchReport report = job->report();
  EXPECT_FALSE(report.figures.contains("decode_step_ms"));
  EXPECT_NE(report.text.find("raise --output-len"), std::string::npos) << report.text;
}

TEST(BenchLatency, TimesMeasuredBatchesOnly) {
  BenchCommand command;
  command.batch_sizes = {2};
  command.output_len = 11;
  command.warmup_iterations = 1;
  command.iterations = 3;
  const auto job = make_latency_job(command);
  RecordingPort port;
  job->start(facts(), port, at(0));
  EXPECT_EQ(port.requests.size(), 2u);
  EXPECT_EQ(port.requests[0].prompt.size(), 32u);
  EXPECT_TRUE(port.requests[0].sampling.ignore_eos);
  serve(*job, port, 0);
  ASSERT_TRUE(job->done());
  const BenchReport report = job->report();
  EXPECT_NEAR(report.figures.at("avg_latency").get_double(), 0.11, 1e-9);
  EXPECT_EQ(report.figures.at("latencies").get_array().size(), 3u);
  EXPECT_NEAR(report.figures.at("decode_step_ms").get_double(), 10, 1e-6);
  EXPECT_NE(report.text.find("Avg latency: "), std::string::npos);
  EXPECT_NE(report.text.find("99% percentile latency: "), std::string::npos);
  // 10 steps x 1000 bytes, and 2 sequences' 33..42 cached tokens x 10 bytes, at 1 MB/s.
  EXPECT_NEAR(report.figures.at("floor_step_ms").get_double(), (1000 + 2 * 37.5 * 10) / 1e6 * 1e3, 1e-9);
}

TEST(BenchLatency, MeasuresSeveralBatchSizesOnOneEngine) {
  BenchCommand command;
  command.batch_sizes = {1, 3};
  command.output_len = 5;
  command.warmup_iterations = 1;
  command.iterations = 2;
  const auto job = make_latency_job(command);
  RecordingPort port;
  job->start(facts(), port, at(0));
  EXPECT_EQ(port.requests.size(), 1u);
  serve(*job, port, 0);
  ASSERT_TRUE(job->done());
  const BenchReport report = job->report();
  const json::array& batches = report.figures.at("batches").as_array();
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[1].at("batch_size"), 3);
  EXPECT_EQ(batches[1].at("latencies").as_array().size(), 2u);
  EXPECT_NEAR(batches[1].at("decode_tokens_per_second").as_double(), 300, 1e-6);
  EXPECT_NE(report.text.find("Batch size: 1\nAvg latency: "), std::string::npos);
  EXPECT_NE(report.text.find("Batch size: 3\nAvg latency: "), std::string::npos);
}

TEST(BenchLatency, ReportsTheHostsTimePerStepOfMeasuredBatches) {
  BenchCommand command;
  command.batch_sizes = {1};
  command.output_len = 10;
  command.warmup_iterations = 1;
  command.iterations = 1;
  const auto job = make_latency_job(command);
  RecordingPort port;
  job->start(facts(), port, at(0));
  for (int batch = 1; batch <= 2; ++batch) {
    const std::vector<Request> requests = std::exchange(port.requests, {});
    EngineStats stats;
    stats.steps = 10 * batch;
    stats.engine_cpu_seconds = 1 + 200e-6 * batch;
    stats.worker_cpu_seconds = 2 + 300e-6 * batch;
    TokenEvent last;
    last.request = requests.at(0).id;
    last.token.id = 1;
    last.finish = FinishReason::length;
    job->on_events({stats, last}, at(batch));
  }
  ASSERT_TRUE(job->done());
  const BenchReport report = job->report();
  EXPECT_NEAR(report.figures.at("host_engine_us_per_step").as_double(), 20, 1e-6);
  EXPECT_NEAR(report.figures.at("host_worker_us_per_step").as_double(), 30, 1e-6);
  EXPECT_NEAR(report.figures.at("host_cpu_us_per_step").as_double(), 50, 1e-6);
}

TEST(BenchLatency, ReportsTheHostsTimePerDecodeStepWithoutThePrefill) {
  BenchCommand command;
  command.batch_sizes = {1};
  command.output_len = 10;
  command.warmup_iterations = 0;
  command.iterations = 1;
  const auto job = make_latency_job(command);
  RecordingPort port;
  job->start(facts(), port, at(0));
  TokenEvent token;
  token.request = port.requests.at(0).id;
  token.token.id = 1;
  const auto stats = [](int steps, double engine_seconds) {
    EngineStats value;
    value.steps = steps;
    value.engine_cpu_seconds = engine_seconds;
    return value;
  };
  job->on_events({stats(1, 5e-3), token}, at(1));  // of the prefill
  job->on_events({stats(2, 6e-3), token}, at(2));
  job->on_events({stats(6, 6e-3 + 4 * 70e-6), token}, at(3));
  token.finish = FinishReason::length;
  job->on_events({token}, at(4));
  ASSERT_TRUE(job->done());
  EXPECT_NEAR(job->report().figures.at("host_engine_us_per_decode_step").as_double(), 70, 1e-6);
}

TEST(BenchThroughput, CountsRequestsAndTokens) {
  BenchCommand command;
  command.throughput = true;
  command.input_len = 5;
  command.output_len = 2;
  command.num_prompts = 9;
  const auto job = make_throughput_job(command);
  RecordingPort port;
  job->start(facts(), port, at(0));
  EXPECT_EQ(port.requests.size(), 4u);  // twice the slots
  const double end = serve(*job, port, 0);
  ASSERT_TRUE(job->done());
  const BenchReport report = job->report();
  EXPECT_EQ(report.figures.at("num_requests").get_int64(), 9);
  EXPECT_EQ(report.figures.at("total_num_tokens").get_int64(), 9 * 7);
  EXPECT_NEAR(report.figures.at("elapsed_time").get_double(), end, 1e-9);
  EXPECT_NE(report.text.find(" requests/s, "), std::string::npos);
}

TEST(BenchThroughput, DrawsLengthsFromTheSeedAlone) {
  BenchCommand command;
  command.throughput = true;
  command.input_len = 100;
  command.output_len = 10;
  command.num_prompts = 60;
  command.range_ratio = 0.5;
  EngineFacts wide = facts();
  wide.num_slots = 30;
  std::vector<Request> first;
  for (int run = 0; run < 2; ++run) {
    const auto job = make_throughput_job(command);
    RecordingPort port;
    job->start(wide, port, at(0));
    ASSERT_EQ(port.requests.size(), 60u);
    for (const Request& request : port.requests) {
      EXPECT_TRUE(request.prompt.size() >= 50 && request.prompt.size() <= 150) << request.prompt.size();
      EXPECT_TRUE(request.sampling.max_new_tokens >= 5 && request.sampling.max_new_tokens <= 15);
    }
    if (run == 0) first = port.requests;
    EXPECT_EQ(port.requests, first);
  }
  EXPECT_NE(first[0].prompt.size(), first[1].prompt.size());
}

TEST(BenchThroughput, ReportsLatenciesAndPadding) {
  BenchCommand command;
  command.throughput = true;
  command.output_len = 10;
  command.num_prompts = 4;
  const auto job = make_throughput_job(command);
  RecordingPort port;
  job->start(facts(), port, at(0));
  serve(*job, port, 0);  // four at once, 10 ms a token
  EngineStats stats;
  stats.prompt_tokens = 128;
  stats.generated_tokens = 40;
  stats.padded_tokens = 56;
  job->on_events({stats}, at(1));
  const BenchReport report = job->report();
  EXPECT_NEAR(report.figures.at("mean_request_latency").get_double(), 0.1, 1e-9);
  EXPECT_NEAR(report.figures.at("p99_request_latency").get_double(), 0.1, 1e-9);
  EXPECT_NEAR(report.figures.at("padded_fraction").get_double(), 0.25, 1e-9);
}

TEST(Bench, RandomLengthsReachBothEnds) {
  EXPECT_EQ(random_length(10, 0.25, 0), 7);
  EXPECT_EQ(random_length(10, 0.25, 6), 13);
  EXPECT_EQ(random_length(10, 0.25, 7), 7);
  EXPECT_EQ(random_length(1, 0.9, 0), 1);
}

TEST(Bench, RefusesLengthsBeyondTheContext) {
  BenchCommand command;
  command.input_len = 990;
  const auto job = make_latency_job(command);
  RecordingPort port;
  job->start(facts(), port, at(0));
  EXPECT_TRUE(job->done());
  EXPECT_EQ(job->exit_code(), 1);
  EXPECT_NE(job->failure().find("--max-model-len"), std::string::npos);
}

TEST(BenchFloor, AddsStagesOneAfterTheOtherAndTakesTheSlowestRankOfEach) {
  EngineFacts two;
  two.tp = 2;
  two.pp = 2;
  two.weight_bytes = {100, 200, 300, 400};
  two.kv_bytes_per_token = {0, 0, 0, 0};
  two.memory_bandwidth = {100, 100, 100, 100};
  EXPECT_DOUBLE_EQ(floor_seconds(two, 1, 0, false), 2 + 4);
  EXPECT_DOUBLE_EQ(floor_seconds(two, 1, 0, true), 4);
  two.memory_bandwidth.pop_back();
  EXPECT_DOUBLE_EQ(floor_seconds(two, 1, 0, true), 0);
}

TEST(BenchFloor, AFloorThatWasBeatenIsCalledNotValid) {
  EXPECT_EQ(floor_verdict(1, 2), "reached 50.0 % of it");
  EXPECT_NE(floor_verdict(2, 1).find("NOT VALID"), std::string::npos);
}

TEST(Percentile, InterpolatesAsNumpyDoes) {
  EXPECT_DOUBLE_EQ(percentile({4, 1, 3, 2}, 50), 2.5);
  EXPECT_DOUBLE_EQ(percentile({1, 2, 3, 4}, 90), 3.7);
  EXPECT_DOUBLE_EQ(percentile({7}, 99), 7);
}

}  // namespace
}  // namespace trireme
