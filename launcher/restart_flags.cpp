#include "launcher/restart_flags.h"

#include <fmt/format.h>

#include "base/error.h"

namespace trireme {
namespace {

constexpr double kMostSeconds = 86400;

Duration seconds(double value, double least, const char* flag) {
  if (!(value >= least && value <= kMostSeconds))
    throw ConfigError(fmt::format("{} must be {} to {:.0f} seconds, got {}", flag, least, kMostSeconds, value));
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value));
}

}  // namespace

void add_restart_flags(CLI::App& app, RestartFlags& flags) {
  const std::string group = "When the engine ends";
  app.add_option("--max-restarts", flags.max_restarts,
                 "Start the engine again and replay what was in flight: at most so often in a row without a new token "
                 "(0: never)")
      ->group(group)
      ->capture_default_str();
  app.add_option("--restart-backoff-max", flags.backoff_max_s,
                 "Longest wait before a start, in seconds; the first is at once, then 1, 2, 4 ...")
      ->group(group)
      ->capture_default_str();
  app.add_option("--load-stall-timeout", flags.load_stall_s,
                 "Seconds without a byte read or a rank joined after which a start counts as stuck")
      ->group(group)
      ->capture_default_str();
  app.add_option("--shutdown-timeout", flags.shutdown_s,
                 "Seconds that a server has for its open requests after SIGTERM; a second signal ends it at once")
      ->group(group)
      ->capture_default_str();
  app.add_option("--host-timeout", flags.host_s,
                 "Seconds that the next start waits for a host which can no longer be reached; then it is tried all the "
                 "same")
      ->group(group)
      ->capture_default_str();
  app.add_option("--report-dir", flags.report_directory,
                 "Folder for a report of every failure, the newest 20 (default: ~/.local/state/trireme/reports)")
      ->group(group);
}

RestartOptions resolve(const RestartFlags& flags) {
  if (flags.max_restarts < 0 || flags.max_restarts > 1000000)
    throw ConfigError(fmt::format("--max-restarts must be 0 to 1000000, got {}", flags.max_restarts));
  return {.max_restarts = flags.max_restarts,
          .backoff_max = seconds(flags.backoff_max_s, 0, "--restart-backoff-max"),
          .load_stall_timeout = seconds(flags.load_stall_s, 1, "--load-stall-timeout"),
          .shutdown_timeout = seconds(flags.shutdown_s, 0, "--shutdown-timeout"),
          .host_timeout = seconds(flags.host_s, 0, "--host-timeout"),
          .report_directory = flags.report_directory};
}

}  // namespace trireme
