#pragma once
// Prompts -> requests -> outputs in the order of the prompts. A bounded number is in flight: twice the engine's
// slots, so that it never starves; outputs that wait for an earlier one are bounded by the same window times 8.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gateway/finished_prompt.h"
#include "gateway/front_job.h"
#include "gateway/ledger.h"
#include "gateway/model_assets.h"
#include "gateway/prepared_request.h"
#include "gateway/prompt_file.h"
#include "gateway/running_prompt.h"

namespace trireme {

class OutputSink {
 public:
  virtual ~OutputSink() = default;
  // As it becomes final; never for beams and best_of, whose answers are known at their end.
  virtual void on_text(size_t index, int choice, const std::string& text) = 0;
  virtual void on_finished(const FinishedPrompt& prompt) = 0;  // in the order of the prompts
};

struct GenerateSummary {
  size_t prompts = 0, finished = 0, failed = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  std::vector<double> first_token_seconds;  // per finished prompt, from its submission
  TimePoint started, first_token, last_token;
  double most_kv_use = 0;  // 0..1; blocks of begun requests, or the engine's figure if larger
};

struct GenerateOptions {
  SamplingFlags sampling = {};
  bool chat = false;                       // a plain prompt is one user message
  json::object chat_template_kwargs = {};  // of every chat; a line's own win
  bool trust_special_tokens = false;       // in a chat's messages, too
  RestartFault fault = RestartFault::none; // planted by tests
};

class GenerateJob final : public FrontJob {
 public:
  GenerateJob(std::vector<PromptLine> prompts, const ModelAssets& assets, GenerateOptions options, OutputSink& sink);

  void start(const EngineFacts& facts, RequestPort& port, TimePoint now) override;
  void on_events(const std::vector<EngineEvent>& events, TimePoint now) override;
  void on_engine_lost(const EngineFault& fault, TimePoint now) override;
  void cancel() override;
  bool done() const override;
  int exit_code() const override { return summary_.failed > 0 ? 1 : 0; }

  const GenerateSummary& summary() const { return summary_; }

 private:
  struct Active {
    size_t index;
    std::string prompt;
    size_t sequences;  // the engine runs for it: choices or beams
    RunningPrompt running;
  };

  void submit_again();  // to the next attempt: what an earlier one left unfinished
  void submit_more(TimePoint now);
  void submit(size_t index, TimePoint now);
  std::vector<int32_t> prompt_ids(const PromptLine& line, std::string& text) const;
  void on_token(const TokenEvent& event, TimePoint now);
  void count_token(TimePoint now);
  void on_failed(const RequestFailedEvent& event);
  void complete(RequestId id, const std::string& error);
  void deliver(FinishedPrompt prompt);
  size_t max_in_flight() const;
  double kv_use() const;  // of the requests that have begun, as the front can tell

  std::vector<PromptLine> prompts_;
  const ModelAssets& assets_;
  GenerateOptions options_;
  OutputSink& sink_;
  EngineFacts facts_;
  RequestPort* port_ = nullptr;
  Ledger ledger_;
  std::map<RequestId, Active> active_;
  std::map<size_t, FinishedPrompt> waiting_;  // finished, but an earlier one is not
  size_t next_submit_ = 0, next_deliver_ = 0, sequences_in_flight_ = 0;
  bool cancelled_ = false, engine_lost_ = false;
  GenerateSummary summary_;
};

// A finished prompt as one line of JSON, without the line's end (docs/generation.md, "Output").
std::string json_line(const FinishedPrompt& prompt);

}  // namespace trireme
