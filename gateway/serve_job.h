#pragma once
// Calls of clients, each one or more prompts, on an engine that may die and come back. Owns the ledger: a token is in
// it before anything of it is written, and the next attempt gets what the ledger holds of everything unfinished.
//
// Threads: FrontJob's members on the front loop's; the rest on any. What comes from elsewhere waits in an inbox and
// wakes the loop. Bounds: `max_requests` prompts open (ApiError 429 beyond), and with them the inbox;
// `max_unsent_bytes` of a stream whose client does not read (the stream is cut). The port is used from any thread until
// on_engine_lost(), finish() or release_port() has returned. The job must outlive whatever may still submit.

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <variant>

#include "gateway/front_job.h"
#include "gateway/ledger.h"
#include "gateway/metrics.h"
#include "gateway/model_assets.h"
#include "gateway/prepared_request.h"
#include "gateway/running_prompt.h"

namespace trireme {

enum class ServePhase : uint8_t { starting, loading, ready, recovering, draining };
const char* serve_phase_name(ServePhase phase);

struct ServeStatus {
  ServePhase phase = ServePhase::starting;
  double progress = 0;       // loading: 0..1
  size_t open_requests = 0;  // prompts
};

struct ServePrompt {
  PreparedRequest prepared;
  std::string echo;  // the prompt's text where output.echo
};

// What one event brought of one choice.
struct ChoiceDelta {
  size_t prompt = 0;
  int32_t choice = 0;
  const std::string& text;
  size_t first_token = 0, end_token = 0;  // of the record's choice
  FinishReason finish = FinishReason::none;
  const RequestRecord& record;
  const RunningPrompt& running;
};

// Turns what happens to one call into bytes. On the front loop's thread; nothing after on_finished() or on_failed().
class ServeCall {
 public:
  virtual ~ServeCall() = default;
  virtual void on_delta(const ChoiceDelta&) {}  // only of outputs that stream
  virtual void on_finished(const std::vector<FinishedPrompt>& prompts) = 0;
  virtual void on_failed(int status, const std::string& message) = 0;
  virtual void on_silence() {}  // nothing happened for ServeOptions::silence
  virtual size_t unsent_bytes() const { return 0; }
  virtual void on_overflow() {}  // its client does not read: the last call
};

struct ServeOptions {
  size_t max_requests = 4096;
  size_t max_unsent_bytes = size_t(4) << 20;
  Duration silence = std::chrono::seconds(10);
  ServeMetrics* metrics = nullptr;                      // null: nothing is counted; must outlive the job
  std::function<void(const Request&)> on_admitted = {};  // front loop: a line per request
};

class ServeJob final : public FrontJob {
 public:
  using CallId = uint64_t;

  ServeJob(const ModelAssets& assets, const ServeOptions& options);

  // Front loop.
  void start(const EngineFacts& facts, RequestPort& port, TimePoint now) override;
  void on_events(const std::vector<EngineEvent>& events, TimePoint now) override;
  void on_engine_lost(const EngineFault& fault, TimePoint now) override;
  void on_started(const std::vector<RequestId>& requests, TimePoint now) override;
  void on_restart_counters(const RestartCounters& counters) override;
  void on_tick(TimePoint now) override;
  void cancel() override;  // fails every call with 503
  bool drain() override;   // no new calls; done() once the open ones are. Any thread
  bool done() const override;
  int exit_code() const override { return 0; }
  void finish(TimePoint) override;
  void release_port() override;

  // Any thread.
  void set_loading(double progress);  // until the engine is ready
  ServeStatus status() const;
  const ServeOptions& options() const { return options_; }
  // What prompts are checked against. Throws ApiError 503 while no attempt has been ready yet.
  std::shared_ptr<const EngineFacts> facts() const;
  std::optional<EngineStats> stats() const;
  // Throws ApiError 429 beyond max_requests, 503 while draining.
  CallId submit(std::shared_ptr<ServeCall> call, std::vector<ServePrompt> prompts);
  void hang_up(CallId call);  // its client has left; nothing where it has ended already

 private:
  struct Submission {
    CallId id;
    std::shared_ptr<ServeCall> call;
    std::vector<ServePrompt> prompts;
  };
  struct HangUp { CallId id; };
  using Message = std::variant<Submission, HangUp>;

  struct Active {  // one prompt in work
    CallId call;
    size_t index;
    RunningPrompt running;
    std::vector<size_t> told;  // by choice: tokens that deltas have brought
    std::vector<TimePoint> newest{};  // by choice: when its newest token came; epoch: none yet
    TimePoint started{};              // its first plan; epoch: not yet
  };
  struct OpenCall {
    std::shared_ptr<ServeCall> handler;
    std::vector<RequestId> requests;  // by prompt
    std::vector<FinishedPrompt> finished;
    size_t unfinished = 0;
    TimePoint last_output;
  };

  void post(Message message);
  void take_inbox(TimePoint now);
  void accept(Submission submission, TimePoint now);
  void replay(RequestId id, Active& active);
  void on_token(const TokenEvent& event, TimePoint now);
  void tell(Active& active, const RequestRecord& record, const TokenEvent& event, const std::string& text,
            TimePoint now);
  void complete(RequestId id, TimePoint now);
  void count_token(Active& active, const RequestRecord& record, const TokenEvent& event, TimePoint now);
  void count_end(const Active& active, const RequestRecord& record, FinishReason reason, TimePoint now);
  void fail(CallId id, int status, const std::string& message);
  void close(CallId id, FinishReason reason);  // drops the call and cancels what the engine still has of it
  void send_comments(TimePoint now);

  const ModelAssets& assets_;
  const ServeOptions options_;

  // Front loop.
  RequestPort* engine_ = nullptr;  // null: none is ready
  Ledger ledger_;
  std::map<RequestId, Active> active_;  // in order of admission
  std::map<CallId, OpenCall> calls_;
  RequestId next_request_ = 1;
  RestartCounters counted_;  // in metrics

  mutable std::mutex mutex_;  // guards what follows
  RequestPort* wake_ = nullptr;
  std::vector<Message> inbox_;
  std::shared_ptr<const EngineFacts> facts_;
  std::optional<EngineStats> stats_;
  ServeStatus status_;
  CallId next_call_ = 1;
  bool draining_ = false;
};

}  // namespace trireme
