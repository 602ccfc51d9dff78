#include "tests/launcher/support/restart_simulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>

#include "base/check.h"
#include "launcher/request_gate.h"
#include "tests/launcher/support/restart_play.h"

namespace trireme::test {
namespace {

constexpr int kMaxRounds = 30000;

class LineSink final : public OutputSink {
 public:
  void on_text(size_t, int, const std::string&) override {}
  void on_finished(const FinishedPrompt& prompt) override { lines.push_back(json_line(prompt)); }
  std::vector<std::string> lines;
};

// What the front may blame, worked out anew from the frames it was given.
struct Judge {
  std::deque<std::vector<RequestId>> announced;
  std::map<RequestId, int> open;  // choices
  std::map<RequestId, int> crashes, alone;  // since the last token

  std::set<RequestId> suspects() const {
    std::set<RequestId> found;
    for (const auto& plan : announced)
      for (RequestId request : plan)
        if (open.contains(request)) found.insert(request);
    return found;
  }
  void on_token(const TokenEvent& event) {
    crashes.erase(event.request);
    alone.erase(event.request);
    if (event.finish != FinishReason::none && open.contains(event.request) && --open[event.request] <= 0)
      open.erase(event.request);
  }
};

class Simulation final : public RequestPort {
 public:
  Simulation(uint64_t seed, RestartFault fault, bool mortal, bool trace)
      : dice_(seed + 77), seed_(seed), fault_(fault), mortal_(mortal), trace_(trace), play_(make_play(seed)),
        model_(play_.cluster, seed, 0), supervisor_({.max_restarts = 60, .backoff_max = kBackoffMax}, fault),
        gate_(supervisor_, fault), job_(play_.prompts, assets_, options(fault), sink_) {
    deaths_left_ = mortal ? play_.deaths : 0;
  }

  // The lines, or an exit code that is right.
  const std::vector<std::string>& run(RestartOutcome& outcome) {
    start();
    for (; !job_.done() && !exit_code_; ++outcome.rounds) {
      CHECK_LT(outcome.rounds, kMaxRounds) << "no end";
      play_round(outcome);
    }
    outcome.attempts = supervisor_.attempt();
    outcome.poisoned = supervisor_.counters().poisoned;
    outcome.never_ready = exit_code_ == kExitNeverReady;
    CHECK_EQ(exit_code_.value_or(expected_exit_), expected_exit_) << "exit code after attempt" << supervisor_.attempt();
    return sink_.lines;
  }
  bool exited() const { return exit_code_.has_value(); }

  void submit(Request request) override {  // to the engine
    const RequestId id = request.id;
    CHECK(!supervisor_.on_trial() || std::ranges::count(supervisor_.trials().front(), id) == 1)
        << "request" << id << "runs beside a trial";
    judge_.open[id] = request.sampling.n - int(std::ranges::count_if(request.emitted, &EmittedChoice::finished));
    append_frame(commands_, FrontMessage(SubmitCommand{std::move(request)}), supervisor_.attempt());
  }
  void cancel(RequestId request, int32_t choice) override {
    if (choice < 0) judge_.open.erase(request);
    append_frame(commands_, FrontMessage(CancelCommand{request, choice}), supervisor_.attempt());
  }

 private:
  static constexpr Duration kBackoffMax = std::chrono::seconds(30);
  static GenerateOptions options(RestartFault fault) {
    GenerateOptions options;
    options.fault = fault;
    return options;
  }

  void start() {
    const uint32_t attempt = supervisor_.attempt();
    engine_ = std::make_unique<SimulatedEngine>(model_, seed_, attempt, play_, mortal_);
    reader_.emplace(attempt);
    commands_.clear();
    judge_.announced.clear();
    judge_.open.clear();
    loading_ = dice_.between(1, 5);
    load_dies_ = mortal_ && deaths_left_ > 0 && dice_.one_in(10);
    const int late = int(attempt) - play_.bad_attempt;
    if (mortal_ && play_.bad_attempt > 0 && late >= 0 && late < play_.load_failures) load_dies_ = true;
  }

  EngineFacts facts() const {
    EngineFacts facts;
    facts.vocab_size = play_.cluster.vocab_size;
    facts.max_model_len = play_.cluster.max_model_len;
    facts.num_slots = play_.cluster.num_slots;
    facts.num_blocks = play_.cluster.groups[0].num_blocks;
    facts.pp = play_.cluster.pp;
    return facts;
  }

