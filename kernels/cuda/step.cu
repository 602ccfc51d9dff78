#include "kernels/step.h"

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;
constexpr uint16_t kInPrompt = 0x8000, kDrawnMask = 0x7fff;

struct State {
  int32_t *length, *last_token;
  uint16_t* counts;  // null where this rank keeps none
  int64_t counts_stride, vocab_local, vocab_begin;
};

State state_of(const SlotState& state, int64_t vocab_begin) {
  State s{i32_data(state.length), i32_data(state.last_token), nullptr, 0, 0, vocab_begin};
  if (state.counts.empty()) return s;
  s.counts = state.counts.as<uint16_t>();
  s.counts_stride = state.counts.stride(0);
  s.vocab_local = state.counts.dim(1);
  return s;
}

// The count of `id` in the row of `slot`; null where the id belongs to another shard.
__device__ uint16_t* count_of(const State& state, int slot, int id) {
  const int64_t local = id - state.vocab_begin;
  if (!state.counts || local < 0 || local >= state.vocab_local) return nullptr;
  return state.counts + int64_t(slot) * state.counts_stride + local;
}

__device__ void count_draw(uint16_t* count) {
  auto* word = reinterpret_cast<unsigned short*>(count);
  unsigned short seen = *reinterpret_cast<volatile unsigned short*>(word);
  while ((seen & kDrawnMask) != kDrawnMask) {
    const unsigned short before = atomicCAS(word, seen, static_cast<unsigned short>(seen + 1));
    if (before == seen) return;
    seen = before;
  }
}

// One block per opened slot: zero the row, mark the prompt's ids where they count, then count the drawn ones.
__global__ void open_slots_kernel(State state, const int32_t* slots, const int32_t* prompt_lengths,
                                  const int32_t* ids_begin, const int32_t* ids, const int32_t* track_counts) {
  const int slot = slots[blockIdx.x], begin = ids_begin[blockIdx.x], total = ids_begin[blockIdx.x + 1] - begin;
  const int prompt_length = min(prompt_lengths[blockIdx.x], total);
  if (threadIdx.x == 0) {
    state.length[slot] = total;
    state.last_token[slot] = total > 0 ? ids[begin + total - 1] : 0;
  }
  if (!state.counts || !track_counts[blockIdx.x]) return;
  uint16_t* row = state.counts + int64_t(slot) * state.counts_stride;
  for (int64_t i = threadIdx.x; i < state.vocab_local; i += kThreads) row[i] = 0;
  __syncthreads();
  for (int i = int(threadIdx.x); i < prompt_length && track_counts[blockIdx.x] == 1; i += kThreads)
    if (uint16_t* count = count_of(state, slot, ids[begin + i])) *count = kInPrompt;
  __syncthreads();
  for (int i = prompt_length + int(threadIdx.x); i < total; i += kThreads)
    if (uint16_t* count = count_of(state, slot, ids[begin + i])) count_draw(count);
}

// Thread i copies column i of the counts for every pair in turn, so that pairs take effect in order.
__global__ void fork_slots_kernel(State state, const int32_t* pairs, int64_t num_pairs) {
  const int64_t column = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  for (int64_t i = 0; i < num_pairs; ++i) {
    const int source = pairs[2 * i], target = pairs[2 * i + 1];
    if (column < state.vocab_local)
      state.counts[target * state.counts_stride + column] = state.counts[source * state.counts_stride + column];
    if (column == 0) {
      state.length[target] = state.length[source];
      state.last_token[target] = state.last_token[source];
    }
  }
}

// A slot may appear more than once: its last token is that of the last of its draws.
__global__ void apply_draws_kernel(State state, const int32_t* slots, const int32_t* ids, int n) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int i = int(blockIdx.x) * kThreads + int(threadIdx.x);
  const int slot = i < n ? slots[i] : -1, id = i < n ? ids[i] : -1;
  bool last = true;
  __shared__ int drawn_slots[kThreads];  // of the draws from this block's own on, a piece at a time; -1: none drawn
  for (int begin = int(blockIdx.x) * kThreads; begin < n; begin += kThreads) {
    const int j = begin + int(threadIdx.x);
    drawn_slots[threadIdx.x] = j < n && ids[j] >= 0 ? slots[j] : -1;
    __syncthreads();
    for (int k = max(0, i + 1 - begin); k < min(kThreads, n - begin); ++k) last = last && drawn_slots[k] != slot;
    __syncthreads();
  }
  if (id < 0) return;
  if (last) state.last_token[slot] = id;
  atomicAdd(state.length + slot, 1);
  if (uint16_t* count = count_of(state, slot, id)) count_draw(count);
}

