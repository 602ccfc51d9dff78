// Rows that want nothing but their greatest logit and its log-probability: one pass over them, several blocks to a row
// where there are few rows.

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/sample.h"
#include "kernels/sample_rows.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / kWarpSize;
constexpr int kMaxParts = 16;           // blocks of a row
constexpr int kMinPartIds = 4096;       // below, a further block is not worth its start
constexpr int64_t kMaxPartRows = 4096;  // rows times parts where there are several
constexpr float kLog2e = 1.44269504f;

// Of some ids: the greatest logit, the lowest id that has it, and the sum of exp(logit - greatest).
struct GreedyPart {
  float maximum = -INFINITY, sum = 0;
  int id = INT32_MAX;
  int bad = 0;  // a NaN or +inf
};

__device__ inline GreedyPart joined(const GreedyPart& a, const GreedyPart& b) {
  GreedyPart both;
  both.maximum = fmaxf(a.maximum, b.maximum);
  both.bad = a.bad | b.bad;
  both.id = a.maximum > b.maximum ? a.id : b.maximum > a.maximum ? b.id : min(a.id, b.id);
  const auto weight = [&](const GreedyPart& part) {
    return part.maximum == -INFINITY ? 0.0f : part.sum * exp2_fast((part.maximum - both.maximum) * kLog2e);
  };
  both.sum = weight(a) + weight(b);
  return both;
}

__device__ inline void add(GreedyPart& part, float value, int id) {
  part.bad |= !(value < INFINITY);
  if (value > part.maximum) {
    part.sum *= exp2_fast((part.maximum - value) * kLog2e);  // 0 at first
    part.maximum = value, part.id = id;
  }
  if (value > -INFINITY) part.sum += exp2_fast((value - part.maximum) * kLog2e);
}

__device__ inline GreedyPart from_lane(const GreedyPart& part, int distance) {
  GreedyPart other;
  other.maximum = __shfl_down_sync(~0u, part.maximum, distance);
  other.sum = __shfl_down_sync(~0u, part.sum, distance);
  other.id = __shfl_down_sync(~0u, part.id, distance);
  other.bad = __shfl_down_sync(~0u, part.bad, distance);
  return other;
}

// Thread 0 gets the block's.
__device__ inline GreedyPart block_part(GreedyPart part) {
  __shared__ GreedyPart parts[kWarps];
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) part = joined(part, from_lane(part, distance));
  if (lane == 0) parts[warp] = part;
  __syncthreads();
  part = lane < kWarps ? parts[lane] : GreedyPart{};
  for (int distance = kWarps / 2; distance > 0; distance /= 2) part = joined(part, from_lane(part, distance));
  return part;
}

__device__ inline GreedyPart thread_part(const float* row, int begin, int end, bool wide) {
  GreedyPart part;
  if (!wide) {
    for (int i = begin + int(threadIdx.x); i < end; i += kThreads) add(part, __ldcs(row + i), i);
    return part;
  }
#pragma unroll 4
  for (int i = begin + 4 * int(threadIdx.x); i < end; i += 4 * kThreads) {
    const float4 v = __ldcs(reinterpret_cast<const float4*>(row + i));
    add(part, v.x, i), add(part, v.y, i + 1), add(part, v.z, i + 2), add(part, v.w, i + 3);
  }
  return part;
}

__device__ inline void answer(const SampleShard& shard, int32_t* ids, int r, const GreedyPart& part) {
  SampleState state{};
  state.raw_max = state.z_max = state.drawn_raw = part.maximum;
  SampleAnswer& answer = shard.answers[r];
  answer.candidate_count = answer.top_count = 0;
  answer.non_finite = part.bad ? 1 : 0;
  const bool found = !part.bad && part.id != INT32_MAX;
  answer.id = ids[r] = found ? shard.vocab_begin + part.id : -1;
  if (found) state.log_sum = log(double(part.sum));
  answer.logprob = found ? float(-state.log_sum) : 0.0f;
  answer.rank = found && has_rank(shard.rows[r]) ? 1 : 0;
  shard.states[r] = state;
}

