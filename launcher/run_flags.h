#pragma once
// The flags of every sub-command that starts an engine, as CLI11 fills them, and how a parse that failed is told.

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "launcher/command_line.h"
#include "launcher/engine_flags.h"
#include "launcher/restart_flags.h"

namespace trireme {

struct RunFlags {
  EngineFlags engine;
  LaunchOptions launch;
  std::string launch_args;
  uint64_t seed = 0;
  bool verbose = false;
  std::string profile;
  ProfileOptions profile_options;
  RestartFlags restart;
};

void add_run_flags(CLI::App& app, RunFlags& flags, bool positional_model);
RunOptions resolve_run(const RunFlags& flags);  // throws ConfigError

std::vector<std::string> flag_names(const CLI::App& app);  // "--port": the long ones that --help shows
// Throws ConfigError: one line, with the flag that was meant.
[[noreturn]] void refuse_arguments(const CLI::App& deepest, const CLI::ParseError& error);

}  // namespace trireme
