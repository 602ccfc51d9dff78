#include "launcher/run_engine.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "launcher/attempt_directory.h"
#include "launcher/embedded.h"
#include "launcher/engine_process.h"
#include "launcher/failure_report.h"
#include "launcher/signals.h"

namespace trireme {
namespace {

// The address by which `host` reaches us: what the kernel would send from. Nothing is sent.
std::string address_towards(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), "9", &hints, &found) != 0) return "";
  const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in own{};
  socklen_t size = sizeof own;
  const bool known = ::connect(socket.get(), found->ai_addr, found->ai_addrlen) == 0 &&
                     getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size) == 0;
  freeaddrinfo(found);
  char text[INET_ADDRSTRLEN] = {};
  return known && inet_ntop(AF_INET, &own.sin_addr, text, sizeof text) ? text : "";
}

std::string advertised_host(const LaunchOptions& launch) {
  if (!launch.hostfile.empty())
    for (const std::string& host : hostfile_hosts(launch.hostfile)) {
      const std::string own = address_towards(host);
      if (!own.empty() && own.rfind("127.", 0) != 0 && own != host) return own;  // towards another host
    }
  return outward_address();
}

EngineClientOptions listening_options(const RunOptions& options, const std::string& directory, uint32_t number) {
  EngineClientOptions listening;
  listening.attempt = number;
  listening.world = options.engine.world();
  listening.limits.startup = listening.limits.connect = options.restart.load_stall_timeout;
  const bool one_host = is_one_host(options.launch);
  listening.listen_address = one_host ? "unix:" + directory + "/front.sock" : "tcp:0.0.0.0:0";
  if (!one_host) listening.advertised_host = advertised_host(options.launch);
  return listening;
}

// Directory, key and mpirun of one attempt; they go in the opposite order.
class SpawnedAttempt final : public EngineAttempt {
 public:
  SpawnedAttempt(const RunOptions& options, uint32_t number)
      : client_(listening_options(options, directory_.path(), number)) {
    EngineOptions engine = options.engine;
    engine.front = client_.endpoint();
    const Command command = make_mpirun_command(engine, options.launch, directory_.path(), current_environment());
    if (options.verbose) std::fprintf(stderr, "trireme: %s\n", shell_line(command.arguments).c_str());
    process_.emplace(command, directory_, options.verbose);
  }
  EngineClient& client() override { return client_; }
  EngineHost& host() override { return *process_; }

 private:
  AttemptDirectory directory_;
  EngineClient client_;
  std::optional<EngineProcess> process_;
};

int run_spawned(const RunOptions& options, const MakeJob& make_job) {
  const std::unique_ptr<FrontJob> job = make_job();
  const std::unique_ptr<DeviceMemory> devices =
      options.engine.device == DeviceKind::cuda ? open_nvml() : nullptr;
  FrontLoopOptions loop = front_loop_options(options);
  loop.devices = devices.get();
  return run_front([&](uint32_t number) { return std::make_unique<SpawnedAttempt>(options, number); }, *job, loop);
}

}  // namespace

FrontLoopOptions front_loop_options(const RunOptions& options) {
  FrontLoopOptions loop;
  loop.verbose = options.verbose;
  loop.supervision = {.max_restarts = options.restart.max_restarts, .backoff_max = options.restart.backoff_max};
  loop.shutdown_timeout = options.restart.shutdown_timeout;
  loop.host_timeout = options.restart.host_timeout;
  loop.report_directory =
      options.restart.report_directory.empty() ? default_report_directory() : options.restart.report_directory;
  return loop;
}

int run_with_engine(const RunOptions& options, const MakeJob& make_job) {
  install_signal_flags();
  if (inside_outer_run()) return run_embedded(options, make_job);
  return run_spawned(options, make_job);
}

}  // namespace trireme
