// The first round's end over the peers' memory: what one shard knows of a row travels as messages (peer_messages.cuh),
// and whoever resolves the row waits for them. Heads and entries are whole payloads, so part and area have one
// numbering. As everywhere, all of a block's messages leave before it waits, and all blocks run at once.

#include <algorithm>

#include "kernels/cuda/common/peer_areas.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/sampling/merge.cuh"
#include "kernels/peer_gather.h"

namespace trireme::cuda {
namespace {

constexpr int kHeadPayloads = sizeof(SampleHead) / sizeof(Payload);
constexpr int kMessageBytes = sizeof(uint4);
constexpr int kLeastBlocks = 16;  // a prompt's sum before may leave a whole area to be zeroed
static_assert(sizeof(SampleHead) % sizeof(Payload) == 0 && sizeof(SampleEntry) == sizeof(Payload));

struct ResolveArgs : PeerAreas {
  SampleShard shard;
  int32_t* ids;
  const Payload* own;
  Payload* all;  // [size, payloads]
  int payloads;  // of a shard

  __device__ std::byte* place(int from, int to, uint32_t epoch, int payload) const {
    return area(to, epoch) + (int64_t(slot(from, to)) * payloads + payload) * kMessageBytes;
  }
  // The ranks but this one, by number.
  __device__ int other(int number) const { return number < rank ? number : number + 1; }
};

// What belongs to one row.
struct RowPayloads {
  int heads, tops, candidates;  // the first of each
  int num_tops, count;
  __device__ RowPayloads(const SampleShard& shard, int r) {
    const SampleIndex& index = shard.index[r];
    heads = r * kHeadPayloads;
    tops = shard.num_rows * kHeadPayloads + index.top * kMaxTopLogprobs;
    candidates =
        shard.num_rows * kHeadPayloads + shard.num_top * kMaxTopLogprobs + index.candidates * kSampleCandidates;
    num_tops = index.top >= 0 ? kMaxTopLogprobs : 0;
    count = kHeadPayloads + num_tops + (index.candidates >= 0 ? kSampleCandidates : 0);
  }
  __device__ int at(int i) const {
    if (i < kHeadPayloads) return heads + i;
    i -= kHeadPayloads;
    return i < num_tops ? tops + i : candidates + i - num_tops;
  }
};

// Rows with lists: a block takes rows blockIdx.x, blockIdx.x + gridDim.x, ...
__global__ __launch_bounds__(kMergeThreads, 2) void resolve_lists_kernel(const __grid_constant__ ResolveArgs args) {
  __shared__ Merged merged;
  let_next_kernel_start();
  wait_for_previous_kernel();
  const PeerCall call(args);
  const SampleShard& shard = args.shard;
  const int others = args.size - 1, step = int(gridDim.x);
  for (int r = int(blockIdx.x); r < shard.num_rows; r += step) {
    const RowPayloads row(shard, r);
    for (int e = int(threadIdx.x); e < row.count * others; e += kMergeThreads) {
      const int to = args.other(e / row.count), payload = row.at(e % row.count);
      send(args.place(args.rank, to, call.epoch, payload), as_message(args.own[payload]));
    }
    for (int i = int(threadIdx.x); i < row.count; i += kMergeThreads)
      args.all[int64_t(args.rank) * args.payloads + row.at(i)] = args.own[row.at(i)];
  }
  clear_previous(args, call);
  const int64_t bytes = args.payloads * int64_t(sizeof(Payload));
  const auto gathered = [&](int payload) { return Gathered{reinterpret_cast<const char*>(args.all + payload), bytes}; };
  const int tops = shard.num_rows * kHeadPayloads, candidates = tops + shard.num_top * kMaxTopLogprobs;
  for (int r = int(blockIdx.x); r < shard.num_rows; r += step) {
    const RowPayloads row(shard, r);
    for (int e = int(threadIdx.x); e < row.count * others; e += kMergeThreads) {
      const int from = args.other(e / row.count), payload = row.at(e % row.count);
      args.all[int64_t(from) * args.payloads + payload] =
          receive(args, call, args.place(from, args.rank, call.epoch, payload), from);
    }
    __syncthreads();
    resolve_row(shard, r, gathered(0), gathered(tops), gathered(candidates), merged);
    if (threadIdx.x == 0) args.ids[r] = draws(shard.rows[r]) ? shard.answers[r].id : -1;
    __syncthreads();
  }
  end_call(args, call);
}

constexpr int kHeadWarps = 16;
constexpr int kLanes = 32;
static_assert((kMaxPeers - 1) * kHeadPayloads + kHeadPayloads <= kLanes);

// heads: of all shards. All lanes of a warp; the bits of resolve_by_head.
__device__ void resolve_by_warp(const ResolveArgs& args, int r, const SampleHead* heads, int lane) {
  const SampleShard& shard = args.shard;
  const SampleHead head =
      join_best(shard.num_shards, 0, {reinterpret_cast<const char*>(heads), int64_t(sizeof(SampleHead))});
  const double own = lane < shard.num_shards ? mass_below_joined(heads[lane], head.raw_max) : 0.0;
  double mass = 0;
  for (int s = 0; s < shard.num_shards; ++s) mass += __shfl_sync(~0u, own, s);
  auto* const words = reinterpret_cast<uint32_t*>(shard.answers + r);
  for (int i = lane; i < int(sizeof(SampleAnswer) / sizeof(uint32_t)); i += kLanes) words[i] = 0;
  __syncwarp();
  if (lane != 0) return;
  SampleState state{};
  state.raw_max = head.raw_max;
  state.log_sum = joined_log_sum(mass);
  shard.states[r] = state;
  shard.answers[r].id = -1;
  shard.answers[r].non_finite = head.non_finite;
  if (!head.non_finite) set_answer(shard, r, head.best_id, head.best_raw);
  args.ids[r] = draws(shard.rows[r]) ? shard.answers[r].id : -1;
}

// Rows without lists: a warp each. Four lanes have to do with each of the other ranks, the last four with this one.
__global__ __launch_bounds__(kHeadWarps* kLanes) void resolve_heads_kernel(const __grid_constant__ ResolveArgs args) {
  __shared__ SampleHead heads[kHeadWarps][kMaxPeers];
  let_next_kernel_start();
  wait_for_previous_kernel();
  const PeerCall call(args);
  const int lane = int(threadIdx.x) % kLanes, warp = int(threadIdx.x) / kLanes;
  const int number = lane / kHeadPayloads, part = lane % kHeadPayloads;
  const bool has_peer = number < args.size - 1, is_own = number == kLanes / kHeadPayloads - 1;
  const int peer = args.other(number), rows = args.shard.num_rows;
  const int first = int(blockIdx.x) + warp * int(gridDim.x), step = kHeadWarps * int(gridDim.x);
  for (int r = first; r < rows && has_peer; r += step) {
    const int payload = r * kHeadPayloads + part;
    send(args.place(args.rank, peer, call.epoch, payload), as_message(args.own[payload]));
  }
  clear_previous(args, call);
  for (int r = first; r < rows; r += step) {
    const int payload = r * kHeadPayloads + part;
    auto* const to = reinterpret_cast<Payload*>(&heads[warp][has_peer ? peer : args.rank]) + part;
    if (has_peer)
      *to = receive(args, call, args.place(peer, args.rank, call.epoch, payload), peer);
    else if (is_own)
      *to = args.own[payload];
    __syncwarp();
    resolve_by_warp(args, r, heads[warp], lane);
    __syncwarp();
  }
  end_call(args, call);
}

}  // namespace

void sample_resolve_with_peers(int32_t* ids, char* all, const char* parts, const SampleShard& shard,
                               const PeerBuffers& peers, const Stream& stream) {
  ResolveArgs args{};
  args.shard = shard;
  args.ids = ids;
  args.own = reinterpret_cast<const Payload*>(parts);
  args.all = reinterpret_cast<Payload*>(all);
  args.payloads = int(FirstRoundLayout(shard).bytes / int64_t(sizeof(Payload)));
  set_areas(args, peers, int64_t(peers.size - 1) * args.payloads * kMessageBytes);
  const bool lists = shard.num_top > 0 || shard.num_candidates > 0;
  const int most = blocks_at_once(peers, multiprocessor_count(stream.device()), lists);
  const dim3 grid(grid_size(std::min(std::max(shard.num_rows, kLeastBlocks), most)));
  if (lists)
    launch_dependent(resolve_lists_kernel, grid, dim3(kMergeThreads), 0, stream, args);
  else
    launch_dependent(resolve_heads_kernel, grid, dim3(kHeadWarps * kLanes), 0, stream, args);
}

}  // namespace trireme::cuda
