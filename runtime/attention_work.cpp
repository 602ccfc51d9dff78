#include "runtime/attention_work.h"

#include <algorithm>
#include <cstring>

namespace trireme {
namespace {

constexpr int64_t kItemBytes = kAttentionWorkStride * int64_t(sizeof(int32_t));

}  // namespace

AttentionWorkLists::AttentionWorkLists(const KvPool& kv_pool, int64_t max_tokens, int64_t max_rows, Device device)
    : max_tokens_(max_tokens), max_rows_(max_rows) {
  const int32_t processors = attention_processors(device);
  if (processors == 0) return;
  for (int index = 0; index < kv_pool.num_groups(); ++index) {
    const KvGroupSpec& spec = kv_pool.spec(index);
    Group& group = groups_.emplace_back();
    group.empty = spec.kv_heads == 0 || spec.query_heads == 0 || spec.num_layers == 0;
    if (group.empty) continue;
    group.options = {.group = int32_t(spec.query_heads / spec.kv_heads),
                     .kv_heads = int32_t(spec.kv_heads),
                     .head_dim = int32_t(spec.head_dim),
                     .window = spec.window,
                     .num_processors = processors,
                     .warpgroup_tiles = attention_has_warpgroup_tiles(device, spec.head_dim, spec.block_size)};
    const AttentionWorkCapacity most = attention_work_capacity(max_tokens, max_rows, group.options);
    decode_.resize(std::max(decode_.size(), size_t(most.decode)));
    prefill_.resize(std::max(prefill_.size(), size_t(most.prefill)));
  }
}

int64_t AttentionWorkLists::upload_bytes() const {
  return int64_t(groups_.size()) * (int64_t(decode_.size() + prefill_.size()) * kItemBytes + 4 * 16);
}

AttentionWork AttentionWorkLists::add(std::span<const AttentionWorkItem> items, int64_t capacity, int32_t tile_rows,
                                      PackedUpload& upload) const {
  if (capacity == 0) return {};
  int32_t *count = nullptr, *host = nullptr;
  AttentionWork work;
  work.count = upload.add({1}, &count);
  work.items = upload.add({capacity, kAttentionWorkStride}, &host);
  work.tile_rows = tile_rows;
  *count = int32_t(items.size());
  std::memcpy(host, items.data(), items.size_bytes());
  return work;
}

void AttentionWorkLists::prepare(std::span<const AttentionPlanRow> rows, int64_t padded_rows, PackedUpload& upload) {
  for (Group& group : groups_) {
    if (group.empty) continue;
    const AttentionPlan plan = plan_attention(rows, group.options, decode_, prefill_);
    AttentionWorkCapacity capacity{plan.decode_items, plan.prefill_items};
    if (padded_rows > 0) {
      capacity = attention_work_capacity(padded_rows, padded_rows, group.options);
      // A row of one token is of one class, which its query heads decide.
      (group.options.group <= kDecodeTileRows ? capacity.prefill : capacity.decode) = 0;
    }
    group.decode = add(std::span(decode_).first(size_t(plan.decode_items)), capacity.decode, kDecodeTileRows, upload);
    group.prefill = add(std::span(prefill_).first(size_t(plan.prefill_items)), capacity.prefill,
                        plan.prefill_tile_rows, upload);
  }
}

void AttentionWorkLists::set(AttentionBatch& batch, int group) const {
  if (groups_.empty()) return;
  batch.decode_work = groups_[size_t(group)].decode;
  batch.prefill_work = groups_[size_t(group)].prefill;
}

}  // namespace trireme
