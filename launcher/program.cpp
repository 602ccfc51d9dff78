#include "launcher/program.h"

#include <unistd.h>

#include <cstdio>

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

}  // namespace

int run_program(int argc, char** argv) {
  const auto explain = [](const std::exception& error, int code) {
    std::fprintf(stderr, "trireme: %s\n", error.what());
    return code;
  };
  try {
    if (argc > 1 && std::string(argv[1]) == "serve")  // flags of its own kind: vLLM's, and a file of them
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
