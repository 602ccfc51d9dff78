// trireme with an engine that draws nothing: it speaks the protocol, answers every request with ids that follow from
// its prompt, and misbehaves as TRIREME_FAKE says ("fail 1", "hang", "config", "early 1", "undialled 0",
// "crash 1", "unready 1", "slow").

#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <optional>
#include <sstream>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "base/progress.h"
#include "launcher/engine_main.h"
#include "launcher/program.h"
#include "protocol/link.h"

namespace trireme {
namespace {

struct Behaviour {
  std::string what;
  int rank = 0;
  bool is(const char* name, int own) const { return what == name && rank == own; }
};

Behaviour behaviour() {
  const char* text = std::getenv("TRIREME_FAKE");
  std::istringstream words(text ? text : "");
  Behaviour result;
  words >> result.what >> result.rank;
  return result;
}

EngineFacts facts(const EngineOptions& options) {
  EngineFacts facts;
  facts.vocab_size = 1000;
  facts.max_model_len = 4096;
  facts.num_blocks = 100;
  facts.num_slots = 8;
  facts.max_batched_tokens = 512;
  facts.tp = options.tp;
  facts.pp = options.pp;
  facts.device = "fake";
  facts.dtype = facts.activation_dtype = "f32";
  facts.weight_bytes.assign(size_t(options.world()), 1000000);
  facts.memory_bytes.assign(size_t(options.world()), 2000000);
  facts.kv_bytes_per_token.assign(size_t(options.world()), 100);
  facts.memory_bandwidth.assign(size_t(options.world()), 1e9);
  return facts;
}

struct Sequence {
  Request request;
  int emitted = 0;
};

// One token of every choice of every request per step.
class FakeCoordinator {
 public:
  explicit FakeCoordinator(FrontLink& link) : link_(link) {}

  void run() {
    const Behaviour misbehave = behaviour();
    for (;;) {
      for (EngineCommand& command : link_.receive(std::chrono::milliseconds(sequences_.empty() ? 20 : 0)))
        accept(command);
      if (stopping_ && sequences_.empty()) return;
      rank_progress().phase = sequences_.empty() ? Phase::idle : Phase::stepping;
      if (sequences_.empty()) continue;
      if (misbehave.what == "hang" && step_ > 5) {
        std::this_thread::sleep_for(std::chrono::seconds(3600));
      }
      step();
      std::this_thread::sleep_for(std::chrono::milliseconds(misbehave.what == "slow" ? 20 : 1));
    }
  }

 private:
  void accept(EngineCommand& command) {
    if (auto* submit = std::get_if<SubmitCommand>(&command)) {
      const RequestId id = submit->request.id;
      Sequence& sequence = sequences_[id];
      sequence.request = std::move(submit->request);
      if (!sequence.request.emitted.empty()) sequence.emitted = int(sequence.request.emitted[0].ids.size());
    }
    if (auto* cancel = std::get_if<CancelCommand>(&command); cancel && cancel->choice < 0)
      sequences_.erase(cancel->request);
    if (auto* shutdown = std::get_if<ShutdownCommand>(&command)) {
      stopping_ = true;
      if (!shutdown->drain) sequences_.clear();
    }
  }

  void step() {
    rank_progress().step = step_++;
    rank_progress().tick("fake step");
    std::vector<EngineEvent> events;
    std::vector<RequestId> planned;
    for (const auto& [id, sequence] : sequences_) planned.push_back(id);
    link_.announce(step_, planned);
    for (auto entry = sequences_.begin(); entry != sequences_.end();) {
      Sequence& sequence = entry->second;
      const Request& request = sequence.request;
      const bool last = ++sequence.emitted >= request.sampling.max_new_tokens;
      for (int choice = 0; choice < request.sampling.n; ++choice) {
        TokenEvent event;
        event.request = request.id;
        event.choice = choice;
        event.index = sequence.emitted - 1;
        event.token = {
            int32_t((std::accumulate(request.prompt.begin(), request.prompt.end(), 0) + 7 * choice + 13 * event.index) %
                    997),
            -0.5f};
        event.rank = 1;
        event.finish = last ? FinishReason::length : FinishReason::none;
        events.push_back(event);
      }
      entry = last ? sequences_.erase(entry) : std::next(entry);
    }
    EngineStats stats;
    stats.blocks_total = 100;
    stats.blocks_free = 75;
    stats.steps = step_;
    events.push_back(stats);
    link_.emit(std::move(events));
  }

