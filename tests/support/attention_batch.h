#pragma once
// A paged cache of random keys and values for attention tests, with shuffled blocks, rubbish where nobody may look,
// and a float64 reference.

#include <algorithm>
#include <limits>

#include "kernels/attention.h"
#include "tests/support/tensors.h"

namespace trireme::test {

struct AttentionShape {
  int64_t q_heads, kv_heads, head_dim, block_size;
};

// A sequence with `context` positions in the cache, `count` of which, from `begin` on, are queried.
struct AttentionRow {
  int64_t context, begin, count;
};

class PagedCache {
 public:
  PagedCache(AttentionShape shape, std::vector<AttentionRow> rows, const Stream& stream)
      : shape_(shape), rows_(std::move(rows)) {
    const DType dtype = stream.device().is_cpu() ? DType::f32 : DType::bf16;
    lay_out();
    fill(dtype);
    kv_ = to_device(cache_, {num_blocks_, 2, shape.kv_heads, shape.block_size, shape.head_dim}, dtype, stream);
    positions_device_ = to_device(positions_, stream);
    token_slots_device_ = to_device(token_slots_, stream);
    row_begin_device_ = to_device(row_begin_, stream);
    row_slots_device_ = to_device(row_slots_, stream);
    table_device_ = to_device(table_, {int64_t(table_.size()) / max_blocks_, max_blocks_}, stream);
  }

  TensorView kv() const { return kv_; }
  int64_t num_tokens() const { return int64_t(positions_.size()); }
  const Values& queries(int64_t row) const { return queries_[size_t(row)]; }

  // The rows as attention is planned for; `lag`: how far the device's positions lie below those the host knows of.
  std::vector<AttentionPlanRow> plan_rows(int32_t lag = 0) const {
    std::vector<AttentionPlanRow> rows;
    for (size_t r = 0; r < rows_.size(); ++r)
      rows.push_back({.first_token = row_begin_[r],
                      .count = int32_t(rows_[r].count),
                      .start = int32_t(rows_[r].begin) + lag,
                      .slot = row_slots_[r]});
    return rows;
  }

  // The batch with the work list of layers with that window, in room for `spare` items more; on the CPU without one.
  // `processors`: as if the GPU had so many; 0: what it has.
  AttentionBatch planned_batch(const AttentionOptions& options, const Stream& stream, int64_t spare = 0,
                               int32_t lag = 0, int32_t processors = 0) {
    AttentionBatch batch = this->batch();
    const int32_t present = attention_processors(stream.device());
    if (present == 0) return batch;
    const AttentionPlanOptions plan_options{.group = int32_t(shape_.q_heads / shape_.kv_heads),
                                            .kv_heads = int32_t(shape_.kv_heads),
                                            .head_dim = int32_t(shape_.head_dim),
                                            .window = options.window,
                                            .num_processors = processors > 0 ? processors : present,
                                            .warpgroup_tiles = attention_has_warpgroup_tiles(
                                                stream.device(), shape_.head_dim, shape_.block_size)};
    const AttentionWorkCapacity most = attention_work_capacity(num_tokens(), batch.num_rows, plan_options);
    std::vector<AttentionWorkItem> decode(size_t(most.decode + spare)), prefill(size_t(most.prefill + spare));
    const AttentionPlan plan = plan_attention(plan_rows(lag), plan_options, decode, prefill);
    decode.resize(size_t(plan.decode_items + spare)), prefill.resize(size_t(plan.prefill_items + spare));
    batch.decode_work = uploaded(decode, plan.decode_items, kDecodeTileRows, work_memory_[0], stream);
    batch.prefill_work = uploaded(prefill, plan.prefill_items, plan.prefill_tile_rows, work_memory_[1], stream);
    return batch;
  }

  AttentionBatch batch() const {
    AttentionBatch batch{positions_device_, token_slots_device_, row_begin_device_, row_slots_device_, table_device_};
    batch.num_tokens = num_tokens();
    batch.num_rows = int64_t(rows_.size());
    for (const AttentionRow& row : rows_) batch.max_row_tokens = std::max(batch.max_row_tokens, int32_t(row.count));
    return batch;
  }

  // The queries of the batch's tokens: [num_tokens, q_heads, head_dim].
  Values row_queries() const {
    Values values;
    for (size_t r = 0; r < rows_.size(); ++r) {
      const int64_t width = shape_.q_heads * shape_.head_dim;
      values.insert(values.end(), queries_[r].begin() + rows_[r].begin * width,
                    queries_[r].begin() + (rows_[r].begin + rows_[r].count) * width);
    }
    return values;
  }

  // Element of the cache where token t's key (part 0) or value (1) of head h begins.
  int64_t offset(int64_t t, int64_t part, int64_t h) const {
    return element(token_slots_[size_t(t)], positions_[size_t(t)], part, h);
  }

  std::vector<double> reference(const AttentionOptions& options) const {
    std::vector<double> out;
    for (int64_t r = 0; r < int64_t(rows_.size()); ++r)
      for (int64_t p = rows_[size_t(r)].begin; p < rows_[size_t(r)].begin + rows_[size_t(r)].count; ++p)
        for (int64_t h = 0; h < shape_.q_heads; ++h) attend(out, r, p, h, options);
    return out;
  }

