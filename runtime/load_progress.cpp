#include "runtime/load_progress.h"

#include <algorithm>

#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/expected_tensors.h"

namespace trireme {
namespace {

constexpr std::chrono::seconds kInterval{2};

}  // namespace

int64_t expected_load_bytes(const TensorSource& source, const Topology& topology, int64_t num_layers) {
  const Range stage = topology.layer_range(num_layers);
  const bool ends = topology.is_first_stage() || topology.is_last_stage();
  int64_t bytes = 0;
  for (const TensorInfo& tensor : source.tensors()) {
    const int64_t layer = layer_of_tensor(tensor.name);
    const bool ours = layer >= 0 ? stage.begin <= layer && layer < stage.end : ends;
    if (ours) bytes += tensor.bytes / topology.tp();
  }
  return bytes;
}

std::string load_progress_text(int64_t bytes, int64_t expected_bytes, double seconds) {
  const double rate = double(bytes) / std::max(seconds, 1e-9);
  std::string text = fmt::format("loading weights: {:.1f} of about {:.1f} GB, {:.2f} GB/s", double(bytes) / 1e9,
                                 double(std::max(bytes, expected_bytes)) / 1e9, rate / 1e9);
  if (expected_bytes > bytes && bytes > 0)
    text += fmt::format(", {:.0f} s left", double(expected_bytes - bytes) / rate);
  return text;
}

void LoadProgress::add(int64_t bytes) {
  bytes_ += bytes;
  const double loaded = double(bytes_) / double(std::max<int64_t>({expected_bytes_, bytes_, 1}));
  rank_progress().loaded.store(uint32_t(loaded * 1000), std::memory_order_relaxed);
  if (!logs_) return;
  const auto now = Clock::now();
  if (now - logged_ < kInterval) return;
  logged_ = now;
  log_info("{}", load_progress_text(bytes_, expected_bytes_, std::chrono::duration<double>(now - start_).count()));
}

}  // namespace trireme