  FrontLink& link_;
  std::map<RequestId, Sequence> sequences_;
  int64_t step_ = 0;
  bool stopping_ = false;
};

// How the others learn that rank 0 is done: by a file, or under an outer mpirun by MPI.
class Ending {
 public:
  explicit Ending(bool by_mpi) : by_mpi_(by_mpi) {
    const char* directory = std::getenv("TRIREME_ATTEMPT_DIRECTORY");
    file_ = std::string(directory ? directory : "/nowhere") + "/done";
  }
  void announce() {
    if (by_mpi_)
      MPI_Ibarrier(MPI_COMM_WORLD, &request_), MPI_Wait(&request_, MPI_STATUS_IGNORE);
    else
      std::ofstream(file_) << "done";
  }
  bool announced() {
    if (!by_mpi_) return std::filesystem::exists(file_);
    if (!begun_) MPI_Ibarrier(MPI_COMM_WORLD, &request_);
    begun_ = true;
    int done = 0;
    MPI_Test(&request_, &done, MPI_STATUS_IGNORE);
    return done != 0;
  }

 private:
  bool by_mpi_, begun_ = false;
  std::string file_;
  MPI_Request request_{};
};

// An engine is ready when every rank is: rank 0 waits for the others' marks (under an outer mpirun: for the barrier).
void wait_for_all(bool embedded, int rank, int world) {
  if (embedded) {
    MPI_Barrier(MPI_COMM_WORLD);
    return;
  }
  const char* directory = std::getenv("TRIREME_ATTEMPT_DIRECTORY");
  const auto mark = [&](int of) {
    return std::string(directory ? directory : "/nowhere") + "/here-" + std::to_string(of);
  };
  std::ofstream(mark(rank)) << "here";
  for (int of = 0; rank == 0 && of < world; ++of)
    while (!std::filesystem::exists(mark(of))) {
      rank_progress().tick("waiting for ranks");
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
}

void follow(Ending& ending, int rank) {
  const Behaviour misbehave = behaviour();
  rank_progress().phase = Phase::idle;
  for (int i = 0; !ending.announced(); ++i) {
    rank_progress().tick("fake layer");
    if (misbehave.what == "hang" && i > 50) std::this_thread::sleep_for(std::chrono::seconds(3600));
    if (misbehave.is("fail", rank) && i == 50) throw InternalError("a planted failure");
    if (misbehave.is("crash", rank) && i == 50) _exit(139);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::string broadcast(std::string text) {
  int size = int(text.size());
  MPI_Bcast(&size, 1, MPI_INT, 0, MPI_COMM_WORLD);
  text.resize(size_t(size));
  MPI_Bcast(text.data(), size, MPI_CHAR, 0, MPI_COMM_WORLD);
  return text;
}

}  // namespace

int engine_main(const EngineOptions& options, const EngineHooks& hooks) {
  const bool embedded = bool(hooks.resolve_front);
  const int rank = rank_from_environment();
  if (embedded) MPI_Init(nullptr, nullptr);
  if (embedded && world_from_environment() != options.world())
    throw ConfigError("the world has " + std::to_string(world_from_environment()) + " ranks, but tp x pp is " +
                      std::to_string(options.world()));
  if (behaviour().is("early", rank)) throw ConfigError("a planted mistake before there is a front");
  LinkOptions link_options;
  link_options.front = embedded ? hooks.resolve_front(broadcast) : options.front;
  link_options.identity = {rank, options.world(), ""};
  link_options.front_is_a_rank = embedded;
  if (behaviour().is("undialled", rank)) throw Error("a planted front that does not answer");
  FrontLink link(link_options);
  initialize_logging("rank " + std::to_string(rank));
  link.forward_logs();
  try {
    log_info("rank {} is here", rank);
    if (behaviour().is("config", rank)) throw ConfigError("a planted mistake; do otherwise");
    if (behaviour().is("unready", rank)) _exit(9);
    wait_for_all(embedded, rank, options.world());
    Ending ending(embedded);
    if (rank == 0) {
      link.send_ready(facts(options));
      FakeCoordinator(link).run();
      ending.announce();
    } else {
      follow(ending, rank);
    }
  } catch (const std::exception& error) {
    link.fail(error);
  }
  rank_progress().phase = Phase::stopping;
  link.stop();
  if (embedded) MPI_Finalize();
  return 0;
}

}  // namespace trireme

int main(int argc, char** argv) { return trireme::run_program(argc, argv); }
