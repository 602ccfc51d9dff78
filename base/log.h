#pragma once
// Leveled logging by spdlog, to standard error, one prefix per process ("rank 2", "front"). A rank redirects
// its lines to the front with set_log_forwarder, so that a blocked terminal never blocks a rank.

#include <spdlog/spdlog.h>

#include <functional>
#include <string>

namespace trireme {

void initialize_logging(const std::string& prefix, const std::string& level = "info");  // once per process
void set_log_forwarder(std::function<void(int level, const std::string& line)> forwarder);  // empty: standard error again

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) { spdlog::info(format, std::forward<Args>(args)...); }
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) { spdlog::warn(format, std::forward<Args>(args)...); }
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) { spdlog::error(format, std::forward<Args>(args)...); }
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) { spdlog::debug(format, std::forward<Args>(args)...); }

}  // namespace trireme
