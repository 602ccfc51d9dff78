#include "runtime/step_profiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"

namespace trireme {
namespace {

bool is_decode(const StepPlan& plan) {
  return std::all_of(plan.rows.begin(), plan.rows.end(), [](const PlanRow& row) { return row.count == 1; });
}

TraceSpan read_span(const json::array& fields, const json::array& names) {
  TraceSpan span;
  span.name = names.at(fields.at(0).to_number<size_t>()).as_string();
  const int category = fields.at(1).to_number<int>();
  if (category < 0 || category > int(SpanCategory::host)) throw CheckpointError("unknown category");
  span.category = SpanCategory(category);
  span.lane = fields.at(2).to_number<int32_t>();
  span.start_ns = fields.at(3).to_number<int64_t>();
  span.end_ns = fields.at(4).to_number<int64_t>();
  span.in_graph = fields.at(5).to_number<int>() != 0;
  return span;
}

}  // namespace

std::string profile_part_path(const std::string& directory, int rank) {
  return fmt::format("{}/rank-{}.json", directory, rank);
}

std::string profile_part_text(const ProfilePart& part) {
  std::unordered_map<std::string, size_t> numbers;  // names are long and repeat
  std::string names, spans;
  for (const TraceSpan& span : part.recording.spans) {
    const auto [entry, is_new] = numbers.try_emplace(span.name, numbers.size());
    if (is_new) names += (names.empty() ? "" : ",") + json::serialize(json::value(span.name));
    fmt::format_to(std::back_inserter(spans), "{}[{},{},{},{},{},{}]", spans.empty() ? "" : ",\n", entry->second,
                   int(span.category), span.lane, span.start_ns, span.end_ns, int(span.in_graph));
  }
  return fmt::format(
      "{{\"rank\":{},\"device\":\"{}\",\"steps\":{},\"decode_steps\":{},\"dropped\":{},\n\"names\":[{}],\n"
      "\"spans\":[{}]}}\n",
      part.rank, part.device, part.steps, part.decode_steps, part.recording.dropped, names, spans);
}

ProfilePart parse_profile_part(const std::string& text, const std::string& what) {
  const json::value parsed = parse_json(text, what);
  ProfilePart part;
  try {
    const json::object& fields = parsed.as_object();
    part.rank = fields.at("rank").to_number<int>();
    part.device = fields.at("device").as_string();
    part.steps = fields.at("steps").to_number<int64_t>();
    part.decode_steps = fields.at("decode_steps").to_number<int64_t>();
    part.recording.dropped = fields.at("dropped").to_number<int64_t>();
    const json::array& names = fields.at("names").as_array();
    for (const json::value& span : fields.at("spans").as_array())
      part.recording.spans.push_back(read_span(span.as_array(), names));
  } catch (const std::exception& error) {
    throw CheckpointError(what + " is not a rank's part of a profile: " + error.what());
  }
  return part;
}

StepProfiler::StepProfiler(const ProfileOptions& options, int rank, Device device) : options_(options) {
  part_.rank = rank;
  part_.device = to_string(device);
  prepare_profiling(device);
}

bool StepProfiler::begins_with(const StepPlan& plan) {
  if (recording_ || written_ || plan.rows.empty()) return false;
  if (options_.from_decode && !is_decode(plan)) return false;
  return passed_++ >= options_.skip;
}

void StepProfiler::before_step(const StepPlan& plan, const Stream& stream) {
  if (!begins_with(plan)) return;
  stream.synchronize();
  recording_ = true;
  start_profiling();
}

void StepProfiler::after_step(const StepPlan& plan, const Stream& stream) {
  if (profiling()) end_op();
  if (recording_ && !plan.rows.empty()) {
    ++part_.steps;
    if (is_decode(plan)) ++part_.decode_steps;
  }
  if (written_ || (part_.steps < options_.steps && !plan.shutdown)) return;
  if (recording_) {
    stream.synchronize();
    part_.recording = stop_profiling();
  }
  recording_ = false;
  written_ = true;
  write();
}

// Not a failure of the engine: what cannot be written is said, here and by the front that misses it.
void StepProfiler::write() {
  rank_progress().tick("write profile");
  std::error_code error;
  if (!std::filesystem::is_directory(options_.directory, error))
    return log_warning("--profile: {} is not a folder on this host: this rank's part is lost", options_.directory);
  std::ofstream file(profile_part_path(options_.directory, part_.rank));
  file << profile_part_text(part_);
  if (!file.flush()) log_warning("--profile: cannot write into {}: this rank's part is lost", options_.directory);
  part_.recording = {};
}

}  // namespace trireme
