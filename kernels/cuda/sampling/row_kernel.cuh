#pragma once
// One row from its logits to its answer.

#include <cstddef>

#include "kernels/cuda/sampling/row_search.cuh"

namespace trireme::cuda {

struct RowJob {
  SampleShard shard;
  SampleHead* heads;
  SampleEntry *tops, *candidates;
  int32_t* ids;  // [num_rows]; null: the first round only, for other shards to join
  const int32_t* answered = nullptr;  // [num_rows], 1: nothing is left to do; null: no row is answered
};

// Rows answered by a block each (direct.cu); null: none was tried.
const int32_t* answer_rows_directly(const RowJob& job, const Stream& stream);

// kLists: some row has top log-probabilities or a cut.
template <bool kLists>
inline constexpr size_t kRowSharedBytes = ((kLists ? sizeof(RowShared) : offsetof(RowShared, pairs)) + 15) / 16 * 16;

// What a block of the row knows after the first look at it.
struct RowView {
  float raw_best, z_best;  // this thread's maxima
  float raw_max, z_max;    // the row's
  bool processed;          // block.x() is z, not the raw logits
};

template <bool kLists>
__device__ RowBlock row_block(const SampleShard& shard, int r, int chunk) {
  const RowBlock block{int(kRowSharedBytes<kLists>), 0};
  if (threadIdx.x == 0) {
    const int begin = min(cluster_rank() * chunk, shard.vocab_local), n = min(chunk, shard.vocab_local - begin);
    block.shared().place = {r, begin, shard.vocab_begin + begin, n, (n + 3) / 4};
    block.shared().row = shard.rows[block.shared().place.r];
  }
  __syncthreads();
  return block;
}

// The mass of the row's raw logits, and the best id where the row is greedy and nobody touched its logits.
__device__ inline void weigh_raw(RowBlock& block, SampleHead& head, const RowView& view, bool wants_best) {
  const Word mass = block_sum_of(thread_mass(block, view.raw_max));
  const int first = wants_best ? thread_first(block, view.raw_best, view.raw_max) : INT32_MAX;
  int best = INT32_MAX;
  block.exchange(mass, Word(block_reduce<int>(first, INT32_MAX, Smaller{})), [&](int, Word a, Word id) {
    head.raw_mass += a;
    best = int(id) < best ? int(id) : best;
  });
  if (!wants_best || best == INT32_MAX || !(view.raw_max > -infinity())) return;
  head.best_id = best;
  head.best_score = double(view.raw_max);
}

// z in the place of the logits, its maximum, and the best id where there is no cut.
template <bool kLists>
__device__ void weigh_z(RowBlock& block, const SampleShard& shard, SampleHead& head, RowView& view) {
  const SampleRow& row = block.row();
  view.processed = is_processed(row) || (!is_greedy(row) && row.temperature != 1.0f);
  view.z_best = view.raw_best, view.z_max = view.raw_max;
  if (view.processed) {
    view.z_best = process_chunk<kLists>(block, shard);
    view.z_max = key_float(row_max(block, order_key(view.z_best)));
  }
  head.z_max = view.z_max;
  if (!(view.z_max > -infinity()) || has_cut(row, shard.vocab_size)) return;
  if (is_greedy(row)) {
    if (!view.processed) return;  // weigh_raw did it
    int best = INT32_MAX;
    const int first = thread_first(block, view.z_best, view.z_max);
    block.exchange(Word(block_reduce<int>(first, INT32_MAX, Smaller{})), 0,
                   [&](int, Word id, Word) { best = int(id) < best ? int(id) : best; });
    head.best_id = best;
    head.best_score = double(view.z_max);
    return;
  }
  const BestDraw best = row_best(block, draw_chunk<false>(block, SampleState{}, noise_key(row, shard)));
  head.best_id = best.id;
  head.best_score = key_score(best.key);
}

__device__ inline void write_z(const RowBlock& block, const SampleShard& shard) {
  float* z = z_row(shard, block.r()) + block.begin();
  for (int i = threadIdx.x; i < block.n(); i += kRowThreads) z[i] = block.x()[i];
}

// The head, the top log-probabilities and the candidates; false: the row has a logit that is not finite.
template <bool kLists>
__device__ bool first_round(RowBlock& block, const RowJob& job, RowView& view) {
  const SampleShard& shard = job.shard;
  const SampleRow& row = block.row();
  const SampleIndex& index = shard.index[block.r()];
  SampleHead head{};
  head.raw_max = head.z_max = head.best_raw = -infinity();
  head.best_id = -1;
  view.raw_best = thread_max(block);
  const uint32_t key = raw_max_key(block, view.raw_best);
  head.non_finite = key == kNonFinite;
  view.raw_max = key_float(key);
  if (!head.non_finite) {
    head.raw_max = view.raw_max;
    weigh_raw(block, head, view, draws(row) && is_greedy(row) && !is_processed(row));
    if constexpr (kLists)
      if (index.top >= 0)
        select_row(job.tops + int64_t(index.top) * kMaxTopLogprobs, block, shard, view.raw_best, kMaxTopLogprobs);
    if (draws(row)) {
      weigh_z<kLists>(block, shard, head, view);
    } else if (is_score(row) && row.target >= shard.vocab_begin && row.target < shard.vocab_begin + shard.vocab_local) {
      head.best_id = row.target;
    }
    if constexpr (kLists)
      if (index.candidates >= 0)
        select_row(job.candidates + int64_t(index.candidates) * kSampleCandidates, block, shard, view.z_best,
                   kSampleCandidates);
    if (head.best_id >= 0) head.best_raw = raw_row(shard, block.r())[head.best_id - shard.vocab_begin];
  }
  if (block.leads() && threadIdx.x == 0) job.heads[block.r()] = head;
  return !head.non_finite;
}

// An open row: from its candidates where they prove the cut, else from the whole row.
static __device__ __noinline__ RowBlock answer_open_row(RowBlock block, const RowJob& job, float z_max) {
  const SampleShard& shard = job.shard;
  if (threadIdx.x == 0) {
    block.state() = SampleState{};
    open_state(block.state(), block.row(), z_max);
  }
  __syncthreads();
  const SampleStats stats = row_stats(block, false);
  bool pending = true;
  if (block.leads()) {
    SampleState& state = shard.states[block.r()];
    if (threadIdx.x == 0) state.mass = stats.mass, state.count = stats.count;
    __syncthreads();
    draw_from_candidates(shard, block.r(), {reinterpret_cast<const char*>(job.candidates), 0},
                         block.shared().scratch.merged);
    __syncthreads();
    pending = state.pending != 0;
  }
  block.exchange(pending, 0, [&](int b, Word a, Word) { pending = b == 0 ? a != 0 : pending; });
  if (!pending) return block;
  cut_row(block, shard, stats);
  const BestDraw best = row_best(block, draw_chunk<true>(block, block.state(), noise_key(block.row(), shard)));
  if (!block.leads()) return block;
  const bool any = best.id != INT32_MAX;
  answer_with(shard, block.r(), any ? best.id : -1,
              any ? raw_row(shard, block.r())[best.id - shard.vocab_begin] : 0.0f);
  return block;
}

// How many raw logits are greater than that of the answer's id.
static __device__ __noinline__ RowBlock rank_answer(RowBlock block, const SampleShard& shard, bool processed) {
  Word key = 0;
  bool drawn = false;
  __syncthreads();
  const bool mine = block.leads() && shard.answers[block.r()].id >= 0;
  block.exchange(mine, mine ? order_key(shard.states[block.r()].drawn_raw) : 0, [&](int b, Word a, Word k) {
    if (b == 0) drawn = a != 0, key = k;
  });
  if (!drawn) return block;
  int count = 0;
  if (processed) {
    const float* raw = raw_row(shard, block.r()) + block.begin();
    for (int i = threadIdx.x; i < block.n(); i += kRowThreads) count += order_key(raw[i]) > key;
  } else {
    block.for_values([&](float value, int) { count += order_key(value) > key; });
  }
  const Word greater = row_sum(block, Word(count));
  if (block.leads() && threadIdx.x == 0) shard.answers[block.r()].rank = 1 + int(greater);
  return block;
}

template <bool kLists>
__device__ void answer_row(RowBlock& block, const RowJob& job, const RowView& view, bool finite) {
  const SampleShard& shard = job.shard;
  const SampleIndex& index = shard.index[block.r()];
  if (block.leads()) {
    const auto only_shard = [](const void* data) { return Gathered{static_cast<const char*>(data), 0}; };
    __syncthreads();
    if constexpr (kLists)
      resolve_row(shard, block.r(), only_shard(job.heads), only_shard(job.tops), only_shard(job.candidates),
                  block.shared().scratch.merged);
    else
      resolve_by_head(shard, block.r(), only_shard(job.heads));
    __syncthreads();
  }
  if constexpr (kLists)
    if (finite && index.open >= 0 && view.z_max > -infinity()) block = answer_open_row(block, job, view.z_max);
  if (finite && index.rank >= 0) block = rank_answer(block, shard, view.processed);
  __syncthreads();
  if (block.leads() && threadIdx.x == 0) job.ids[block.r()] = draws(block.row()) ? shard.answers[block.r()].id : -1;
}

template <bool kLists>
__device__ void work_on_row(const RowJob& job, int r, int chunk) {
  RowBlock block = row_block<kLists>(job.shard, r, chunk);
  load_chunk<kLists>(block, job.shard);
  let_next_kernel_start();
  RowView view{};
  const bool finite = first_round<kLists>(block, job, view);
  if (job.ids)
    answer_row<kLists>(block, job, view, finite);
  else if (finite && job.shard.index[block.r()].open >= 0)
    write_z(block, job.shard);
  cluster_sync();  // peers may be reading this block's shared memory
}

// Two blocks on a multiprocessor, so that one computes while another's chunk arrives.
template <bool kLists>
__global__ __launch_bounds__(kRowThreads, 2) void rows_kernel(const __grid_constant__ RowJob job, int chunk) {
  wait_for_previous_kernel();
  const int r = int(blockIdx.x) / cluster_size();
  if (!job.answered || !job.answered[r]) work_on_row<kLists>(job, r, chunk);
}

}  // namespace trireme::cuda
