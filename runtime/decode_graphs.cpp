#include "runtime/decode_graphs.h"

#include <algorithm>

#include "base/check.h"

namespace trireme {
namespace {

constexpr int64_t kLargestSize = 512;  // beyond it launching is hidden behind the work

}  // namespace

// Padding costs at most an eighth of the rows beyond 16: rows are cheap only while weights dominate.
std::vector<int64_t> DecodeGraphs::batch_sizes(int64_t max_rows) {
  const int64_t largest = std::min(max_rows, kLargestSize);
  std::vector<int64_t> sizes;
  for (int64_t size = 1; size < largest;) {
    sizes.push_back(size);
    size += size < 2 ? 1 : size < 4 ? 2 : size < 16 ? 4 : size < 64 ? 8 : size < 256 ? 16 : 32;
  }
  if (largest > 0) sizes.push_back(largest);
  return sizes;
}

DecodeGraphs::DecodeGraphs(Device device, DecodeGraphMode mode, int64_t max_rows)
    : recordable_(mode == DecodeGraphMode::on && Graph::supported(device)) {
  if (recordable_ || mode == DecodeGraphMode::padded) sizes_ = batch_sizes(max_rows);
  graphs_.resize(sizes_.size());
}

int64_t DecodeGraphs::size_for(const StepPlan& plan) const {
  const auto rows = int64_t(plan.rows.size());
  if (sizes_.empty() || rows == 0 || rows > sizes_.back() || int64_t(plan.outputs.size()) > rows) return 0;
  if (std::ranges::any_of(plan.rows, [](const PlanRow& row) { return row.count != 1; })) return 0;
  return *std::lower_bound(sizes_.begin(), sizes_.end(), rows);
}

size_t DecodeGraphs::index_of(int64_t size) const {
  const auto found = std::lower_bound(sizes_.begin(), sizes_.end(), size);
  CHECK(found != sizes_.end() && *found == size) << "no decode graph of" << size << "rows";
  return size_t(found - sizes_.begin());
}

void DecodeGraphs::record(int64_t size, const Stream& stream, const std::function<void()>& forward) {
  if (recordable_) graphs_[index_of(size)] = Graph::record(stream, forward);
}

void DecodeGraphs::run(int64_t size, const Stream& stream, const std::function<void()>& forward) const {
  const Graph& graph = graphs_[index_of(size)];
  if (graph)
    graph.launch(stream);
  else
    forward();
}

}  // namespace trireme