// An entry is updated at most once per call.
__global__ void update_block_table_kernel(int32_t* table, const int32_t* updates, int64_t n, int64_t stride) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) table[updates[3 * i] * stride + updates[3 * i + 1]] = updates[3 * i + 2];
}

// Thread i copies entry i for every fork in turn.
__global__ void fork_block_table_kernel(int32_t* table, const int32_t* forks, int64_t n, int64_t stride) {
  const int64_t entry = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  for (int64_t i = 0; i < n; ++i)
    if (entry < forks[3 * i + 2]) table[forks[3 * i + 1] * stride + entry] = table[forks[3 * i] * stride + entry];
}

__global__ void resolve_tokens_kernel(int32_t* ids, int32_t* positions, const int32_t* given_ids,
                                      const int32_t* given_positions, const int32_t* slots, State state, int64_t n) {
  const int64_t t = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (t >= n) return;
  const int id = given_ids[t], slot = slots[t];
  ids[t] = id == -1 ? state.last_token[slot] : id;
  positions[t] = id == -1 ? state.length[slot] - 1 : given_positions[t];
  __threadfence();  // attention reads positions where it only knows that these blocks have ended
}

unsigned blocks_for(int64_t threads) { return grid_size(ceil_div(threads, kThreads)); }

}  // namespace

void open_slots(const SlotState& state, TensorView slots, TensorView prompt_lengths, TensorView ids_begin,
                TensorView ids, TensorView track_counts, int64_t vocab_begin, const Stream& stream) {
  if (slots.empty()) return;
  open_slots_kernel<<<grid_size(slots.dim(0)), kThreads, 0, stream.get()>>>(
      state_of(state, vocab_begin), i32_data(slots), i32_data(prompt_lengths), i32_data(ids_begin), i32_data(ids),
      i32_data(track_counts));
  check_launch();
}

void fork_slots(const SlotState& state, TensorView pairs, const Stream& stream) {
  if (pairs.empty()) return;
  const State s = state_of(state, 0);
  fork_slots_kernel<<<blocks_for(s.vocab_local > 0 ? s.vocab_local : 1), kThreads, 0, stream.get()>>>(
      s, i32_data(pairs), pairs.dim(0));
  check_launch();
}

void apply_draws(const SlotState& state, TensorView slots, TensorView ids, int64_t vocab_begin, const Stream& stream) {
  if (slots.empty()) return;
  launch_dependent(apply_draws_kernel, dim3(blocks_for(slots.dim(0))), dim3(kThreads), 0, stream,
                   state_of(state, vocab_begin), i32_data(slots), i32_data(ids), int(slots.dim(0)));
}

void update_block_table(TensorView block_table, TensorView updates, const Stream& stream) {
  if (updates.empty()) return;
  update_block_table_kernel<<<blocks_for(updates.dim(0)), kThreads, 0, stream.get()>>>(
      i32_data(block_table), i32_data(updates), updates.dim(0), block_table.stride(0));
  check_launch();
}

void fork_block_table(TensorView block_table, TensorView forks, const Stream& stream) {
  if (forks.empty() || block_table.empty()) return;
  fork_block_table_kernel<<<blocks_for(block_table.dim(1)), kThreads, 0, stream.get()>>>(
      i32_data(block_table), i32_data(forks), forks.dim(0), block_table.stride(0));
  check_launch();
}

void resolve_tokens(TensorView ids, TensorView positions, TensorView given_ids, TensorView given_positions,
                    TensorView slots, const SlotState& state, const Stream& stream) {
  if (ids.empty()) return;
  resolve_tokens_kernel<<<blocks_for(ids.dim(0)), kThreads, 0, stream.get()>>>(
      i32_data(ids), i32_data(positions), i32_data(given_ids), i32_data(given_positions), i32_data(slots),
      state_of(state, 0), ids.dim(0));
  check_launch();
}

}  // namespace trireme::cuda
