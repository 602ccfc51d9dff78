#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "launcher/bench_job.h"
#include "launcher/bench_serve.h"
#include "launcher/line_plot.h"

namespace trireme {
namespace {

struct Latencies {  // milliseconds, of successful requests
  std::vector<double> ttft, tpot, itl, e2el;
};

struct Peaks {
  double tokens_per_second = 0, requests = 0;  // of one second of the run
};

// TPOT of a request; nothing where it has one token.
std::optional<double> tpot_of(const ServeSample& sample) {
  if (sample.output_len < 2) return std::nullopt;
  return (sample.latency() - sample.ttft) / double(sample.output_len - 1) * 1e3;
}

Latencies latencies_of(const std::vector<ServeSample>& samples) {
  Latencies out;
  for (const ServeSample& sample : samples) {
    if (!sample.success) continue;
    out.ttft.push_back(sample.ttft * 1e3);
    if (const auto tpot = tpot_of(sample)) out.tpot.push_back(*tpot);
    for (double itl : sample.itls) out.itl.push_back(itl * 1e3);
    out.e2el.push_back(sample.latency() * 1e3);
  }
  return out;
}

int good_requests(const Goodput& goodput, const std::vector<ServeSample>& samples) {
  const auto within = [](double value, const std::optional<double>& most) { return !most || value <= *most; };
  int good = 0;
  for (const ServeSample& sample : samples)
    good += sample.success && within(sample.ttft * 1e3, goodput.ttft) &&
            within(tpot_of(sample).value_or(0), goodput.tpot) && within(sample.latency() * 1e3, goodput.e2el);
  return good;
}

// Tokens by the second in which they arrived; requests by every second in which they were open.
Peaks peaks_of(const std::vector<ServeSample>& samples) {
  double end = 0;
  for (const ServeSample& sample : samples) end = std::max(end, sample.end);
  std::vector<double> tokens(size_t(end) + 1), open(size_t(end) + 1);
  for (const ServeSample& sample : samples) {
    if (!sample.success) continue;
    const double per_event =
        sample.token_times.empty() ? 0 : double(sample.output_len) / double(sample.token_times.size());
    for (double time : sample.token_times) tokens[std::min(size_t(time), tokens.size() - 1)] += per_event;
    for (size_t second = size_t(sample.start); second <= size_t(sample.end); ++second) open[second] += 1;
  }
  return {*std::max_element(tokens.begin(), tokens.end()), *std::max_element(open.begin(), open.end())};
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
}

double deviation(const std::vector<double>& values) {  // of the population, as numpy.std
  const double middle = mean(values);
  double sum = 0;
  for (double value : values) sum += (value - middle) * (value - middle);
  return values.empty() ? 0 : std::sqrt(sum / double(values.size()));
}

double percentile_or_zero(const std::vector<double>& values, double percent) {
  return values.empty() ? 0 : percentile(values, percent);
}

std::string percent_word(double percent) { return fmt::format("{}", percent); }  // 99, 99.9

std::string count_line(const char* name, int64_t value) { return fmt::format("{:<40} {:<10}\n", name, value); }
std::string figure_line(const std::string& name, double value) {
  return fmt::format("{:<40} {:<10.2f}\n", name, value);
}

void add_latency(ServeReport& report, const BenchServeCommand& command, const std::string& key, const char* short_name,
                 const char* title, const std::vector<double>& values) {
  const auto& chosen = command.percentile_metrics;
  if (std::find(chosen.begin(), chosen.end(), key) == chosen.end()) return;
  report.text += fmt::format("{:-^50}\n", title);
  report.text += figure_line(fmt::format("Mean {} (ms):", short_name), mean(values));
  report.text += figure_line(fmt::format("Median {} (ms):", short_name), percentile_or_zero(values, 50));
  report.figures["mean_" + key + "_ms"] = mean(values);
  report.figures["median_" + key + "_ms"] = percentile_or_zero(values, 50);
  report.figures["std_" + key + "_ms"] = deviation(values);
  for (double percent : command.percentiles) {
    const double value = percentile_or_zero(values, percent);
    report.text += figure_line(fmt::format("P{} {} (ms):", percent_word(percent), short_name), value);
    report.figures["p" + percent_word(percent) + "_" + key + "_ms"] = value;
  }
}

// What --save-detailed keeps, request by request.
void add_details(json::object& figures, const std::vector<ServeSample>& samples) {
  json::array input_lens, output_lens, ttfts, itls, texts, errors;
  for (const ServeSample& sample : samples) {
    input_lens.push_back(sample.input_len);
    output_lens.push_back(sample.success ? sample.output_len : 0);
    ttfts.push_back(sample.ttft);
    itls.push_back(json::value_from(sample.itls));
    texts.push_back(json::string(sample.text));
    errors.push_back(json::string(sample.error));
  }
  figures["input_lens"] = std::move(input_lens);
  figures["output_lens"] = std::move(output_lens);
  figures["ttfts"] = std::move(ttfts);
  figures["itls"] = std::move(itls);
  figures["generated_texts"] = std::move(texts);
  figures["errors"] = std::move(errors);
}

}  // namespace

ServeReport serve_report(const BenchServeCommand& command, const std::vector<ServeSample>& samples, double duration) {
  int64_t completed = 0, input = 0, output = 0, cached = 0;
  for (const ServeSample& sample : samples) {
    if (!sample.success) continue;
    ++completed;
    input += sample.input_len;
    cached += sample.cached_len;
    output += sample.output_len;
  }
  const auto rate = [duration](double count) { return duration > 0 ? count / duration : 0; };
  const Peaks peaks = peaks_of(samples);
  const Latencies latencies = latencies_of(samples);
  const int64_t failed = int64_t(samples.size()) - completed;

  ServeReport report;
  report.text = fmt::format("{:=^50}\n", " Serving Benchmark Result ");
  report.text += count_line("Successful requests:", completed) + count_line("Failed requests:", failed);
  if (command.max_concurrency > 0) report.text += count_line("Maximum request concurrency:", command.max_concurrency);
  if (command.request_rate > 0) report.text += figure_line("Request rate configured (RPS):", command.request_rate);
  report.text += figure_line("Benchmark duration (s):", duration);
  report.text += count_line("Total input tokens:", input) + count_line("Total generated tokens:", output);
  report.text += figure_line("Request throughput (req/s):", rate(double(completed)));
  json::object& figures = report.figures;
  figures["duration"] = duration;
  figures["completed"] = completed;
  figures["failed"] = failed;
  figures["total_input_tokens"] = input;
  figures["total_output_tokens"] = output;
  figures["total_cached_tokens"] = cached;
  figures["request_throughput"] = rate(double(completed));
  figures["request_goodput"] = nullptr;
  if (!command.goodput.empty()) {
    const double goodput = rate(good_requests(command.goodput, samples));
    report.text += figure_line("Request goodput (req/s):", goodput);
    figures["request_goodput"] = goodput;
  }
  report.text += figure_line("Output token throughput (tok/s):", rate(double(output)));
  report.text += figure_line("Peak output token throughput (tok/s):", peaks.tokens_per_second);
  report.text += figure_line("Peak concurrent requests:", peaks.requests);
  report.text += figure_line("Total token throughput (tok/s):", rate(double(input + output)));
  figures["output_throughput"] = rate(double(output));
  figures["total_token_throughput"] = rate(double(input + output));
  figures["max_output_tokens_per_s"] = peaks.tokens_per_second;
  figures["max_concurrent_requests"] = peaks.requests;
  if (command.save_detailed) add_details(figures, samples);
  add_latency(report, command, "ttft", "TTFT", "Time to First Token", latencies.ttft);
  add_latency(report, command, "tpot", "TPOT", "Time per Output Token (excl. 1st token)", latencies.tpot);
  add_latency(report, command, "itl", "ITL", "Inter-token Latency", latencies.itl);
  add_latency(report, command, "e2el", "E2EL", "End-to-end Latency", latencies.e2el);
  report.text += std::string(50, '=') + "\n";
  return report;
}

std::string warm_cache_warning(const BenchServeCommand& command, const std::vector<ServeSample>& samples) {
  if (command.dataset != "random") return "";
  int64_t asked = 0, cached = 0;
  for (const ServeSample& sample : samples) {
    if (!sample.success) continue;
    asked += sample.input_len - std::min<int64_t>(sample.input_len, command.random_prefix_len);
    cached += std::max<int64_t>(0, sample.cached_len - command.random_prefix_len);
  }
  if (cached * 100 < asked || cached == 0) return "";
  return fmt::format(
      "{:.1f} % of the prompts' tokens were in the server's prefix cache, from an earlier run with these prompts: the "
      "figures are too good; give another --seed, or start the server with --no-enable-prefix-caching",
      100 * double(cached) / double(asked));
}

std::string serve_plot(const BenchServeCommand& command, const std::vector<ServeSample>& samples, double duration) {
  constexpr int kPoints = 120;
  const double width = std::max(duration, 1e-3) / kPoints;
  Line generated{"generated tok/s", {}}, finished{"requests in work", {}};
  std::vector<double> tokens(kPoints), open(kPoints);
  const auto slot = [width](double time) { return size_t(std::clamp(int(time / width), 0, kPoints - 1)); };
  for (const ServeSample& sample : samples) {
    if (!sample.success) continue;
    const double per_event =
        sample.token_times.empty() ? 0 : double(sample.output_len) / double(sample.token_times.size());
    for (double time : sample.token_times) tokens[slot(time)] += per_event;
    for (size_t at = slot(sample.start); at <= slot(sample.end); ++at) open[at] += 1;
  }
  for (int at = 0; at < kPoints; ++at) {
    generated.points.push_back({(at + 0.5) * width, tokens[size_t(at)] / width});
    finished.points.push_back({(at + 0.5) * width, open[size_t(at)]});
  }
  const Latencies latencies = latencies_of(samples);
  const auto spread = [](const std::string& name, const std::vector<double>& values) {
    Line line{name, {}};
    for (int percent = 0; percent <= 100; ++percent)
      line.points.push_back({double(percent), percentile_or_zero(values, percent)});
    return line;
  };
  const std::string load = fmt::format(
      "{} requests, rate {}, {}", samples.size(),
      command.request_rate > 0 ? fmt::format("{}/s", command.request_rate) : "inf",
      command.max_concurrency > 0 ? fmt::format("at most {} at once", command.max_concurrency) : "any number at once");
  return line_plot_svg("Serving benchmark", load,
                       {{"Throughput", "seconds", "tok/s", {generated}},
                        {"Concurrency", "seconds", "requests", {finished}},
                        {"Time to first token", "percentile", "ms", {spread("TTFT", latencies.ttft)}},
                        {"Inter-token latency", "percentile", "ms", {spread("ITL", latencies.itl)}}});
}

std::string result_file(const BenchServeCommand& command, const std::string& model, const std::string& time) {
  std::string name = command.result_filename;
  if (name.empty()) {
    const std::string rate = command.request_rate > 0 ? fmt::format("{:.1f}", command.request_rate) : "inf";
    const std::string concurrency =
        command.max_concurrency > 0 ? fmt::format("-concurrency{}", command.max_concurrency) : "";
    name = fmt::format("{}-{}qps{}-{}-{}.json", command.label.empty() ? command.backend_name : command.label, rate,
                       concurrency, model.substr(model.find_last_of('/') + 1), time);
  }
  return command.result_dir.empty() ? name : command.result_dir + "/" + name;
}

}  // namespace trireme