 private:
  struct WorkMemory {
    Tensor items, count;
  };

  static AttentionWork uploaded(const std::vector<AttentionWorkItem>& items, int32_t count, int32_t tile_rows,
                                WorkMemory& memory, const Stream& stream) {
    const int64_t capacity = int64_t(items.size());
    memory.items = Tensor(DType::i32, {capacity, kAttentionWorkStride}, stream.device());
    memory.count = to_device(std::vector<int32_t>{count}, stream);
    upload(memory.items, items.data(), stream);
    return {.items = memory.items, .count = memory.count, .tile_rows = tile_rows};
  }

  static int32_t slot_of(int64_t row) { return int32_t(2 * row + 1); }  // slots with holes between them

  int64_t element(int32_t slot, int64_t position, int64_t part, int64_t head) const {
    const int64_t block = table_[size_t(slot * max_blocks_ + position / shape_.block_size)];
    return (((block * 2 + part) * shape_.kv_heads + head) * shape_.block_size + position % shape_.block_size) *
           shape_.head_dim;
  }

  void lay_out() {
    for (const AttentionRow& row : rows_)
      max_blocks_ = std::max(max_blocks_, (row.context + shape_.block_size - 1) / shape_.block_size);
    max_blocks_ += 1;
    table_.assign(size_t((2 * int64_t(rows_.size()) + 1) * max_blocks_), -1);
    std::vector<int32_t> blocks(rows_.size() * size_t(max_blocks_) + 1);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(9));
    num_blocks_ = int64_t(blocks.size());
    row_begin_ = {0};
    for (int64_t r = 0; r < int64_t(rows_.size()); ++r) {
      const AttentionRow& row = rows_[size_t(r)];
      for (int64_t i = 0; i * shape_.block_size < row.context; ++i) {
        table_[size_t(slot_of(r) * max_blocks_ + i)] = blocks.back();
        blocks.pop_back();
      }
      for (int64_t p = row.begin; p < row.begin + row.count; ++p) {
        positions_.push_back(int32_t(p));
        token_slots_.push_back(slot_of(r));
      }
      row_slots_.push_back(slot_of(r));
      row_begin_.push_back(int32_t(positions_.size()));
    }
  }

  // Each row's keys, values and queries come from its own seed, so that a row is the same in any batch.
  void fill(DType dtype) {
    const int64_t width = shape_.kv_heads * shape_.head_dim;
    cache_.assign(size_t(num_blocks_ * 2 * width * shape_.block_size), std::numeric_limits<float>::quiet_NaN());
    for (int64_t r = 0; r < int64_t(rows_.size()); ++r) {
      const int64_t context = rows_[size_t(r)].context;
      const Values values = rounded(random_values(context * 2 * width, uint32_t(100 + context)), dtype);
      for (int64_t p = 0; p < context; ++p)
        for (int64_t part = 0; part < 2; ++part)
          for (int64_t h = 0; h < shape_.kv_heads; ++h)
            std::copy_n(values.begin() + (p * 2 + part) * width + h * shape_.head_dim, shape_.head_dim,
                        cache_.begin() + element(slot_of(r), p, part, h));
      queries_.push_back(
          rounded(random_values(context * shape_.q_heads * shape_.head_dim, uint32_t(200 + context), 2), dtype));
    }
  }

  void attend(std::vector<double>& out, int64_t row, int64_t position, int64_t head,
              const AttentionOptions& options) const {
    const int64_t kv_head = head / (shape_.q_heads / shape_.kv_heads),
                  first = options.window > 0 ? std::max<int64_t>(0, position - options.window + 1) : 0;
    const float* q = queries_[size_t(row)].data() + (position * shape_.q_heads + head) * shape_.head_dim;
    std::vector<double> scores;
    for (int64_t j = first; j <= position; ++j) {
      const float* k = cache_.data() + element(slot_of(row), j, 0, kv_head);
      double score = 0;
      for (int64_t d = 0; d < shape_.head_dim; ++d) score += double(q[d]) * double(k[d]);
      score *= double(options.scale);
      scores.push_back(options.soft_cap > 0 ? double(options.soft_cap) * std::tanh(score / double(options.soft_cap))
                                            : score);
    }
    const double maximum = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - maximum);
    for (int64_t d = 0; d < shape_.head_dim; ++d) {
      double sum = 0;
      for (int64_t j = first; j <= position; ++j)
        sum += scores[size_t(j - first)] / total * double(cache_[size_t(element(slot_of(row), j, 1, kv_head) + d)]);
      out.push_back(sum);
    }
  }

  AttentionShape shape_;
  std::vector<AttentionRow> rows_;
  int64_t max_blocks_ = 0, num_blocks_ = 0;
  std::vector<int32_t> table_, positions_, token_slots_, row_begin_, row_slots_;
  Values cache_;
  std::vector<Values> queries_;  // per row: [context, q_heads, head_dim]
  WorkMemory work_memory_[2];
  Tensor kv_, positions_device_, token_slots_device_, row_begin_device_, row_slots_device_, table_device_;
};

}  // namespace trireme::test
