#include "launcher/run_engine.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>

#include "launcher/attempt_directory.h"
#include "launcher/embedded.h"
#include "launcher/engine_process.h"
#include "launcher/front_loop.h"
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

int run_spawned(const RunOptions& options, const MakeJob& make_job) {
  const std::unique_ptr<FrontJob> job = make_job();
  AttemptDirectory directory;
  EngineClientOptions listening;
  listening.world = options.engine.world();
  const bool one_host = is_one_host(options.launch);
  listening.listen_address = one_host ? "unix:" + directory.path() + "/front.sock" : "tcp:0.0.0.0:0";
  if (!one_host) listening.advertised_host = advertised_host(options.launch);
  EngineClient client(listening);

  EngineOptions engine = options.engine;
  engine.front = client.endpoint();
  const Command command = make_mpirun_command(engine, options.launch, directory.path(), current_environment());
  if (options.verbose) std::fprintf(stderr, "trireme: %s\n", shell_line(command.arguments).c_str());
  EngineProcess process(command, directory, options.verbose);
  return run_front(client, process, *job, {.verbose = options.verbose, .world = engine.world()});
}

}  // namespace

int run_with_engine(const RunOptions& options, const MakeJob& make_job) {
  install_signal_flags();
  if (inside_outer_run()) return run_embedded(options, make_job);
  return run_spawned(options, make_job);
}

}  // namespace trireme