  void play_round(RestartOutcome& outcome) {
    now_ += std::chrono::milliseconds(7);
    if (loading_ > 0) {
      if (--loading_ > 0) return;
      if (load_dies_) return die_loading();
      engine_->say(facts());
    }
    const size_t heard = dice_.one_in(4) ? size_t(dice_.between(0, int(commands_.size()))) : commands_.size();
    engine_->hear(std::string_view(commands_).substr(0, heard));
    commands_.erase(0, heard);
    outcome.replayed_tokens += std::exchange(engine_->replayed, 0);
    engine_->step();
    const bool dies = mortal_ && deaths_left_ > 0 && dice_.one_in(play_.death_in);
    if (dies) --deaths_left_;
    if (dies || engine_->poisoned) return die();
    read(dice_.one_in(3) ? size_t(dice_.between(0, int(engine_->written.size()))) : engine_->written.size());
    if (!late_.empty() && dice_.one_in(3)) hear_the_dead();
    outcome.trials += supervisor_.on_trial();
  }

  void read(size_t bytes) {
    reader_->feed(std::string_view(engine_->written).substr(0, bytes));
    engine_->written.erase(0, bytes);
    while (auto message = reader_->next()) handle(std::move(*message));
  }

  void handle(RankMessage&& message) {
    if (auto* facts = std::get_if<EngineFacts>(&message)) {
      supervisor_.on_ready();
      gate_.open(*this);
      job_.start(*facts, gate_, now_);
      gate_.settle();
    } else if (auto* announce = std::get_if<Announce>(&message)) {
      judge_.announced.push_back(announce->requests);
      if (judge_.announced.size() > size_t(play_.cluster.pp) + 1) judge_.announced.pop_front();
    } else if (auto* batch = std::get_if<EventBatch>(&message)) {
      note(batch->events);
      job_.on_events(batch->events, now_);
      gate_.note(batch->events);
    }
  }

  void note(const std::vector<EngineEvent>& events) {
    for (const EngineEvent& event : events) {
      if (const auto* token = std::get_if<TokenEvent>(&event)) {
        judge_.on_token(*token);
        fruitless_ = 0;
      }
      if (const auto* failed = std::get_if<RequestFailedEvent>(&event)) judge_.open.erase(failed->request);
    }
  }

  // The process ends in the middle of a write, or stands still with its bytes unread, which come when nobody asks.
  void die() {
    std::string& written = engine_->written;
    // The words about the plan that kills are out before the plan is launched; other deaths cut anywhere.
    if (!engine_->poisoned) written.resize(size_t(dice_.between(0, int(written.size()))));
    if (dice_.one_in(3) && !engine_->poisoned) {
      const size_t seen = dice_.one_in(2) ? 0 : size_t(dice_.between(0, int(written.size())));
      late_ = written.substr(seen);
      late_is_whole_ = seen == 0 && reader_->buffered_bytes() == 0;  // begins with a frame
      late_attempt_ = supervisor_.attempt();
      written.resize(seen);
    }
    read(written.size());
    dead_reader_ = std::move(reader_);
    end(RestartCause::rank_died, FailureKind::internal);
  }

  void die_loading() {
    const int late = int(supervisor_.attempt()) - play_.bad_attempt;
    const bool planned = play_.bad_attempt > 0 && late >= 0 && late < play_.load_failures;
    if (!planned) --deaths_left_;
    end(RestartCause::load_stalled, planned && play_.config ? FailureKind::config : FailureKind::internal);
  }

  void end(RestartCause cause, FailureKind blame) {
    const bool was_ready = supervisor_.ready();
    const bool was_on_trial = supervisor_.on_trial();
    const std::set<RequestId> suspects = was_ready ? judge_.suspects() : std::set<RequestId>{};
    for (RequestId request : suspects) ++judge_.crashes[request];
    if (suspects.size() == 1) ++judge_.alone[*suspects.begin()];
    load_failures_ = was_ready ? 0 : load_failures_ + 1;
    expected_exit_ = blame == FailureKind::config ? 2 : !was_ready && load_failures_ >= 3 ? kExitNeverReady : 0;

    AttemptEnd attempt_end{.cause = cause, .blame = blame};
    attempt_end.suspects = gate_.running({suspects.begin(), suspects.end()});
    gate_.close();
    const Verdict verdict = supervisor_.on_end(attempt_end);
    if (trace_)
      fmt::print("attempt ends: ready {} suspects {} restart {} delay {} trials {} poisoned {}\n", was_ready,
                 fmt::join(suspects, ","), verdict.restart, std::chrono::duration<double>(verdict.delay).count(),
                 supervisor_.trials().size(), fmt::join(verdict.poisoned, ","));
    if (!verdict.restart) {
      exit_code_ = verdict.exit_code;
      return;
    }
    CHECK_EQ(expected_exit_, 0) << "it goes on";
    check(verdict, suspects, was_on_trial);
    job_.on_engine_lost({}, now_);
    for (RequestId request : verdict.poisoned) job_.on_request_poisoned(request, "it kills", now_);
    start();
  }

