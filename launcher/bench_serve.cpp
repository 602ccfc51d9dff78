#include "launcher/bench_serve.h"

#include <fmt/format.h>

#include <ctime>
#include <fstream>

#include "base/error.h"

namespace trireme {
namespace {

std::string time_text() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &local);
  return text;
}

void write_file(const std::string& path, const std::string& text, bool append) {
  std::ofstream file(path, append ? std::ios::app : std::ios::trunc);
  file << text;
  if (!file.flush()) throw Error("cannot write " + path);
}

// vLLM's keys before the figures: how the load was made.
json::object result_of(const BenchServeCommand& command, const std::string& model, const std::string& time,
                       const json::object& figures) {
  json::object result;
  result["date"] = time;
  result["endpoint_type"] = command.backend_name;
  result["backend"] = command.backend_name;
  result["label"] = command.label.empty() ? json::value() : json::value(command.label);
  result["model_id"] = model;
  result["tokenizer_id"] = command.tokenizer.empty() ? model : command.tokenizer;
  result["num_prompts"] = command.num_prompts;
  for (const auto& [key, value] : command.metadata) result[key] = value;
  result["request_rate"] = command.request_rate > 0 ? json::value(command.request_rate) : json::value("inf");
  result["burstiness"] = command.burstiness;
  result["max_concurrency"] = command.max_concurrency > 0 ? json::value(command.max_concurrency) : json::value();
  for (const auto& [key, value] : figures) result[key] = value;
  return result;
}

}  // namespace

int run_bench_serve(BenchServeCommand command) {
  const std::string model = command.model.empty() || command.ready_timeout > 0 ? served_model(command) : command.model;
  if (command.model.empty()) command.model = model;
  const std::vector<ServePromptText> prompts = make_serve_prompts(command);
  double duration = 0;
  if (command.num_warmups > 0) {
    fmt::print("Warming up with {} requests...\n", command.num_warmups);
    BenchServeCommand warmup = command;
    warmup.request_rate = 0;
    warmup.show_progress = false;
    drive_server(warmup, command.model, make_warmup_prompts(command), duration);
  }
  const std::vector<ServeSample> samples = drive_server(command, command.model, prompts, duration);
  const ServeReport report = serve_report(command, samples, duration);
  fmt::print("{}", report.text);
  std::fflush(stdout);
  if (const std::string warning = warm_cache_warning(command, samples); !warning.empty())
    fmt::print(stderr, "trireme: {}\n", warning);

  const std::string time = time_text();
  if (command.save_result || command.append_result || command.save_detailed)
    write_file(result_file(command, command.model, time),
               json::serialize(result_of(command, command.model, time, report.figures)) + "\n", command.append_result);
  if (!command.plot.empty()) write_file(command.plot, serve_plot(command, samples, duration), false);

  size_t failed = 0;
  std::string first_error;
  for (const ServeSample& sample : samples)
    if (!sample.success && failed++ == 0) first_error = sample.error;
  if (failed > 0)
    fmt::print(stderr, "trireme: {} of {} requests failed; the first: {}\n", failed, samples.size(), first_error);
  return failed == samples.size() ? 1 : 0;
}

}  // namespace trireme
