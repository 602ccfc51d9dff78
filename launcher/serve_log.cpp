#include "launcher/serve_log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>

namespace trireme {

void ServeLog::line(const std::string& text) const { event(text, {}); }

void ServeLog::event(const std::string& text, json::object fields) const {
  const auto now = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::string line;
  if (format_ == LogFormat::json) {
    json::object object{{"time", fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), ms)},
                        {"level", "info"},
                        {"message", json::string(text)}};
    for (auto& entry : fields) object[entry.key()] = std::move(entry.value());
    line = json::serialize(object) + "\n";
  } else {
    line = fmt::format("{:%H:%M:%S}.{:03} info [serve] {}\n", fmt::localtime(seconds), ms, text);
  }
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace trireme
