// Sampling of many rows at once: one block per row, which keeps nothing of it but the few ids that matter. Two looks
// at the row answer what most rows ask:
//
//   greatest   the greatest logit, and each thread's. The k-th greatest of the threads' bounds the row's k-th greatest
//              from below, and few ids reach it.
//   masses     log-sum-exp, and by what the row asks: the ids that reach the bound, from which top-k, the greedy id and
//              the top log-probabilities come; or the best draw among all ids.
//
// Where top-p or min-p is the only cut, it ends among a few hundred ids as a rule (nucleus.cuh). Where it does not,
// the draw comes first and the cut after it: the winner among all ids is the answer if it survives, and whether it does
// is the mass of what is better than it. If it does not, nothing worse does, and the draw is repeated among what is
// better. The share of winners that survive is top-p itself.
//
// Rows of other orders, and those that a few tries do not answer, are left to the clusters (row.cu).

#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/sampling/nucleus.cuh"

namespace trireme::cuda {
namespace {

constexpr int kMinDirectRows = 34;  // below, clusters answer all rows at once
constexpr int kMaxDirectRows = 4096;
constexpr int kMaxTries = 4;  // draws of one row

__device__ bool only_lowers(const SampleRow& row) {
  return row.repetition_penalty >= 1.0f && row.presence_penalty >= 0.0f && row.frequency_penalty >= 0.0f;
}

__device__ bool is_listed(const SampleRow& row, int vocab_size) {
  return draws(row) && (is_greedy(row) || (has_top_k(row, vocab_size) && row.top_k <= kSampleCandidates));
}

// With penalties top-p would take two more passes over the counts: clusters have them in shared memory.
__device__ bool is_drawn(const SampleRow& row, int vocab_size) {
  return !has_top_k(row, vocab_size) && !has_typical_p(row) && !(has_top_p(row) && has_penalties(row));
}

__device__ bool is_direct(const SampleRow& row, int vocab_size) {
  if (is_score(row)) return true;
  if (!draws(row) || has_lists(row) || row.mask_row >= 0 || !only_lowers(row)) return false;
  return is_listed(row, vocab_size) || may_have_nucleus(row, vocab_size) || is_drawn(row, vocab_size);
}

// Score and greedy rows and rows of a small top-k.
__device__ bool answer_listed(const DirectJob& d) {
  const SampleShard& shard = d.job.shard;
  const SampleRow& row = d.shared.row;
  const SampleIndex& index = shard.index[d.r];
  const bool drawn = draws(row);
  const int for_z = !drawn ? 0 : index.candidates >= 0 ? kSampleCandidates : 1;
  const int for_tops = index.top >= 0 ? kMaxTopLogprobs : 0;
  const int wanted = d.row.counts ? max(2 * for_z, for_tops) : max(for_z, for_tops);
  const float least = wanted > 0 ? least_gathered(d.thread_best, d.raw_max, wanted) : infinity();
  SampleHead head = empty_head(d.raw_max);
  head.raw_mass = direct_masses<false>(d.shared, d.row, d.raw_max, 0, least).raw;
  if (d.shared.gathered > kGatherRoom) return false;
  list_tops(d);
  if (drawn) {
    if (process_gathered(d.shared, d.row, least) < for_z && least != kGathersAll) return false;
    const Word best = best_gathered(d.shared);
    head.z_max = key_float(key_of_pair(best));
    if (is_greedy(row)) head.best_id = id_of_pair(best), head.best_score = double(head.z_max);
    if (index.candidates >= 0)
      sort_gathered(d.job.candidates + int64_t(index.candidates) * kSampleCandidates, d.shared, kSampleCandidates);
  } else if (row.target >= 0 && row.target < d.row.n) {
    head.best_id = row.target;
  }
  if (head.best_id >= 0) head.best_raw = d.row.raw[head.best_id];
  put_head(d, head);
  resolve_row(shard, d.r, only_shard(d.job.heads), only_shard(d.job.tops), only_shard(d.job.candidates),
              d.shared.merged);
  return true;
}

// Draws until the winner survives top-p. id -1: not in kMaxTries.
__device__ int draw_until_kept(const DirectJob& d, SampleState& state, DrawWants& wants, SampleHead& head) {
  const SampleRow& row = d.shared.row;
  const NoiseKey noise = noise_key(row, d.job.shard);
  Word need = 0;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    if (threadIdx.x == 0) d.shared.bound = 0;
    __syncthreads();
    seed_bound(d.shared, d.row, state, noise, d.thread_best, d.raw_max);
    __syncthreads();
    const DrawFound found = direct_draw(d.shared, d.row, state, noise, wants);
    if (tries == 0) {
      head.raw_mass = found.raw_mass;
      if (has_top_p(row)) need = needed_mass(row.top_p, wants.z_mass ? found.z_mass : found.raw_mass);
      wants.raw_mass = wants.z_mass = false;
      wants.least = infinity();
    }
    const int id = found.best.id;
    if (id == INT32_MAX) return -1;
    head.best_score = key_score(found.best.key);
    if (!has_top_p(row)) return id;
    const float z = d.row.z(d.row.raw[id], id);
    if (direct_mass_before(d.row, state.z_max, z, id) < need) return id;
    state.cut_key = order_key(z);
    state.cut_id = id - 1;
  }
  return -1;
}

// Rows that draw among all ids, or among those of top-p and min-p.
__device__ bool answer_drawn(const DirectJob& d) {
  const SampleShard& shard = d.job.shard;
  const SampleRow& row = d.shared.row;
  SampleHead head = empty_head(d.raw_max);
  const bool cut = has_cut(row, shard.vocab_size), tops = shard.index[d.r].top >= 0;
  head.z_max = !cut ? d.raw_max : d.row.counts ? direct_z_max(d.row) : d.row.tempered_by_row(d.raw_max);
  SampleState state{};
  open_state(state, row, head.z_max);
  DrawWants wants{true, has_top_p(row) && d.row.temperature != 1.0f, d.raw_max, head.z_max,
                  tops ? least_gathered(d.thread_best, d.raw_max, kMaxTopLogprobs) : infinity()};
  const int id = draw_until_kept(d, state, wants, head);
  if (id < 0 || d.shared.gathered > kGatherRoom) return false;
  list_tops(d);
  head.best_id = id;
  head.best_raw = d.row.raw[id];
  put_head(d, head);
  resolve_head(shard, d.r, only_shard(d.job.heads));
  if (tops) fill_tops(shard, d.r, only_shard(d.job.tops), d.shared.merged);
  __syncthreads();
  answer_with(shard, d.r, id, head.best_raw);
  return true;
}

__device__ bool answer_somehow(const DirectJob& d) {
  const int vocab_size = d.job.shard.vocab_size;
  const SampleRow& row = d.shared.row;
  if (is_score(row) || is_listed(row, vocab_size)) return answer_listed(d);
  if (may_have_nucleus(row, vocab_size) && answer_nucleus(d)) return true;
  return is_drawn(row, vocab_size) && answer_drawn(d);
}

// false: the row is left to the clusters.
__device__ bool answer_direct(const RowJob& job, DirectShared& shared, int r) {
  const SampleShard& shard = job.shard;
  if (!is_direct(shared.row, shard.vocab_size)) return false;
  const DirectRow row(shard, r, shared.row);
  const float thread_best = direct_max(row);
  const bool bad = __syncthreads_or(!(thread_best < infinity())) != 0;
  const float raw_max = key_float(block_reduce<uint32_t>(bad ? 0 : order_key(thread_best), 0, Larger{}));
  if (bad || raw_max == -infinity()) return false;
  const DirectJob direct{job, shared, row, r, thread_best, raw_max};
  if (!answer_somehow(direct)) return false;
  __syncthreads();
  const int id = shard.answers[r].id;
  if (shard.index[r].rank >= 0 && id >= 0) {
    const int above = direct_count_above(row, shard.states[r].drawn_raw);
    if (threadIdx.x == 0) shard.answers[r].rank = 1 + above;
  }
  if (threadIdx.x == 0) job.ids[r] = draws(shared.row) ? id : -1;
  return true;
}

// Two blocks on a multiprocessor.
__global__ __launch_bounds__(kDirectThreads, 2) void direct_rows_kernel(const __grid_constant__ RowJob job,
                                                                        int32_t* answered) {
  __shared__ DirectShared shared;
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int r = int(blockIdx.x);
  if (threadIdx.x == 0) {
    shared.row = job.shard.rows[r];
    shared.gathered = 0;
  }
  __syncthreads();
  const bool done = answer_direct(job, shared, r);
  if (threadIdx.x == 0) answered[r] = done;
}

}  // namespace

const int32_t* answer_rows_directly(const RowJob& job, const Stream& stream) {
  const SampleShard& shard = job.shard;
  if (shard.num_rows < kMinDirectRows || shard.num_rows > kMaxDirectRows) return nullptr;
  if (shard.vocab_begin != 0 || shard.vocab_local != shard.vocab_size) return nullptr;
  auto* answered = static_cast<int32_t*>(workspace(WorkspaceUse::sample, kMaxDirectRows * sizeof(int32_t), stream));
  launch_dependent(direct_rows_kernel, dim3(grid_size(shard.num_rows)), dim3(kDirectThreads), 0, stream, job, answered);
  return answered;
}

}  // namespace trireme::cuda
