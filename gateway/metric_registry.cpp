#include "gateway/metric_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace trireme {
namespace {

bool is_name(std::string_view name, bool colons) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [colons](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (colons && c == ':');
  });
}

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\\' || (quotes && c == '"'))
      (out += '\\') += c;
    else
      out += c;
  }
  return out;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  if (value == std::floor(value) && std::abs(value) < 1e15) return fmt::format("{:.0f}", value);
  return fmt::format("{}", value);  // the shortest text that reads back as the same number
}

// `a="b",c="d"`
std::string label_text(const MetricLabels& labels) {
  std::string out;
  for (const auto& [name, value] : labels)
    out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : ",", name, escaped(value, true));
  return out;
}

std::string sample(const std::string& name, const std::string& labels, const std::string& value) {
  return labels.empty() ? fmt::format("{} {}\n", name, value) : fmt::format("{}{{{}}} {}\n", name, labels, value);
}

std::string bucket_samples(const std::string& name, const std::string& labels, const Histogram& histogram) {
  const std::vector<uint64_t> counts = histogram.counts();
  const std::string before = labels.empty() ? "" : labels + ",";
  std::string out;
  uint64_t total = 0;
  for (size_t b = 0; b < counts.size(); ++b) {
    total += counts[b];
    const bool last = b == histogram.bounds().size();
    const std::string bound = last ? "+Inf" : fmt::format("{}", histogram.bounds()[b]);
    out += sample(name + "_bucket", fmt::format("{}le=\"{}\"", before, bound), fmt::format("{}", total));
  }
  out += sample(name + "_count", labels, fmt::format("{}", total));
  return out + sample(name + "_sum", labels, number(histogram.sum()));
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(std::make_unique<std::atomic<uint64_t>[]>(bounds_.size() + 1)) {
  CHECK(std::is_sorted(bounds_.begin(), bounds_.end())) << "histogram bounds";
}

void Histogram::observe(double value, uint64_t times) {
  if (std::isnan(value) || times == 0) return;
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[size_t(bucket)].fetch_add(times, std::memory_order_relaxed);
  sum_.fetch_add(value * double(times), std::memory_order_relaxed);
}

std::vector<uint64_t> Histogram::counts() const {
  std::vector<uint64_t> counts(bounds_.size() + 1);
  for (size_t b = 0; b < counts.size(); ++b) counts[b] = counts_[b].load(std::memory_order_relaxed);
  return counts;
}

uint64_t Histogram::count() const {
  uint64_t total = 0;
  for (uint64_t count : counts()) total += count;
  return total;
}

struct MetricRegistry::Series {
  MetricLabels labels;
  Counter counter;
  Gauge gauge;
  std::unique_ptr<Histogram> histogram;
};

struct MetricRegistry::Family {
  Kind kind;
  std::vector<std::string> names;
  std::string help;
  std::vector<double> bounds;
  std::vector<std::unique_ptr<Series>> series;
};

MetricRegistry::MetricRegistry() = default;
MetricRegistry::~MetricRegistry() = default;

MetricRegistry::Series& MetricRegistry::series(Kind kind, const std::vector<std::string>& names,
                                               const std::string& help, const MetricLabels& labels,
                                               const std::vector<double>& bounds) {
  CHECK(!names.empty());
  for (const std::string& name : names) CHECK(is_name(name, true)) << "metric name" << name;
  for (const auto& [name, value] : labels) CHECK(is_name(name, false)) << "label name" << name;
  const std::lock_guard lock(mutex_);
  auto family = std::find_if(families_.begin(), families_.end(),
                             [&](const auto& known) { return known->names.front() == names.front(); });
  if (family == families_.end())
    family = families_.insert(families_.end(), std::make_unique<Family>(Family{kind, names, help, bounds, {}}));
  Family& known = **family;
  CHECK(known.kind == kind && known.names == names && known.bounds == bounds) << "metric" << names.front();

  MetricLabels wanted = labels;
  const auto find = [&] {
    return std::find_if(known.series.begin(), known.series.end(),
                        [&](const auto& series) { return series->labels == wanted; });
  };
  auto found = find();
  if (found == known.series.end() && known.series.size() >= kMaxSeries) {
    for (auto& [name, value] : wanted) value = "other";
    found = find();
  }
  if (found != known.series.end()) return **found;
  auto made = std::make_unique<Series>();
  made->labels = std::move(wanted);
  if (kind == Kind::histogram) made->histogram = std::make_unique<Histogram>(bounds);
  return *known.series.emplace_back(std::move(made));
}

Counter& MetricRegistry::counter(const std::vector<std::string>& names, const std::string& help,
                                 const MetricLabels& labels) {
  return series(Kind::counter, names, help, labels, {}).counter;
}

Gauge& MetricRegistry::gauge(const std::vector<std::string>& names, const std::string& help,
                             const MetricLabels& labels) {
  return series(Kind::gauge, names, help, labels, {}).gauge;
}

Histogram& MetricRegistry::histogram(const std::vector<std::string>& names, const std::string& help,
                                     const MetricLabels& labels, const std::vector<double>& bounds) {
  return *series(Kind::histogram, names, help, labels, bounds).histogram;
}

std::string MetricRegistry::exposition() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& family : families_) {
    const char* type = family->kind == Kind::counter ? "counter" : family->kind == Kind::gauge ? "gauge" : "histogram";
    for (const std::string& name : family->names) {
      out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, escaped(family->help, false), name, type);
      for (const auto& series : family->series) {
        const std::string labels = label_text(series->labels);
        if (family->kind == Kind::histogram)
          out += bucket_samples(name, labels, *series->histogram);
        else
          out += sample(name, labels,
                        number(family->kind == Kind::counter ? series->counter.value() : series->gauge.value()));
      }
    }
  }
  return out;
}

}  // namespace trireme
