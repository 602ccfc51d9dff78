#pragma once
// Requests through a scheduler and this test's ranks to their end, with what came out; and, for requests without beams,
// the front's part: stop strings end a choice. Collective over the world.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/scheduler.h"
#include "gateway/model_assets.h"
#include "gateway/text_assembler.h"
#include "tests/runtime/support/cluster_run.h"

namespace trireme::test {

struct StopRequest {
  Request request;
  std::vector<std::string> stop;  // of a request without beams; with beams: Request::beam_stop
};

struct GeneratedChoice {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;               // of the ids; 0 where the request wants none
  std::vector<std::vector<TokenScore>> top;  // likewise
  FinishReason finish = FinishReason::none;
  float beam_score = 0;
  std::string stop_text;
};

struct Generated {
  std::map<std::pair<RequestId, int32_t>, GeneratedChoice> choices;
  std::map<RequestId, std::vector<TokenScore>> prompt_logprobs;
  std::map<RequestId, std::vector<std::vector<TokenScore>>> prompt_top;
  EngineStats stats;
};

struct GenerationRun {
  std::string model;
  Shape shape;
  DeviceKind device = DeviceKind::cpu;
  RankRuntimeOptions options;
  SchedulerOptions scheduling;
  bool one_at_a_time = false;
};

class GenerationDriver {
 public:
  GenerationDriver(const GenerationRun& run, Executor& executor, const Tokenizer* tokenizer)
      : run_(run),
        executor_(executor),
        tokenizer_(tokenizer),
        scheduler_(executor.info(), with_tokenizer(run.scheduling, tokenizer)) {}

  void drive(const std::vector<StopRequest>& requests) {
    for (const StopRequest& each : requests) {
      const Request& request = each.request;
      validate(request, executor_.info().vocab_size, executor_.info().max_model_len);
      for (int32_t choice = 0; choice < request.sampling.n && !each.stop.empty(); ++choice)
        texts_.emplace(std::pair(request.id, choice), TextAssembler(tokenizer_, {.stop = each.stop}));
      scheduler_.add(request);
      if (run_.one_at_a_time) finish();
    }
    finish();
    generated_.stats = scheduler_.stats();
  }
  StepId next_step() const { return scheduler_.next_step(); }
  Generated& generated() { return generated_; }

 private:
  static SchedulerOptions with_tokenizer(SchedulerOptions options, const Tokenizer* tokenizer) {
    if (tokenizer) options.tokenizer = [tokenizer] { return tokenizer; };
    return options;
  }

  void finish() {
    while (scheduler_.has_unfinished() || scheduler_.in_flight() > 0) {
      if (auto plan = scheduler_.next_plan()) {
        executor_.submit(std::move(*plan));
      } else {
        ASSERT_GT(scheduler_.in_flight(), 0) << "nothing runnable and nothing in flight";
        scheduler_.on_result(executor_.wait(++retired_));
      }
      for (SamplingOrders& orders : scheduler_.take_sampling_orders()) executor_.submit_sampling(std::move(orders));
      for (const EngineEvent& event : scheduler_.take_events()) accept(event);
    }
    scheduler_.verify();
  }

  void accept(const EngineEvent& event) {
    if (const auto* token = std::get_if<TokenEvent>(&event)) accept_token(*token);
    if (const auto* scores = std::get_if<PromptLogprobsEvent>(&event)) {
      auto& known = generated_.prompt_logprobs[scores->request];
      EXPECT_EQ(scores->first_position, int32_t(known.size()) + 1) << "prompt log-probabilities out of order";
      known.insert(known.end(), scores->tokens.begin(), scores->tokens.end());
      auto& top = generated_.prompt_top[scores->request];
      top.insert(top.end(), scores->top.begin(), scores->top.end());
    }
    if (const auto* failed = std::get_if<RequestFailedEvent>(&event))
      ADD_FAILURE() << "request " << failed->request << ": " << failed->message;
  }

  void accept_token(const TokenEvent& event) {
    const std::pair key(event.request, event.choice);
    GeneratedChoice& choice = generated_.choices[key];
    const auto text = texts_.find(key);
    if (text != texts_.end() && text->second.finished()) return;  // what the engine drew before it heard of the end
    if (event.token.id >= 0) {
      EXPECT_EQ(event.index, int32_t(choice.ids.size())) << "request " << event.request;
      choice.ids.push_back(event.token.id);
      choice.logprobs.push_back(event.token.logprob);
      choice.top.push_back(event.top);
      if (text != texts_.end()) text->second.add(event.token.id);
    }
    if (text != texts_.end() && text->second.finished()) {
      choice.finish = FinishReason::stop;
      choice.stop_text = text->second.matched_stop();
      if (event.finish == FinishReason::none) scheduler_.cancel(event.request, event.choice);
      return;
    }
    if (event.finish == FinishReason::none) return;
    choice.finish = event.finish;
    choice.beam_score = event.beam_score;
    choice.stop_text = event.stop_text;
  }

  const GenerationRun& run_;
  Executor& executor_;
  const Tokenizer* tokenizer_;
  Scheduler scheduler_;
  StepId retired_ = -1;
  std::map<std::pair<RequestId, int32_t>, TextAssembler> texts_;
  Generated generated_;
};

// The tokenizer of a model in tests/models.
inline std::unique_ptr<Tokenizer> tiny_tokenizer(const std::string& model) {
  return open_model_assets(model_path(model), true).tokenizer;
}

// Empty on all ranks but 0.
inline Generated generate(const GenerationRun& run, const std::vector<StopRequest>& requests) {
  const std::unique_ptr<Tokenizer> tokenizer = world_rank() == 0 ? tiny_tokenizer(run.model) : nullptr;
  Generated generated;
  run_executor(run.model, run.shape, run.device, run.options, [&](Executor& executor) {
    GenerationDriver driver(run, executor, tokenizer.get());
    driver.drive(requests);
    generated = std::move(driver.generated());
    return driver.next_step();
  });
  return generated;
}

}  // namespace trireme::test
