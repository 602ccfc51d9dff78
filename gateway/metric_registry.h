#pragma once
// Counters, gauges and histograms in Prometheus's text exposition format 0.0.4.
//
// Any thread. A series is made once, under the registry's mutex, and lives as long as the registry; after that its
// updates are atomic and take no lock. Bound: kMaxSeries label sets per family; what comes beyond them shares one
// series whose label values are all "other".

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme {

inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void add(double amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }  // amount: 0 or more
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);  // ascending upper bounds; +Inf is implied
  void observe(double value, uint64_t times = 1);  // bucket b counts values <= bounds[b]; NaN is dropped

  const std::vector<double>& bounds() const { return bounds_; }
  std::vector<uint64_t> counts() const;  // one per bound and one beyond, not cumulative
  double sum() const { return sum_.load(std::memory_order_relaxed); }
  uint64_t count() const;

 private:
  std::vector<double> bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;  // bounds_.size() + 1
  std::atomic<double> sum_{0};
};

class MetricRegistry {
 public:
  static constexpr size_t kMaxSeries = 256;

  MetricRegistry();
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;

  // `names`: the same series appear under each of them; the first identifies the family. The same names and labels
  // give the same series again. CHECKs: valid names, one kind and one set of bounds per family.
  Counter& counter(const std::vector<std::string>& names, const std::string& help, const MetricLabels& labels);
  Gauge& gauge(const std::vector<std::string>& names, const std::string& help, const MetricLabels& labels);
  Histogram& histogram(const std::vector<std::string>& names, const std::string& help, const MetricLabels& labels,
                       const std::vector<double>& bounds);

  std::string exposition() const;  // families in the order in which they were made

 private:
  enum class Kind : uint8_t { counter, gauge, histogram };
  struct Series;
  struct Family;
  Series& series(Kind kind, const std::vector<std::string>& names, const std::string& help, const MetricLabels& labels,
                 const std::vector<double>& bounds);

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Family>> families_;
};

}  // namespace trireme