// What other shards need to know of this one's.
__device__ inline void put_head(SampleHead& head, const SampleShard& shard, const GreedyPart& part) {
  const bool found = !part.bad && part.id != INT32_MAX;
  head = SampleHead{};
  head.raw_max = head.z_max = head.best_raw = found ? part.maximum : -INFINITY;
  head.best_id = found ? shard.vocab_begin + part.id : -1;
  head.best_score = double(head.z_max);
  head.raw_mass = found ? uint64_t(double(part.sum) * 0x1p45) : 0;
  head.non_finite = part.bad ? 1 : 0;
}

struct GreedyJob {
  SampleShard shard;
  int32_t* ids;       // of the only shard
  SampleHead* heads;  // else
  int part_ids;
  bool wide;
  GreedyPart* parts;  // [rows, parts]
  unsigned* arrivals;

  __device__ void put(int r, const GreedyPart& part) const {
    if (heads)
      put_head(heads[r], shard, part);
    else
      answer(shard, ids, r, part);
  }
};

// Blocks: [rows, parts]. The last block of a row to come joins its parts in order.
__global__ __launch_bounds__(kThreads) void greedy_rows_kernel(const __grid_constant__ GreedyJob job) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const SampleShard& shard = job.shard;
  const int r = int(blockIdx.y), parts = int(gridDim.x), begin = int(blockIdx.x) * job.part_ids;
  const GreedyPart own = block_part(thread_part(shard.logits + int64_t(r) * shard.logits_stride, begin,
                                                min(begin + job.part_ids, shard.vocab_local), job.wide));
  if (threadIdx.x != 0) return;
  if (parts == 1) return job.put(r, own);
  GreedyPart* row_parts = job.parts + int64_t(r) * parts;
  row_parts[blockIdx.x] = own;
  __threadfence();
  if (atomicInc(job.arrivals + r, unsigned(parts - 1)) != unsigned(parts - 1)) return;
  __threadfence();
  GreedyPart total;
  for (int p = 0; p < parts; ++p) {
    const float4 bits = __ldcg(reinterpret_cast<const float4*>(row_parts + p));
    total = joined(total, {bits.x, bits.y, __float_as_int(bits.z), __float_as_int(bits.w)});
  }
  job.put(r, total);
}
static_assert(sizeof(GreedyPart) == sizeof(float4));

void launch(const SampleShard& shard, int32_t* ids, SampleHead* heads, const Stream& stream) {
  const int64_t processors = multiprocessor_count(shard.device);
  int64_t parts = std::clamp<int64_t>(4 * processors / shard.num_rows, 1, kMaxParts);
  parts = std::min<int64_t>(parts, ceil_div(shard.vocab_local, kMinPartIds));
  if (parts * shard.num_rows > kMaxPartRows) parts = 1;
  const int part_ids = int(ceil_div(ceil_div(shard.vocab_local, parts), 4) * 4);
  const bool wide = shard.vocab_local % 4 == 0 && shard.logits_stride % 4 == 0 && is_aligned(shard.logits, 16);
  auto* memory = static_cast<char*>(workspace(
      WorkspaceUse::greedy, size_t(kMaxPartRows) * (sizeof(GreedyPart) + sizeof(unsigned)), stream));
  const GreedyJob job{shard, ids, heads, part_ids, wide, reinterpret_cast<GreedyPart*>(memory),
                      reinterpret_cast<unsigned*>(memory + size_t(kMaxPartRows) * sizeof(GreedyPart))};
  const dim3 grid(unsigned(ceil_div(shard.vocab_local, part_ids)), grid_size(shard.num_rows, kMaxGridY));
  launch_dependent(greedy_rows_kernel, grid, dim3(kThreads), 0, stream, job);
}

}  // namespace

void sample_greedy_rows(int32_t* ids, const SampleShard& shard, const Stream& stream) {
  launch(shard, ids, nullptr, stream);
}

void sample_greedy_heads(SampleHead* heads, const SampleShard& shard, const Stream& stream) {
  launch(shard, nullptr, heads, stream);
}

}  // namespace trireme::cuda
