#include "kernels/attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/thread_pool.h"

namespace trireme::cpu {
namespace {

// How a call is cut into tasks: row x tile of tokens x KV head x slice of its query heads, each small enough for
// the loops' scratch. The cut never shows in the result.
struct Cut {
  int64_t rows, tiles, kv_heads, slices;
  int64_t tile_tokens, slice_heads, group;  // group: query heads per KV head
  int64_t tasks() const { return rows * tiles * kv_heads * slices; }
};

Cut cut_work(const AttentionBatch& batch, int64_t q_heads, int64_t kv_heads) {
  Cut cut{};
  cut.rows = batch.num_rows;
  cut.kv_heads = kv_heads;
  cut.group = q_heads / kv_heads;
  cut.slice_heads = std::min<int64_t>(cut.group, kMaxQueries);
  cut.slices = (cut.group + cut.slice_heads - 1) / cut.slice_heads;
  cut.tile_tokens = kMaxQueries / cut.slice_heads;
  int64_t longest = 0;
  const int32_t* row_begin = batch.row_begin.as<int32_t>();
  for (int64_t r = 0; r < batch.num_rows; ++r) longest = std::max<int64_t>(longest, row_begin[r + 1] - row_begin[r]);
  cut.tiles = (longest + cut.tile_tokens - 1) / cut.tile_tokens;
  return cut;
}

struct Call {
  TensorView out, q, kv;
  const AttentionBatch& batch;
  const AttentionOptions& options;
  Cut cut;
};

void run_task(const Call& call, int64_t index) {
  const Cut& cut = call.cut;
  const int64_t slice = index % cut.slices, kv_head = index / cut.slices % cut.kv_heads;
  const int64_t row = index / cut.slices / cut.kv_heads % cut.rows;
  const int64_t tile =
      cut.tiles - 1 - index / cut.slices / cut.kv_heads / cut.rows;  // late tiles see most: begin with them
  const int32_t* row_begin = call.batch.row_begin.as<int32_t>();
  const int64_t token = row_begin[row] + tile * cut.tile_tokens;
  if (token >= row_begin[row + 1]) return;
  const int64_t head = kv_head * cut.group + slice * cut.slice_heads, head_dim = call.kv.dim(4);
  const TensorView& table = call.batch.block_table;
  AttentionTask task{};
  task.q = call.q.as<float>() + token * call.q.stride(0) + head * head_dim;
  task.q_token_stride = call.q.stride(0);
  task.out = call.out.as<float>() + token * call.out.stride(0) + head * head_dim;
  task.out_token_stride = call.out.stride(0);
  task.block_stride = call.kv.stride(0);
  task.keys = call.kv.as<float>() + kv_head * call.kv.stride(2);
  task.values = task.keys + call.kv.stride(1);
  task.blocks = table.as<int32_t>() + call.batch.row_slots.as<int32_t>()[row] * table.stride(0);
  task.block_size = call.kv.dim(3);
  task.head_dim = head_dim;
  task.tokens = int(std::min<int64_t>(row_begin[row + 1] - token, cut.tile_tokens));
  task.heads = int(std::min(cut.group - slice * cut.slice_heads, cut.slice_heads));
  task.first_position = call.batch.positions.as<int32_t>()[token];
  task.scale = call.options.scale;
  task.soft_cap = call.options.soft_cap;
  task.window = call.options.window;
  loops().attention(task);
}

}  // namespace

void paged_attention(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                     const AttentionOptions& options, const Stream&) {
  const Call call{out, q, kv, batch, options, cut_work(batch, q.dim(1), kv.dim(2))};
  parallel_for(call.cut.tasks(), [&](int64_t index) { run_task(call, index); });
}

int32_t attention_processors(Device) { return 0; }
bool attention_has_warpgroup_tiles(Device, int64_t, int64_t) { return false; }

void kv_append(TensorView kv, TensorView k, TensorView v, const AttentionBatch& batch, const Stream&) {
  const int64_t heads = kv.dim(2), block_size = kv.dim(3), head_dim = kv.dim(4);
  const int32_t* positions = batch.positions.as<int32_t>();
  const int32_t* slots = batch.token_slots.as<int32_t>();
  for (int64_t t = 0; t < batch.num_tokens; ++t) {
    if (slots[t] < 0) continue;
    const int64_t index = positions[t] / block_size;
    CHECK(positions[t] >= 0 && index < batch.block_table.dim(1))
        << "kv_append: position" << positions[t] << "has no block";
    const int64_t block = batch.block_table.as<int32_t>()[slots[t] * batch.block_table.stride(0) + index];
    CHECK(block >= 0 && block < kv.dim(0))
        << "kv_append: block" << block << "of" << kv.dim(0) << "at position" << positions[t];
    float* keys = kv.as<float>() + block * kv.stride(0) + positions[t] % block_size * head_dim;
    for (int64_t h = 0; h < heads; ++h) {
      const size_t bytes = size_t(head_dim) * sizeof(float);
      std::memcpy(keys + h * kv.stride(2), k.as<float>() + t * k.stride(0) + h * head_dim, bytes);
      std::memcpy(keys + kv.stride(1) + h * kv.stride(2), v.as<float>() + t * v.stride(0) + h * head_dim, bytes);
    }
  }
}

void copy_blocks(TensorView kv, TensorView pairs, const Stream&) {
  const int32_t* pair = pairs.as<int32_t>();
  for (int64_t i = 0; i < pairs.dim(0); ++i) {
    const int32_t source = pair[2 * i], destination = pair[2 * i + 1];
    CHECK(source >= 0 && source < kv.dim(0) && destination >= 0 && destination < kv.dim(0))
        << "copy_blocks:" << source << "to" << destination << "of" << kv.dim(0);
    std::memmove(kv.as<float>() + destination * kv.stride(0), kv.as<float>() + source * kv.stride(0),
                 size_t(kv.stride(0)) * sizeof(float));
  }
}

}  // namespace trireme::cpu
