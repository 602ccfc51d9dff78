#include "launcher/bench_job.h"

#include <algorithm>
#include <cmath>
#include <random>

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
  const int64_t length = int64_t(command_.input_len) + command_.output_len;
  if (length > facts.max_model_len)
    failure_ = "--input-len + --output-len is " + std::to_string(length) + ", but the context holds " +
               std::to_string(facts.max_model_len) + " tokens; lower them or raise --max-model-len";
  else
    begin(now);
}

void BenchJob::submit_random(TimePoint) {
  Request request;
  request.id = next_id_++;
  std::mt19937_64 random(command_.run.engine.seed * 0x9e3779b97f4a7c15ull + request.id);
  for (int i = 0; i < command_.input_len; ++i)
    request.prompt.push_back(int32_t(random() % uint64_t(facts_.vocab_size)));
  request.sampling.seed = request.id;
  request.sampling.n = command_.n;
  request.sampling.max_new_tokens = command_.output_len;
  request.sampling.ignore_eos = true;
  open_choices_[request.id] = command_.n;
  port_->submit(std::move(request));
}

void BenchJob::on_events(const std::vector<EngineEvent>& events, TimePoint now) {
  for (const EngineEvent& event : events) {
    if (const auto* stats = std::get_if<EngineStats>(&event)) stats_ = *stats;
    if (const auto* failed = std::get_if<RequestFailedEvent>(&event)) failure_ = failed->message;
    const auto* token = std::get_if<TokenEvent>(&event);
    if (!token) continue;
    if (token->token.id >= 0) {
      ++generated_tokens_;
      last_token_ = now;
      if (token->index == 0) on_first_token(now);
    }
    const auto open = open_choices_.find(token->request);
    if (token->finish == FinishReason::none || open == open_choices_.end() || --open->second > 0) continue;
    open_choices_.erase(open);
    on_request_done(now);
  }
}

}  // namespace trireme
