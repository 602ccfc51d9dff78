#include "launcher/profile_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "base/error.h"

namespace trireme {
namespace {

constexpr double kNsPerMs = 1e6;

std::string lane_name(int32_t lane) {
  switch (lane) {
    case kEngineLane: return "engine thread";
    case kWorkerLane: return "worker thread";
    case kOpLane: return "ops";
    default: return fmt::format("stream {}", lane - kFirstStreamLane);
  }
}

void append_names(std::string& trace, const ProfilePart& part) {
  std::set<int32_t> lanes;
  for (const TraceSpan& span : part.recording.spans) lanes.insert(span.lane);
  fmt::format_to(std::back_inserter(trace),
                 "{{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":{0},\"tid\":0,"
                 "\"args\":{{\"name\":\"rank {0}, {1}\"}}}}",
                 part.rank, part.device);
  for (const int32_t lane : lanes)
    fmt::format_to(std::back_inserter(trace),
                   ",\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":{0},\"tid\":{1},"
                   "\"args\":{{\"name\":\"{2}\"}}}},\n"
                   "{{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":{0},\"tid\":{1},"
                   "\"args\":{{\"sort_index\":{1}}}}}",
                   part.rank, lane, lane_name(lane));
}

void append_span(std::string& trace, const TraceSpan& span, int rank, int64_t origin_ns) {
  fmt::format_to(std::back_inserter(trace),
                 ",\n{{\"name\":{},\"cat\":\"{}\",\"ph\":\"X\",\"pid\":{},\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}{}}}",
                 json::serialize(json::value(span.name)), span_category_name(span.category), rank, span.lane,
                 double(span.start_ns - origin_ns) / 1e3, double(span.end_ns - span.start_ns) / 1e3,
                 span.in_graph ? ",\"args\":{\"graph\":true}" : "");
}

std::string part_line(const std::string& name, double value, double step) {
  return fmt::format("  {:<18}{:>9.3f} ms {:>6.1f} %\n", name, value, value / step * 100);
}

// Cut short, or not begun: why there is less than was asked for.
std::string missing_steps(const ProfilePart& part) {
  if (part.steps == 0) return "no step was recorded: the run ended within --profile-skip";
  if (part.recording.dropped > 0)
    return fmt::format("{} spans were dropped beyond {}: lower --profile-steps", part.recording.dropped, kMaxSpans);
  return "";
}

}  // namespace

StepBreakdown step_breakdown(const ProfilePart& part) {
  StepBreakdown result;
  int64_t first = INT64_MAX, covered = INT64_MIN;
  for (const TraceSpan& span : part.recording.spans) {  // by their start
    if (span.category == SpanCategory::host) continue;
    first = std::min(first, span.start_ns);
    const int64_t begin = std::max(span.start_ns, covered);
    if (span.end_ns > begin) result.parts[size_t(span.category)] += double(span.end_ns - begin) / kNsPerMs;
    covered = std::max(covered, span.end_ns);
  }
  if (covered <= first || part.steps == 0) return {};
  const double steps = double(part.steps);
  result.step = double(covered - first) / kNsPerMs / steps;
  for (double& value : result.parts) result.busy += value /= steps;
  return result;
}

std::string chrome_trace(const std::vector<ProfilePart>& parts) {
  int64_t origin = INT64_MAX;
  for (const ProfilePart& part : parts)
    for (const TraceSpan& span : part.recording.spans) origin = std::min(origin, span.start_ns);
  std::string trace = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  for (const ProfilePart& part : parts) {
    if (&part != &parts.front()) trace += ",\n";
    append_names(trace, part);
    for (const TraceSpan& span : part.recording.spans) append_span(trace, span, part.rank, origin);
  }
  return trace + "\n]}\n";
}

std::string breakdown_text(const std::vector<ProfilePart>& parts, double floor_ms) {
  std::string text;
  for (const ProfilePart& part : parts) {
    const StepBreakdown step = step_breakdown(part);
    if (step.step <= 0) continue;
    text += fmt::format("Profile of rank {}: {} steps ({} of them decode only), {:.3f} ms each; device busy {:.3f} ms, "
                        "idle {:.1f} %\n",
                        part.rank, part.steps, part.decode_steps, step.step, step.busy, step.idle_fraction() * 100);
    if (part.rank != 0) continue;
    for (int i = 0; i < kDeviceCategories; ++i)
      if (step.parts[i] > 0) text += part_line(span_category_name(SpanCategory(i)), step.parts[i], step.step);
    text += part_line("idle", step.idle(), step.step);
    if (floor_ms > 0 && part.decode_steps == part.steps)
      text += fmt::format("  memory floor {:.3f} ms: {:.1f} % of the recorded step\n", floor_ms,
                          floor_ms / step.step * 100);
  }
  return text;
}

json::array breakdown_figures(const std::vector<ProfilePart>& parts) {
  json::array ranks;
  for (const ProfilePart& part : parts) {
    const StepBreakdown step = step_breakdown(part);
    json::object by_part;
    for (int i = 0; i < kDeviceCategories; ++i) by_part[span_category_name(SpanCategory(i))] = step.parts[i];
    ranks.push_back(json::object{{"rank", part.rank},
                                 {"steps", part.steps},
                                 {"decode_steps", part.decode_steps},
                                 {"step_ms", step.step},
                                 {"busy_ms", step.busy},
                                 {"idle_ms", step.idle()},
                                 {"idle_fraction", step.idle_fraction()},
                                 {"parts_ms", std::move(by_part)},
                                 {"spans", part.recording.spans.size()},
                                 {"dropped", part.recording.dropped}});
  }
  return ranks;
}

ProfileTrace::ProfileTrace(const RunOptions& options)
    : file_(options.profile), directory_(options.engine.profile.directory), world_(options.engine.world()) {
  if (file_.empty()) return;
  std::error_code error;
  std::filesystem::remove_all(directory_, error);  // of a run that was killed
  if (!std::filesystem::create_directory(directory_, error))
    throw ConfigError("--profile: cannot make the folder " + directory_ + ": " + error.message() +
                      "; name a file in a folder that exists and can be written");
}

ProfileTrace::~ProfileTrace() {
  std::error_code error;
  if (!file_.empty()) std::filesystem::remove_all(directory_, error);
}

std::vector<ProfilePart> ProfileTrace::read_parts() const {
  std::vector<ProfilePart> parts;
  for (int rank = 0; rank < world_; ++rank) {
    const std::string path = profile_part_path(directory_, rank);
    try {
      parts.push_back(parse_profile_part(read_text_file(path), path));
    } catch (const CheckpointError&) {
      std::fprintf(stderr, "trireme: --profile: rank %d left no part here (another host?): the trace is without it\n",
                   rank);
      continue;
    }
    if (const std::string missing = missing_steps(parts.back()); !missing.empty())
      std::fprintf(stderr, "trireme: --profile: rank %d: %s\n", rank, missing.c_str());
  }
  return parts;
}

std::vector<ProfilePart> ProfileTrace::finish() {
  if (file_.empty()) return {};
  std::vector<ProfilePart> parts = read_parts();
  std::ofstream file(file_);
  file << chrome_trace(parts);
  if (!file.flush()) std::fprintf(stderr, "trireme: --profile: cannot write %s\n", file_.c_str());
  return parts;
}

}  // namespace trireme
