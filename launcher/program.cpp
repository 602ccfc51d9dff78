#include "launcher/program.h"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

#include "base/error.h"
#include "launcher/attempt_directory.h"
#include "launcher/bench_command.h"
#include "launcher/command_line.h"
#include "launcher/engine_main.h"
#include "launcher/front_loop.h"
#include "launcher/generate_command.h"
#include "launcher/inspect_command.h"
#include "launcher/serve_command.h"
#include "protocol/link.h"

namespace trireme {
namespace {

int run(const EngineCommandLine& line) {
  die_with_parent();
  if (line.options.front.address.empty())
    throw ConfigError(
        "the sub-command engine is started by trireme itself: use trireme serve, generate or bench, under mpirun or alone");
  start_host_janitor();
  return engine_main(line.options);
}

int run(const GenerateCommand& command) { return run_generate(command); }
int run(const BenchCommand& command) { return run_bench(command); }
int run(const BenchServeCommand& command) { return run_bench_serve(command); }

int run(const ServeCommand& command) { return run_serve(command); }

int run(const InspectCommand& command) {
  std::fputs(inspect_report(command).c_str(), stdout);
  return kExitOk;
}

int run(const PrintText& print) {
  std::fputs(print.text.c_str(), stdout);
  return kExitOk;
}

// An outer mpirun ends the whole world when the first rank leaves with an error. So what all ranks saw is said once, by
// rank 0: the others stand back until it has gone. Whoever is still there then saw something that rank 0 did not.
void say(const std::exception& error, int rank) {
  if (rank > 0) {
    std::signal(SIGTERM, SIG_DFL);  // mpirun's, a second after the first rank has left
    std::this_thread::sleep_for(std::chrono::seconds(3));
  }
  const std::string who = rank > 0 ? "rank " + std::to_string(rank) + ": " : "";
  std::fprintf(stderr, "trireme: %s%s\n", who.c_str(), error.what());
}

}  // namespace

int run_program(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  const auto explain = [&](const std::exception& error, int code) {
    say(error, name == "engine" ? 0 : rank_from_environment());  // an engine's front tells the user, whoever leaves
    return code;
  };
  try {
    if (name == "serve")  // flags of its own kind: vLLM's, and a file of them
      return std::visit([](const auto& command) { return run(command); }, parse_serve({argv + 2, argv + argc}));
    const CommandLine line = parse_command_line({argv + 1, argv + argc});
    return std::visit([](const auto& command) { return run(command); }, line);
  } catch (const ConfigError& error) {
    return explain(error, kExitUsage);
  } catch (const Error& error) {
    return explain(error, kExitError);
  } catch (const std::exception& error) {
    return explain(error, kExitEngineFailure);
  }
}

}  // namespace trireme
