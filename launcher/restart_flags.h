#pragma once
// The flags about ends of the engine, for every sub-command that starts one.

#include <CLI/CLI.hpp>

#include <string>

#include "launcher/command_line.h"

namespace trireme {

struct RestartFlags {
  int max_restarts = 16;
  double backoff_max_s = 30, load_stall_s = 60, shutdown_s = 30, host_s = 600;
  std::string report_directory;
};

void add_restart_flags(CLI::App& app, RestartFlags& flags);  // `flags` must outlive the parse
RestartOptions resolve(const RestartFlags& flags);           // throws ConfigError naming the flag

}  // namespace trireme
