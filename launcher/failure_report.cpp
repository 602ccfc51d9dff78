#include "launcher/failure_report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

namespace trireme {
namespace {

namespace fs = std::filesystem;
constexpr const char* kPrefix = "failure-";

std::string utc(const char* format) {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[64] = {};
  std::strftime(text, sizeof text, format, &parts);
  return text;
}

std::string list(const std::vector<RequestId>& requests) {
  return requests.empty() ? "none" : fmt::format("{}", fmt::join(requests, ", "));
}

void remove_old(const std::string& directory) {
  std::vector<fs::path> reports;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name.rfind(kPrefix, 0) == 0 && entry->path().extension() == ".txt") reports.push_back(entry->path());
  }
  std::ranges::sort(reports);  // their names begin with the time
  for (size_t i = 0; i + kKeptReports < reports.size(); ++i) fs::remove(reports[i], error);
}

}  // namespace

std::string report_text(const FailureReport& report, const std::string& time) {
  std::string text = fmt::format("time: {}\nattempt: {}\ncause: {}\nsummary: {}\noutcome: {}\n", time, report.attempt,
                                 report.cause, report.summary, report.outcome);
  text += "suspects: " + list(report.suspects) + "\npoisoned: " + list(report.poisoned) + "\nranks:\n";
  for (const std::string& rank : report.ranks) text += "  " + rank + "\n";
  text += "mpirun's last lines:\n";
  for (const std::string& line : report.mpirun_tail) text += "  " + line + "\n";
  return text;
}

std::optional<std::string> write_report(const std::string& directory, const FailureReport& report) {
  if (directory.empty()) return std::nullopt;
  std::error_code error;
  fs::create_directories(directory, error);
  static int count = 0;  // several within a second keep their order
  const std::string path =
      fmt::format("{}/{}{}-{}-{:04}.txt", directory, kPrefix, utc("%Y%m%dT%H%M%SZ"), getpid(), count++);
  std::ofstream file(path);
  file << report_text(report, utc("%Y-%m-%dT%H:%M:%SZ"));
  file.close();
  if (!file) return std::nullopt;
  remove_old(directory);
  return path;
}

std::string default_report_directory() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state && *state == '/')
    return std::string(state) + "/trireme/reports";
  const char* home = std::getenv("HOME");
  return home && *home == '/' ? std::string(home) + "/.local/state/trireme/reports" : "";
}

}  // namespace trireme
