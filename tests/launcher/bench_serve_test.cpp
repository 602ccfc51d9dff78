#include "launcher/bench_serve.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <fstream>

#include "base/error.h"
#include "launcher/bench_serve_flags.h"
#include "tests/launcher/fake_sse_server.h"

namespace trireme {
namespace {

BenchServeCommand command_of(std::vector<std::string> arguments, const std::string& key = "") {
  CLI::App app;
  BenchServeFlags flags;
  add_bench_serve_flags(app, flags);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return resolve(flags, key);
}

std::string refusal(const std::vector<std::string>& arguments) {
  try {
    command_of(arguments);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

const std::string kHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

std::string event(const std::string& json) { return "data: " + json + "\n\n"; }
std::string token(const std::string& text) { return event("{\"choices\":[{\"index\":0,\"text\":\"" + text + "\"}]}"); }
std::string usage(int prompt, int completion) {
  return event("{\"choices\":[],\"usage\":{\"prompt_tokens\":" + std::to_string(prompt) +
               ",\"completion_tokens\":" + std::to_string(completion) + "}}");
}
const std::string kDone = event("[DONE]");

FakeSseServer::Parts good_answer() {
  return {kHead, token("a"), token("b"), ": still here\n\n", token("c"), usage(7, 3) + kDone};
}

struct Driven {
  std::vector<ServeSample> samples;
  double duration = 0;
};

Driven drive(BenchServeCommand command, const std::string& port) {
  command.port = port;
  command.show_progress = false;
  Driven driven;
  driven.samples = drive_server(command, "m", make_serve_prompts(command), driven.duration);
  return driven;
}

BenchServeCommand load(int count) {
  BenchServeCommand command;
  command.num_prompts = count;
  command.random_input_len = 4;
  command.random_output_len = 3;
  return command;
}

TEST(BenchServe, MeasuresEveryTokenOfAStream) {
  FakeSseServer server([](const std::string&) { return good_answer(); });
  const Driven driven = drive(load(1), server.port());
  const ServeSample& sample = driven.samples.at(0);
  EXPECT_TRUE(sample.success) << sample.error;
  EXPECT_EQ(sample.input_len, 7);  // the server's word
  EXPECT_EQ(sample.output_len, 3);
  ASSERT_EQ(sample.itls.size(), 2u);
  EXPECT_GT(sample.ttft, 0);
  EXPECT_LE(sample.ttft + sample.itls[0] + sample.itls[1], sample.latency() + 1e-9);
  EXPECT_LE(sample.end, driven.duration);
}

TEST(BenchServe, SendsWhatVllmSends) {
  FakeSseServer server([](const std::string&) { return good_answer(); });
  BenchServeCommand command =
      command_of({"--model", "m", "--num-prompts", "1", "--input-len", "3", "--output-len", "5", "--ignore-eos",
                  "--top-k", "4", "--extra-body", "{\"min_tokens\": 2}", "--header", "X-A=b=c", "--token-ids"},
                 "secret");
  drive(command, server.port());
  const std::string request = server.requests().at(0);
  EXPECT_EQ(request.rfind("POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:", 0), 0u) << request;
  EXPECT_NE(request.find("Authorization: Bearer secret\r\n"), std::string::npos);
  EXPECT_NE(request.find("X-A: b=c\r\n"), std::string::npos);
  const json::value body = json::parse(request.substr(request.find("\r\n\r\n") + 4));
  EXPECT_EQ(body.at("model").as_string(), "m");
  EXPECT_EQ(body.at("prompt").as_array().size(), 3u);
  EXPECT_EQ(body.at("max_tokens").as_int64(), 5);
  EXPECT_TRUE(body.at("stream").as_bool());
  EXPECT_TRUE(body.at("stream_options").at("include_usage").as_bool());
  EXPECT_TRUE(body.at("ignore_eos").as_bool());
  EXPECT_EQ(body.at("top_k").as_int64(), 4);
  EXPECT_EQ(body.at("min_tokens").as_int64(), 2);
  EXPECT_EQ(body.at("temperature").as_double(), 0);
}

TEST(BenchServe, ReadsChatsAndDoesNotTakeTheRoleForAToken) {
  FakeSseServer server([](const std::string&) {
    const auto delta = [](const std::string& delta) { return event("{\"choices\":[{\"delta\":" + delta + "}]}"); };
    return FakeSseServer::Parts{kHead,
                                delta("{\"role\":\"assistant\",\"content\":\"\"}"),
                                delta("{\"content\":\"a\"}"),
                                delta("{\"reasoning_content\":\"b\"}"),
                                delta("{}"),
                                kDone};
  });
  BenchServeCommand command = command_of({"--backend", "openai-chat", "--num-prompts", "1", "--input-len", "3"});
  const Driven driven = drive(command, server.port());
  EXPECT_EQ(driven.samples.at(0).token_times.size(), 2u) << driven.samples.at(0).error;
  EXPECT_EQ(driven.samples.at(0).output_len, 2);  // no usage: counted
  const std::string request = server.requests().at(0);
  EXPECT_EQ(request.rfind("POST /v1/chat/completions ", 0), 0u);
  const json::value body = json::parse(request.substr(request.find("\r\n\r\n") + 4));
  EXPECT_EQ(body.at("messages").at(0).at("role").as_string(), "user");
  EXPECT_EQ(body.at("max_completion_tokens").as_int64(), 128);
}

TEST(BenchServe, SaysWhenRandomPromptsWereInThePrefixCache) {
  const auto answer = [](int cached) {
    return FakeSseServer::Parts{
        kHead, token("a"),
        event("{\"choices\":[],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":1,\"prompt_tokens_details\":"
              "{\"cached_tokens\":" + std::to_string(cached) + "}}}") + kDone};
  };
  for (const int cached : {0, 1, 2, 192}) {
    FakeSseServer server([&](const std::string&) { return answer(cached); });
    BenchServeCommand command = load(2);
    const Driven driven = drive(command, server.port());
    EXPECT_EQ(driven.samples.at(0).cached_len, cached) << driven.samples.at(0).error;
    const std::string warning = warm_cache_warning(command, driven.samples);
    EXPECT_EQ(warning.empty(), cached < 2) << "from one in a hundred on; " << warning;
    EXPECT_EQ(serve_report(command, driven.samples, 1).figures.at("total_cached_tokens").as_int64(), 2 * cached);
    command.random_prefix_len = 192;
    EXPECT_EQ(warm_cache_warning(command, driven.samples), "") << "a prefix that all share is meant to be found";
  }
}

TEST(BenchServe, WarmsUpWithOtherPromptsThanItMeasures) {
  BenchServeCommand command = load(8);
  command.num_warmups = 8;
  command.random_input_len = 20;
  command.token_ids = true;
  const std::vector<ServePromptText> measured = make_serve_prompts(command), warmup = make_warmup_prompts(command);
  ASSERT_EQ(warmup.size(), 8u);
  for (const ServePromptText& one : warmup)
    for (const ServePromptText& other : measured) EXPECT_NE(one.prompt, other.prompt);
  EXPECT_EQ(make_warmup_prompts(command).at(3).prompt, warmup.at(3).prompt) << "the same in every run";
}

TEST(BenchServe, NamesWhatWentWrong) {
  std::atomic<int> next = 0;
  const std::vector<FakeSseServer::Parts> answers = {
      {"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"},
      {kHead, token("a")},                                                  // no [DONE]
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:"},  // cut in a chunk
      {kHead, token("a"), event("{\"error\":{\"message\":\"engine died\"}}"), kDone},
      {},
      {kHead, event("{nonsense")},
      {kHead, kDone},
      {"hello\r\n"},
      good_answer()};
  FakeSseServer server([&](const std::string&) { return answers[size_t(next++) % answers.size()]; });
  BenchServeCommand command = load(int(answers.size()));
  command.max_concurrency = 1;  // in this order
  const Driven driven = drive(command, server.port());
  const char* const expected[] = {"HTTP 503: busy", "middle of its answer", "middle of its answer",
                                  "engine died",    "without an answer",    "no JSON object",
                                  "no choice",      "no HTTP/1.x server",   ""};
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(driven.samples[i].success, i + 1 == answers.size()) << i;
    EXPECT_NE(driven.samples[i].error.find(expected[i]), std::string::npos) << i << ": " << driven.samples[i].error;
  }
  const ServeReport report = serve_report(command, driven.samples, driven.duration);
  EXPECT_EQ(report.figures.at("completed").as_int64(), 1);
  EXPECT_EQ(report.figures.at("failed").as_int64(), 8);
  EXPECT_EQ(report.figures.at("total_output_tokens").as_int64(), 3);
}

TEST(BenchServe, CountsRefusedConnectionsAsFailures) {
  std::string port;
  {
    port = FakeSseServer([](const std::string&) { return FakeSseServer::Parts(); }).port();
  }
  const Driven driven = drive(load(3), port);
  for (const ServeSample& sample : driven.samples) {
    EXPECT_FALSE(sample.success);
    EXPECT_NE(sample.error.find("cannot connect to 127.0.0.1:" + port), std::string::npos) << sample.error;
  }
  BenchServeCommand command;
  command.port = port;
  EXPECT_THROW(served_model(command), Error);
}

TEST(BenchServe, AsksTheServerForItsModel) {
  FakeSseServer server([](const std::string&) {
    const std::string body = "{\"object\":\"list\",\"data\":[{\"id\":\"org/name\"}]}";
    return FakeSseServer::Parts{"HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                                body};
  });
  BenchServeCommand command;
  command.port = server.port();
  EXPECT_EQ(served_model(command), "org/name");
}

TEST(BenchServe, KeepsItsConcurrency) {
  FakeSseServer server([](const std::string&) { return good_answer(); });
  BenchServeCommand command = load(40);
  command.max_concurrency = 5;
  const Driven driven = drive(command, server.port());
  EXPECT_LE(server.most_at_once(), 5);
  EXPECT_EQ(server.requests().size(), 40u);
}

TEST(BenchServe, HoldsTwoThousandStreamsAtOnce) {
  FakeSseServer server(
      [](const std::string&) {
        FakeSseServer::Parts parts(20, token("a"));
        parts.front() = kHead + token("a");
        parts.back() = token("a") + usage(4, 20) + kDone;
        return parts;
      },
      2000);
  const Driven driven = drive(load(2000), server.port());
  int64_t succeeded = 0, tokens = 0;
  std::string error;
  for (const ServeSample& sample : driven.samples) {
    succeeded += sample.success;
    tokens += sample.output_len;
    if (!sample.success) error = sample.error;
  }
  EXPECT_EQ(succeeded, 2000) << error;
  EXPECT_EQ(tokens, 40000);
  EXPECT_EQ(server.most_at_once(), 2000);
}

TEST(BenchServe, PrintsVllmsBlock) {
  BenchServeCommand command;
  command.max_concurrency = 2;
  command.request_rate = 4;
  command.percentiles = {50, 99.9};
  command.goodput.ttft = 150;
  std::vector<ServeSample> samples(3);
  samples[0] = {.success = true,
                .error = "",
                .start = 0,
                .end = 1,
                .ttft = 0.1,
                .itls = {0.3, 0.6},
                .token_times = {0.1, 0.4, 1.0},
                .input_len = 10,
                .output_len = 3,
                .text = ""};
  samples[1] = {.success = true,
                .error = "",
                .start = 0.5,
                .end = 1.5,
                .ttft = 0.2,
                .itls = {0.8},
                .token_times = {0.7, 1.5},
                .input_len = 20,
                .output_len = 2,
                .text = ""};
  samples[2].error = "broken";
  const ServeReport report = serve_report(command, samples, 2);
  EXPECT_EQ(report.text,
            "============ Serving Benchmark Result ============\n"
            "Successful requests:                     2         \n"
            "Failed requests:                         1         \n"
            "Maximum request concurrency:             2         \n"
            "Request rate configured (RPS):           4.00      \n"
            "Benchmark duration (s):                  2.00      \n"
            "Total input tokens:                      30        \n"
            "Total generated tokens:                  5         \n"
            "Request throughput (req/s):              1.00      \n"
            "Request goodput (req/s):                 0.50      \n"
            "Output token throughput (tok/s):         2.50      \n"
            "Peak output token throughput (tok/s):    3.00      \n"
            "Peak concurrent requests:                2.00      \n"
            "Total token throughput (tok/s):          17.50     \n"
            "---------------Time to First Token----------------\n"
            "Mean TTFT (ms):                          150.00    \n"
            "Median TTFT (ms):                        150.00    \n"
            "P50 TTFT (ms):                           150.00    \n"
            "P99.9 TTFT (ms):                         199.90    \n"
            "-----Time per Output Token (excl. 1st token)------\n"
            "Mean TPOT (ms):                          625.00    \n"
            "Median TPOT (ms):                        625.00    \n"
            "P50 TPOT (ms):                           625.00    \n"
            "P99.9 TPOT (ms):                         799.65    \n"
            "---------------Inter-token Latency----------------\n"
            "Mean ITL (ms):                           566.67    \n"
            "Median ITL (ms):                         600.00    \n"
            "P50 ITL (ms):                            600.00    \n"
            "P99.9 ITL (ms):                          799.60    \n"
            "==================================================\n");
  for (const char* key :
       {"duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput",
        "request_goodput", "output_throughput", "total_token_throughput", "max_output_tokens_per_s",
        "max_concurrent_requests", "mean_ttft_ms", "median_tpot_ms", "std_itl_ms", "p50_ttft_ms", "p99.9_itl_ms"})
    EXPECT_TRUE(report.figures.if_contains(key)) << key;
  EXPECT_FALSE(report.figures.if_contains("ttfts"));
  command.save_detailed = true;
  EXPECT_EQ(serve_report(command, samples, 2).figures.at("errors").at(2).as_string(), "broken");
}

TEST(BenchServe, SurvivesARunWithoutSuccess) {
  const ServeReport report = serve_report({}, std::vector<ServeSample>(2), 0);
  EXPECT_EQ(report.text.find("nan"), std::string::npos);
  EXPECT_EQ(serve_plot({}, std::vector<ServeSample>(2), 0).find("nan"), std::string::npos);
}

TEST(BenchServe, SpreadsArrivals) {
  const std::vector<double> times = arrival_times(1000, 50, 1, 7);
  EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
  EXPECT_NEAR(times.back(), 20, 1e-9);
  EXPECT_EQ(times, arrival_times(1000, 50, 1, 7));
  const auto spread = [](const std::vector<double>& at) {  // squared variation of the gaps: 1 / burstiness
    double sum = 0;
    for (size_t i = 1; i < at.size(); ++i) sum += std::pow((at[i] - at[i - 1]) * 50 - 1, 2);
    return sum / double(at.size() - 1);
  };
  EXPECT_NEAR(spread(times), 1, 0.3);
  EXPECT_LT(spread(arrival_times(1000, 50, 100, 7)), 0.05);
  EXPECT_EQ(arrival_times(2, 0, 1, 7), (std::vector<double>{0, 0}));
}

TEST(BenchServe, MakesPromptsOfEveryDataSet) {
  BenchServeCommand command = load(20);
  command.random_prefix_len = 5;
  command.random_range_ratio = 0.5;
  command.token_ids = true;
  command.vocab_size = 10;
  const auto prompts = make_serve_prompts(command);
  ASSERT_EQ(prompts.size(), 20u);
  for (const ServePromptText& prompt : prompts) {
    const json::array& ids = prompt.prompt.as_array();
    EXPECT_TRUE(ids.size() >= 7 && ids.size() <= 11) << ids.size();
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(ids[i], prompts[0].prompt.at(i));
    for (const json::value& id : ids) EXPECT_LT(id.as_int64(), 10);
    EXPECT_TRUE(prompt.output_len >= 1 && prompt.output_len <= 5);
  }
  const std::string path = testing::TempDir() + "bench_serve_prompts.json";
  command = load(3);
  command.dataset_path = path;
  std::ofstream(path) << R"([{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]},{"x":1}])";
  command.dataset = "sharegpt";
  EXPECT_EQ(make_serve_prompts(command).at(2).prompt.as_string(), "q");
  std::ofstream(path) << "{\"prompt\": \"one\", \"output_tokens\": 9}\n\n{\"prompt\": \"two\"}\n";
  command.dataset = "custom";
  EXPECT_EQ(make_serve_prompts(command).at(0).output_len, 9);
  EXPECT_EQ(make_serve_prompts(command).at(2).prompt.as_string(), "one");
  std::ofstream(path) << "{\"text\": \"one\"}\n";
  EXPECT_THROW(make_serve_prompts(command), ConfigError);
}

TEST(BenchServe, ReadsVllmsFlags) {
  const BenchServeCommand command =
      command_of({"--base-url", "http://[::1]:9/x/", "--request-rate", "2.5", "--goodput", "ttft:500", "e2el:2000",
                  "--percentile-metrics", "e2el,ttft", "--metric-percentiles", "50,99.5", "--metadata", "a=b"});
  EXPECT_EQ(command.host, "::1");
  EXPECT_EQ(command.port, "9");
  EXPECT_EQ(command.base_path, "/x");
  EXPECT_EQ(command.request_rate, 2.5);
  EXPECT_EQ(command.goodput.e2el, 2000);
  EXPECT_EQ(command.percentiles, (std::vector<double>{50, 99.5}));
  EXPECT_EQ(result_file(command, "org/name", "T"), "openai-2.5qps-name-T.json");
  EXPECT_EQ(result_file(command_of({"--max-concurrency", "8"}), "m", "T"), "openai-infqps-concurrency8-m-T.json");
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--backend", "tgi"},
                                             {"--base-url", "https://x"},
                                             {"--request-rate", "0"},
                                             {"--goodput", "itl:3"},
                                             {"--percentile-metrics", "x"},
                                             {"--metric-percentiles", "101"},
                                             {"--extra-body", "[1]"},
                                             {"--header", "x"},
                                             {"--dataset-name", "sharegpt"},
                                             {"--dataset-name", "y"},
                                             {"--burstiness", "0"},
                                             {"--num-prompts", "0"},
                                             {"--token-ids", "--backend", "openai-chat"},
                                             {"--insecure"},
                                             {"--endpoint", "v1"}})
    EXPECT_NE(refusal(arguments), "accepted") << arguments.front();
}

}  // namespace
}  // namespace trireme
