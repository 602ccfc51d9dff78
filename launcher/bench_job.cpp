#include "launcher/bench_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "launcher/bench_floor.h"

namespace trireme {

double percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = percent / 100 * double(values.size() - 1);
  const size_t below = size_t(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (at - double(below));
}

void BenchJob::start(const EngineFacts& facts, RequestPort& port, TimePoint now) {
  facts_ = facts;
  port_ = &port;
  const double longest = 1 + command_.range_ratio;
  const auto length = int64_t(std::ceil(command_.input_len * longest) + std::ceil(command_.output_len * longest));
  if (length > facts.max_model_len)
    failure_ = std::string("--input-len + --output-len is ") + (command_.range_ratio > 0 ? "up to " : "") +
               std::to_string(length) + ", but the context holds " +
               std::to_string(facts.max_model_len) + " tokens; lower them or raise --max-model-len";
  else
    begin(now);
}

void HostTime::add(const EngineStats& from, const EngineStats& to) {
  engine_seconds += to.engine_cpu_seconds - from.engine_cpu_seconds;
  worker_seconds += to.worker_cpu_seconds - from.worker_cpu_seconds;
  steps += double(to.steps - from.steps);
}

void report_host_time(BenchReport& report, const HostTime& time, const std::string& step) {
  if (time.steps <= 0) return;
  const double engine = time.engine_seconds / time.steps * 1e6, worker = time.worker_seconds / time.steps * 1e6;
  std::string words = step;
  std::replace(words.begin(), words.end(), '_', ' ');
  report.text += fmt::format("Host CPU per {}: {:.1f} us (engine thread {:.1f} us, worker thread {:.1f} us)\n", words,
                             engine + worker, engine, worker);
  report.figures["host_cpu_us_per_" + step] = engine + worker;
  report.figures["host_engine_us_per_" + step] = engine;
  report.figures["host_worker_us_per_" + step] = worker;
}

int random_length(int length, double ratio, uint64_t random) {
  const auto low = std::max(int64_t(std::floor(length * (1 - ratio))), int64_t(1));
  const auto high = std::max(int64_t(std::ceil(length * (1 + ratio))), low);
  return int(low + int64_t(random % uint64_t(high - low + 1)));
}

void BenchJob::submit_random(TimePoint now) {
  Request request;
  request.id = next_id_++;
  std::mt19937_64 random(command_.run.engine.seed * 0x9e3779b97f4a7c15ull + request.id);
  int input_len = command_.input_len, output_len = command_.output_len;
  if (command_.range_ratio > 0) {
    input_len = random_length(input_len, command_.range_ratio, random());
    output_len = random_length(output_len, command_.range_ratio, random());
  }
  for (int i = 0; i < input_len; ++i)
    request.prompt.push_back(int32_t(random() % uint64_t(facts_.vocab_size)));
  request.sampling.seed = request.id;
  request.sampling.temperature = 0;
  request.sampling.n = command_.n;
  request.sampling.max_new_tokens = output_len;
  request.sampling.ignore_eos = true;
  open_[request.id] = {command_.n, now};
  prompt_tokens_ += input_len;
  kv_tokens_ += decode_kv_tokens(command_.n, input_len, output_len);
  port_->submit(std::move(request));
}

void BenchJob::on_events(const std::vector<EngineEvent>& events, TimePoint now) {
  for (const EngineEvent& event : events) {
    if (const auto* stats = std::get_if<EngineStats>(&event)) {
      stats_ = *stats;
      on_stats();
    }
    if (const auto* failed = std::get_if<RequestFailedEvent>(&event)) failure_ = failed->message;
    const auto* token = std::get_if<TokenEvent>(&event);
    if (!token) continue;
    if (token->token.id >= 0) {
      ++generated_tokens_;
      last_token_ = now;
      if (token->index == 0) on_first_token(now);
    }
    const auto open = open_.find(token->request);
    if (token->finish == FinishReason::none || open == open_.end() || --open->second.choices > 0) continue;
    latencies_.push_back(std::chrono::duration<double>(now - open->second.submitted).count());
    open_.erase(open);
    on_request_done(now);
  }
}

}  // namespace trireme