  void check(const Verdict& verdict, const std::set<RequestId>& suspects, bool was_on_trial) {
    CHECK(verdict.delay >= Duration{} && verdict.delay <= kBackoffMax) << "delay";
    CHECK(fruitless_ > 0 || verdict.delay == Duration{}) << "a delay after a token";
    ++fruitless_;
    for (RequestId request : verdict.poisoned) {
      CHECK(suspects == std::set<RequestId>{request}) << "request" << request << "is failed, but was not alone";
      CHECK_GE(judge_.alone[request], 2) << "request" << request << "is failed, but it was alone too rarely";
    }
    std::set<RequestId> on_trial;
    for (const auto& group : supervisor_.trials()) on_trial.insert(group.begin(), group.end());
    for (RequestId request : on_trial)
      CHECK_GE(judge_.crashes[request], 2) << "request" << request << "is on trial for too little";
    for (RequestId request : suspects)
      CHECK(was_on_trial || judge_.crashes[request] < 2 || on_trial.contains(request))
          << "request" << request << "should be on trial";
  }

  // Bytes of a dead attempt come: on its own connection, which nobody reads any more, or on a new one, where they are
  // frames of the wrong attempt.
  void hear_the_dead() {
    const std::string bytes = std::exchange(late_, {});
    if (fault_ == RestartFault::late_bytes_read) return read_dead(*dead_reader_, bytes);
    if (!late_is_whole_) return;
    FrameReader<RankMessage> reader(fault_ == RestartFault::attempt_unchecked ? late_attempt_ : supervisor_.attempt());
    read_dead(reader, bytes);
  }
  void read_dead(FrameReader<RankMessage>& reader, const std::string& bytes) {
    try {
      reader.feed(bytes);
      while (auto message = reader.next()) {
        CHECK(fault_ != RestartFault::none) << "a frame of a dead attempt passes";
        handle(std::move(*message));
      }
    } catch (const WireError&) {
    }
  }

  Dice dice_;
  uint64_t seed_;
  RestartFault fault_;
  bool mortal_, trace_;
  Play play_;
  FakeModel model_;
  ModelAssets assets_;
  LineSink sink_;
  Supervisor supervisor_;
  RequestGate gate_;
  GenerateJob job_;
  Judge judge_;
  std::unique_ptr<SimulatedEngine> engine_;
  std::optional<FrameReader<RankMessage>> reader_;
  std::string commands_;  // to the engine, not yet heard
  std::string late_;      // of a dead attempt, not yet come
  uint32_t late_attempt_ = 0;
  bool late_is_whole_ = false;
  std::optional<FrameReader<RankMessage>> dead_reader_;
  int loading_ = 0, deaths_left_ = 0, load_failures_ = 0, fruitless_ = 0, expected_exit_ = 0;
  bool load_dies_ = false;
  TimePoint now_{std::chrono::seconds(1)};
  std::optional<int> exit_code_;
};

void compare(const std::vector<std::string>& lines, const std::vector<std::string>& expected, bool exited) {
  CHECK(exited || lines.size() == expected.size()) << "lines are missing";
  for (size_t i = 0; i < lines.size(); ++i)
    CHECK(lines[i] == expected[i] || lines[i].find(kRequestPoisoned) != std::string::npos)
        << "differs from the unbroken run:" << lines[i] << "instead of" << expected[i];
}

}  // namespace

RestartOutcome simulate_restarts(uint64_t seed, RestartFault fault, bool trace) {
  RestartOutcome outcome;
  try {
    RestartOutcome ignored;
    Simulation unbroken(seed, RestartFault::none, false, false), broken(seed, fault, true, trace);
    const std::vector<std::string> expected = unbroken.run(ignored);
    const std::vector<std::string> lines = broken.run(outcome);
    compare(lines, expected, broken.exited());
  } catch (const std::exception& error) {
    outcome.error = fmt::format("seed {}, round {}: {}", seed, outcome.rounds, error.what());
  }
  return outcome;
}

}  // namespace trireme::test
