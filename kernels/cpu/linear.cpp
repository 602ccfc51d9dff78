#include "kernels/linear.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/linear_layout.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/panel_elements.h"
#include "kernels/cpu/thread_pool.h"

namespace trireme::cpu {
namespace {

constexpr int64_t kTokensPerChunk = 96;  // at least: blocks of tokens share the expansion of a weight

LinearTask make_task(const TensorView& out, const TensorView& x, const LinearWeight& weight, const TensorView& bias) {
  LinearTask task{};
  task.x = x.as<float>();
  task.x_stride = x.stride(0);
  task.tokens = x.dim(0);
  task.panels = static_cast<const std::byte*>(weight.data.data());
  task.panel_bytes = panel_bytes(weight.storage, weight.in_features);
  task.storage = weight.storage;
  task.out_features = weight.out_features;
  task.in_features = weight.in_features;
  task.granule = weight.granule;
  task.bias = bias.empty() ? nullptr : bias.as<float>();
  task.out = out.data();
  task.out_stride = out.stride(0);
  task.out_f64 = out.dtype() == DType::f64;
  return task;
}

}  // namespace

// Cut by output features, and by tokens too where there are too few features for the threads.
void linear(TensorView out, TensorView x, const LinearWeight& weight, TensorView bias, const Stream&) {
  const LinearTask task = make_task(out, x, weight, bias);
  const int64_t panels = panel_count(task.out_features), group = loops().linear_panel_group;
  const int64_t groups = (panels + group - 1) / group;
  const int64_t wanted = worthwhile_chunks(task.tokens, task.in_features * task.out_features / 4);
  const int64_t feature_chunks = std::min(groups, wanted);
  const int64_t token_chunks =
      std::clamp<int64_t>(wanted / feature_chunks, 1, (task.tokens + kTokensPerChunk - 1) / kTokensPerChunk);
  parallel_for(feature_chunks * token_chunks, [&](int64_t chunk) {
    const int64_t f = chunk % feature_chunks, t = chunk / feature_chunks;
    const int64_t panel_begin = groups * f / feature_chunks * group,
                  panel_end = groups * (f + 1) / feature_chunks * group;
    loops().linear(task, panel_begin, std::min(panel_end, panels), task.tokens * t / token_chunks,
                   task.tokens * (t + 1) / token_chunks);
  });
}

void embed(TensorView out, TensorView ids, const LinearWeight& table, int64_t vocab_begin, const Stream&) {
  const int64_t tokens = out.dim(0), cols = out.dim(1);
  parallel_ranges(tokens, worthwhile_chunks(tokens, cols * 8), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = out.as<float>() + t * out.stride(0);
      const int64_t local = ids.as<int32_t>()[t] - vocab_begin;
      if (local >= 0 && local < table.out_features)
        read_panel_row(row, table, local);
      else
        std::fill_n(row, cols, 0.0f);
    }
  });
}

}  // namespace trireme::cpu
