#include "launcher/embedded.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/error.h"
#include "launcher/engine_main.h"
#include "launcher/front_loop.h"
#include "protocol/link.h"
#include "protocol/socket.h"

namespace trireme {
namespace {

int variable(const char* name) {
  const char* value = std::getenv(name);
  return value && *value >= '0' && *value <= '9' ? std::atoi(value) : -1;
}

// Nothing to start and nothing to kill: the outer mpirun holds the ranks. A front that must end them ends itself.
class OuterRun final : public EngineHost, public EngineAttempt {
 public:
  explicit OuterRun(EngineClient& client) : client_(client) {}
  EngineClient& client() override { return client_; }
  EngineHost& host() override { return *this; }
  std::optional<HostTrouble> trouble() override { return std::nullopt; }
  bool wait_for_end(Duration) override { return true; }
  void kill() override { abandoned = true; }

  static inline bool abandoned = false;  // one engine per process

 private:
  EngineClient& client_;
};

bool ranks_share_this_host() {
  const int world = world_from_environment();
  return variable("OMPI_COMM_WORLD_LOCAL_SIZE") == world || variable("SLURM_STEP_NUM_NODES") == 1;
}

// Rank 0's front: exists from the moment MPI runs.
class EmbeddedFront {
 public:
  EmbeddedFront(const RunOptions& options, std::unique_ptr<FrontJob> job) : options_(options), job_(std::move(job)) {}

  FrontEndpoint start() {
    EngineClientOptions listening;
    listening.world = options_.engine.world();
    listening.limits.startup = listening.limits.connect = options_.restart.load_stall_timeout;
    const bool local = ranks_share_this_host();
    listening.listen_address = local ? "tcp:127.0.0.1:0" : "tcp:0.0.0.0:0";
    listening.advertised_host = local ? "127.0.0.1" : outward_address();
    client_ = std::make_unique<EngineClient>(listening);
    thread_ = std::thread([this] { run(); });
    return client_->endpoint();
  }

  bool runs() const { return thread_.joinable(); }

  int join() {
    if (thread_.joinable()) thread_.join();
    return exit_code_;
  }

 private:
  void run() {
    exit_code_ = kExitEngineFailure;
    try {
      FrontLoopOptions loop = front_loop_options(options_);
      loop.supervision.max_restarts = 0;  // the outer mpirun's to do
      loop.outer_run = true;
      exit_code_ = run_front([this](uint32_t) { return std::make_unique<OuterRun>(*client_); }, *job_, loop);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "trireme: %s\n", error.what());
      OuterRun::abandoned = true;
    }
    if (!OuterRun::abandoned) return;
    std::fflush(nullptr);
    _exit(exit_code_);  // the others see the end of their connections; mpirun sees the exit code
  }

  const RunOptions& options_;
  std::unique_ptr<FrontJob> job_;
  std::unique_ptr<EngineClient> client_;
  std::thread thread_;
  int exit_code_ = kExitEngineFailure;
};

// What rank 0 broadcasts when it has no front to offer: "!<exit code>".
[[noreturn]] void leave_together(const std::string& word) {
  std::fflush(nullptr);
  _exit(std::atoi(word.c_str() + 1));
}

int run_first_rank(const RunOptions& options, const MakeJob& make_job) {
  std::string refusal;  // why there is no job; told to all ranks once MPI runs, so that none waits for us
  int refusal_code = kExitError;
  std::unique_ptr<FrontJob> job;
  try {
    job = make_job();
  } catch (const Error& error) {
    refusal = error.what();
    if (dynamic_cast<const ConfigError*>(&error)) refusal_code = kExitUsage;
  }
  EmbeddedFront front(options, std::move(job));
  EngineHooks hooks;
  hooks.resolve_front = [&](const BroadcastText& broadcast) {
    if (!refusal.empty()) {
      std::fprintf(stderr, "trireme: %s\n", refusal.c_str());
      leave_together(broadcast("!" + std::to_string(refusal_code)));
    }
    return parse_endpoint(broadcast(endpoint_text(front.start())));
  };
  try {
    const int engine_code = engine_main(options.engine, hooks);
    const int front_code = front.join();
    return engine_code == 0 ? front_code : engine_code;
  } catch (const std::exception& error) {
    if (!front.runs()) throw;
    std::fprintf(stderr, "trireme: %s\n", error.what());  // its thread is not to be waited for
    std::fflush(nullptr);
    _exit(kExitEngineFailure);
  }
}

int run_other_rank(const RunOptions& options) {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_IGN);  // rank 0 decides; its end is ours
  EngineHooks hooks;
  hooks.resolve_front = [](const BroadcastText& broadcast) {
    const std::string word = broadcast("");
    if (!word.empty() && word[0] == '!') leave_together(word);
    return parse_endpoint(word);
  };
  return engine_main(options.engine, hooks);
}

}  // namespace

bool inside_outer_run() {
  if (variable("OMPI_COMM_WORLD_RANK") >= 0 && variable("OMPI_COMM_WORLD_SIZE") >= 1) return true;
  const int tasks = variable("SLURM_STEP_NUM_TASKS");
  if (tasks <= 1 || variable("SLURM_PROCID") < 0) return false;
  if (variable("PMIX_RANK") < 0)
    throw ConfigError("srun started " + std::to_string(tasks) +
                      " tasks without PMIx, so each would be a world of its own: use srun --mpi=pmix");
  return true;
}

int run_embedded(const RunOptions& options, const MakeJob& make_job) {
  die_with_parent();
  return rank_from_environment() == 0 ? run_first_rank(options, make_job) : run_other_rank(options);
}

std::string outward_address() {
  ifaddrs* all = nullptr;
  std::string found;
  if (getifaddrs(&all) == 0) {
    for (const ifaddrs* entry = all; entry && found.empty(); entry = entry->ifa_next) {
      if (!entry->ifa_addr || entry->ifa_addr->sa_family != AF_INET || !(entry->ifa_flags & IFF_UP) ||
          (entry->ifa_flags & IFF_LOOPBACK))
        continue;
      char text[INET_ADDRSTRLEN] = {};
      if (inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(entry->ifa_addr)->sin_addr, text, sizeof text))
        found = text;
    }
    freeifaddrs(all);
  }
  return found.empty() ? local_host_name() : found;
}

}  // namespace trireme
