// A block takes rows blockIdx.x, blockIdx.x + gridDim.x, ...; thread t of it vectors t, t + blockDim.x, ... of each.
// A block sends all its rows before it waits for any, and all blocks run at once (blocks_at_once), so ranks
// cannot wait in a circle. Blocks need not match between ranks: data is its own signal.

#include "kernels/fused_all_reduce.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/peer_areas.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/reduce.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/common/workspace.h"

namespace trireme::cuda {
namespace {

constexpr int kMaxThreads = 512;  // leaves half of a processor's registers to whoever is there already
constexpr int kWidth = 8;         // bf16 of a 16-byte vector
constexpr int kMaxVectors = 4;    // of a row, by thread

struct Args : PeerAreas {
  uint64_t inverse;         // of size - 1: p / (size - 1) = p * inverse / 2^32
  bf16* out;                // hidden or data
  const bf16 *base, *bias;  // added to the sum; may be null
  const bf16* partial;
  const float* weight;  // null: no norm
  bf16* normed;
  float eps;
  int rows, cols, owned_rows;  // owned_rows: of a rank at most (two_shot)
  int64_t out_stride, partial_stride, normed_stride;

  __device__ int64_t place(int64_t row, int vector) const {
    return (row * cols + vector * kWidth) * int64_t(sizeof(bf16));
  }
  // Behind the partials of owned rows: the results of all rows.
  __device__ int64_t result_place(int row, int vector) const {
    return place(int64_t(size - 1) * owned_rows + row, vector);
  }
  __device__ uint4 own_partial(int row, int vector) const {
    return as_message(*reinterpret_cast<const uint4*>(partial + row * partial_stride + vector * kWidth));
  }
};

template <typename Body>  // body(k, vector) for this thread's vectors
__device__ void for_each_vector(const Args& args, int max_vectors, Body body) {
#pragma unroll
  for (int k = 0; k < kMaxVectors; ++k) {
    const int vector = int(threadIdx.x) + k * int(blockDim.x);
    if (k < max_vectors && vector * kWidth < args.cols) body(k, vector);
  }
}

// The norm's weights of this thread's vectors, fetched while the kernel before still runs.
template <int kVectors>
struct Weights {
  float values[kVectors][kWidth];
  __device__ explicit Weights(const Args& args) {
    for (int k = 0; k < kVectors; ++k) {
      const int vector = int(threadIdx.x) + k * int(blockDim.x);
      if (args.weight && vector * kWidth < args.cols) load(args.weight + vector * kWidth, values[k]);
    }
  }
  __device__ void get(const Args&, int k, int, float (&of_vector)[kWidth]) const {
    for (int i = 0; i < kWidth; ++i) of_vector[i] = values[k][i];
  }
};

// The same, fetched when they are wanted.
struct LateWeights {
  __device__ explicit LateWeights(const Args&) {}
  __device__ void get(const Args& args, int, int vector, float (&of_vector)[kWidth]) const {
    load(args.weight + vector * kWidth, of_vector);
  }
};

// What a thread reads when the kernel before has ended, all at once: the call, and the first row's partials.
template <int kVectors>
struct Start {
  int first;
  uint4 first_row[kVectors];
  PeerCall call;
  // row: the first of this block; there may be none of that number.
  __device__ Start(const Args& args, int row) : first(row), call(args) {
    for (int k = 0; k < kVectors; ++k) {
      const int vector = int(threadIdx.x) + k * int(blockDim.x);
      if (row < args.rows && vector * kWidth < args.cols) first_row[k] = args.own_partial(row, vector);
    }
  }
  __device__ uint4 own_partial(const Args& args, int row, int k, int vector) const {
    return row == first ? first_row[k] : args.own_partial(row, vector);
  }
};

struct LateStart {
  PeerCall call;
  __device__ LateStart(const Args& args, int) : call(args) {}
  __device__ uint4 own_partial(const Args& args, int row, int, int vector) const {
    return args.own_partial(row, vector);
  }
};

// All ranks' partials of one vector: from the slots in `area`, `at` bytes into each, and this rank's own.
template <int kRanks>
__device__ void receive_partials(const Args& args, const std::byte* area, int64_t slot_bytes, int64_t at,
                                 uint4 (&partials)[kRanks]) {
  Patience patience;
  for (int missing = 0; missing >= 0;) {
    for (int r = 0; r < kRanks; ++r)
      if (r < args.size && r != args.rank) partials[r] = peek(area + args.slot(r, args.rank) * slot_bytes + at);
    missing = -1;
    for (int r = 0; r < kRanks; ++r)
      if (r < args.size && r != args.rank && !has_come(partials[r])) missing = r;
    if (missing >= 0 && !patience.lasts(args.state, args.status, args.timeout_ns, missing)) return;
  }
}

// base + sum over ranks (+ bias) as it is stored.   mine: this rank's partials; slots as receive_partials.
template <int kRanks>
__device__ uint4 sum_vector(const Args& args, int row, int vector, const uint4& mine, const std::byte* area,
                            int64_t slot_bytes, int64_t at) {
  uint4 base{}, partials[kRanks] = {};
  if (args.base) base = *reinterpret_cast<const uint4*>(args.base + row * args.out_stride + vector * kWidth);
  for (int r = 0; r < kRanks; ++r)
    if (r == args.rank) partials[r] = mine;
  receive_partials<kRanks>(args, area, slot_bytes, at, partials);
  float sum[kWidth] = {}, terms[kWidth];
  for (int r = 0; r < kRanks; ++r) {
    if (r >= args.size) break;
    unpack(partials[r], terms);
    for (int i = 0; i < kWidth; ++i) sum[i] += terms[i];
  }
  if (args.base) {
    unpack(base, terms);
    for (int i = 0; i < kWidth; ++i) sum[i] += terms[i];
  }
  if (args.bias) {
    load(args.bias + vector * kWidth, terms);
    for (int i = 0; i < kWidth; ++i) sum[i] += terms[i];
  }
  return from_message(pack(sum));  // in both forms alike
}

// normed = row / sqrt(mean(row^2) + eps) * weight, of the row as it was stored. All threads of the block.
template <int kVectors, typename NormWeights>
__device__ void norm_row(const Args& args, int row, const uint4 (&stored)[kVectors], const NormWeights& weights,
                         float* partials) {
  if (!args.weight) return;
  float values[kWidth], of_vector[kWidth], squares = 0;
  for (int k = 0; k < kVectors; ++k) {
    unpack(stored[k], values);
    for (int i = 0; i < kWidth; ++i) squares += values[i] * values[i];
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, partials) / float(args.cols) + args.eps);
  for (int k = 0; k < kVectors; ++k) {
    const int vector = int(threadIdx.x) + k * int(blockDim.x);
    if (vector * kWidth >= args.cols) break;
    unpack(stored[k], values);
    weights.get(args, k, vector, of_vector);
    for (int i = 0; i < kWidth; ++i) values[i] *= scale * of_vector[i];
    store(args.normed + row * args.normed_stride + vector * kWidth, values);
  }
}

// out = the row's sums, by receive(k, vector) for this thread's vectors; then the norm of it.
template <int kVectors, typename NormWeights, typename Receive>
__device__ void finish_row(const Args& args, int row, const NormWeights& weights, float* block_partials,
                           Receive receive) {
  uint4 stored[kVectors] = {};
  for_each_vector(args, kVectors, [&](int k, int vector) {
    stored[k] = receive(k, vector);
    *reinterpret_cast<uint4*>(args.out + row * args.out_stride + vector * kWidth) = stored[k];
  });
  norm_row(args, row, stored, weights, block_partials);
}

template <int kRanks, int kVectors>
__global__ __launch_bounds__(kMaxThreads) void all_reduce_one_shot_kernel(const __grid_constant__ Args args) {
  __shared__ float block_partials[kWarpSize];
  let_next_kernel_start();
  const Weights<kVectors> weights(args);
  wait_for_previous_kernel();
  const Start<kVectors> start(args, int(blockIdx.x));
  const uint32_t epoch = start.call.epoch;
  const int64_t slot_bytes = args.place(args.rows, 0);
  for (int row = int(blockIdx.x); row < args.rows; row += int(gridDim.x))
    for_each_vector(args, kVectors, [&](int k, int vector) {
      const uint4 mine = start.own_partial(args, row, k, vector);
      for (int r = 0; r < kRanks; ++r)
        if (r < args.size && r != args.rank)
          send(args.area(r, epoch) + args.slot(args.rank, r) * slot_bytes + args.place(row, vector), mine);
    });
  clear_previous(args, start.call);
  const std::byte* const area = args.area(args.rank, epoch);
  for (int row = int(blockIdx.x); row < args.rows; row += int(gridDim.x)) {
    finish_row<kVectors>(args, row, weights, block_partials, [&](int k, int vector) {
      return sum_vector<kRanks>(args, row, vector, start.own_partial(args, row, k, vector), area, slot_bytes,
                                args.place(row, vector));
    });
  }
  end_call(args, start.call);
}

// Two shots go through positions: first the rows of others, neighbouring ones of different ranks, so that at no time
// all ranks write to the same one; then this rank's own. Row r belongs to rank r % size.
struct Position {
  int owner, local;  // the owner's row of that number
  int row;           // may lie behind the last
  __device__ Position(const Args& args, int position) {
    const int others = args.size - 1, foreign = others * args.owned_rows;
    const int quotient = int((uint64_t(position) * args.inverse) >> 32);
    const int ring = args.rank + 1 + position - quotient * others;
    owner = position >= foreign ? args.rank : ring < args.size ? ring : ring - args.size;
    local = position >= foreign ? position - foreign : quotient;
    row = local * args.size + owner;
  }
};

// An owner's sum of one vector, sent to all others.
template <int kRanks>
__device__ uint4 reduce_owned(const Args& args, uint32_t epoch, const Position& at, int vector, const uint4& mine) {
  const uint4 sum = sum_vector<kRanks>(args, at.row, vector, mine, args.area(args.rank, epoch),
                                       args.place(args.owned_rows, 0), args.place(at.local, vector));
  const uint4 message = as_message(sum);
  for (int r = 0; r < kRanks; ++r)
    if (r < args.size && r != args.rank) send(args.area(r, epoch) + args.result_place(at.row, vector), message);
  return sum;
}

__device__ uint4 receive_result(const Args& args, const std::byte* from, int owner) {
  Patience patience;
  uint4 result = peek(from);
  while (!has_come(result) && patience.lasts(args.state, args.status, args.timeout_ns, owner)) result = peek(from);
  return from_message(result);
}

template <int kRanks, int kVectors, typename NormWeights, typename BlockStart>
__device__ void all_reduce_in_two_shots(const Args& args) {
  __shared__ float block_partials[kWarpSize];
  let_next_kernel_start();
  const NormWeights weights(args);
  const int foreign = (args.size - 1) * args.owned_rows, all = args.size * args.owned_rows;
  const Position first(args, int(blockIdx.x));
  wait_for_previous_kernel();
  const BlockStart start(args, first.row);
  const uint32_t epoch = start.call.epoch;
  int i = int(blockIdx.x);
  for (; i < foreign; i += int(gridDim.x)) {
    const Position at(args, i);
    if (at.row >= args.rows) continue;
    std::byte* const slot =
        args.area(at.owner, epoch) + args.slot(args.rank, at.owner) * args.place(args.owned_rows, 0);
    for_each_vector(args, kVectors, [&](int k, int vector) {
      send(slot + args.place(at.local, vector), start.own_partial(args, at.row, k, vector));
    });
  }
  clear_previous(args, start.call);
  bool owned = i < all;  // first this rank's rows: others wait for them
  if (!owned) i = int(blockIdx.x);
  while (owned || i < foreign) {
    if (const Position at(args, i); at.row < args.rows)
      finish_row<kVectors>(args, at.row, weights, block_partials, [&](int k, int vector) {
        return owned ? reduce_owned<kRanks>(args, epoch, at, vector, start.own_partial(args, at.row, k, vector))
                     : receive_result(args, args.area(args.rank, epoch) + args.result_place(at.row, vector), at.owner);
      });
    i += int(gridDim.x);
    if (owned && i >= all) owned = false, i = int(blockIdx.x);
  }
  end_call(args, start.call);
}

template <int kRanks, int kVectors>
__global__ __launch_bounds__(kMaxThreads) void all_reduce_two_shot_kernel(const __grid_constant__ Args args) {
  all_reduce_in_two_shots<kRanks, kVectors, Weights<kVectors>, Start<kVectors>>(args);
}

// Two blocks on a processor, so nothing is held in registers that can be fetched again.
template <int kRanks, int kVectors>
__global__ __launch_bounds__(kMaxThreads, 2) void all_reduce_dense_kernel(const __grid_constant__ Args args) {
  all_reduce_in_two_shots<kRanks, kVectors, LateWeights, LateStart>(args);
}

using Kernel = void (*)(Args);

template <int kRanks>
Kernel kernel_of(AllReduceForm form, int vectors) {
  const auto pick = [&](auto count) -> Kernel {
    constexpr int kVectors = count();
    if (form == AllReduceForm::one_shot) return all_reduce_one_shot_kernel<kRanks, kVectors>;
    return form == AllReduceForm::two_shot ? all_reduce_two_shot_kernel<kRanks, kVectors>
                                           : all_reduce_dense_kernel<kRanks, kVectors>;
  };
  if (vectors == 1) return pick(std::integral_constant<int, 1>{});
  if (vectors == 2) return pick(std::integral_constant<int, 2>{});
  return pick(std::integral_constant<int, kMaxVectors>{});
}

Kernel kernel_of(AllReduceForm form, int vectors, int ranks) {
  if (ranks <= 2) return kernel_of<2>(form, vectors);
  return ranks <= 4 ? kernel_of<4>(form, vectors) : kernel_of<8>(form, vectors);
}

int64_t owned_rows(int64_t rows, int size) { return ceil_div(rows, size); }

int64_t used_bytes(AllReduceForm form, int64_t rows, int64_t cols, int size) {
  const int64_t row_bytes = cols * int64_t(sizeof(bf16));
  if (form == AllReduceForm::one_shot) return (size - 1) * rows * row_bytes;
  return ((size - 1) * owned_rows(rows, size) + rows) * row_bytes;
}

void launch(Args args, const PeerSum& sum, const Stream& stream) {
  const PeerBuffers& peers = sum.buffers;
  set_areas(args, peers, used_bytes(sum.form, args.rows, args.cols, peers.size));
  args.inverse = (uint64_t(1) << 32) / uint64_t(peers.size - 1) + 1;
  args.owned_rows = int(owned_rows(args.rows, peers.size));
  const int64_t row_vectors = args.cols / kWidth, least = ceil_div(row_vectors, kMaxThreads);
  const int vectors = least <= 2 ? int(least) : kMaxVectors;
  const auto threads = unsigned(ceil_div(ceil_div(row_vectors, vectors), kWarpSize) * kWarpSize);
  const int processors = multiprocessor_count(stream.device());
  const int positions = sum.form == AllReduceForm::one_shot ? args.rows : args.owned_rows * args.size;
  const bool dense = sum.form == AllReduceForm::two_shot_dense;
  const unsigned grid = grid_size(std::min(positions, blocks_at_once(peers, processors, dense)));
  launch_dependent(kernel_of(sum.form, vectors, peers.size), dim3(grid), dim3(threads), 0, stream, args);
}

}  // namespace

int64_t all_reduce_rows(const PeerSum& sum, int64_t cols) {
  const int size = sum.buffers.size;
  if (size < 2 || size > kMaxPeers || cols % kWidth != 0 || cols > kMaxThreads * kWidth * kMaxVectors) return 0;
  const int64_t area_rows = sum.buffers.area_bytes / (cols * int64_t(sizeof(bf16)));
  if (sum.form == AllReduceForm::one_shot) return area_rows / (size - 1);
  return area_rows / (2 * size - 1) * size;  // an owned row: partials of the others, and the results of all owners
}

void fused_all_reduce(TensorView normed, TensorView hidden, TensorView partial, TensorView bias, const InputNorm& norm,
                      const PeerSum& sum, const Stream& stream) {
  const int64_t cols = hidden.dim(1);
  const bool has_norm = !norm.weight.empty();
  Args args{};
  args.out = bf16_data(hidden), args.base = args.out;
  args.partial = bf16_data(partial);
  args.bias = bias.empty() ? nullptr : bf16_data(bias);
  args.weight = has_norm ? f32_data(norm.weight) : nullptr;
  args.normed = has_norm ? bf16_data(normed) : nullptr;
  args.eps = norm.eps;
  args.rows = int(hidden.dim(0)), args.cols = int(cols);
  args.out_stride = hidden.stride(0), args.partial_stride = partial.stride(0);
  args.normed_stride = has_norm ? normed.stride(0) : 0;
  CHECK(rows_are_wide(hidden, cols) && rows_are_wide(partial, cols) && (!has_norm || rows_are_wide(normed, cols)) &&
        is_aligned(args.bias, 16) && is_aligned(args.weight, 16))
      << "fused_all_reduce: rows of" << hidden.shape_text() << "are not aligned to 16 bytes";
  launch(args, sum, stream);
}

void peer_all_reduce(TensorView data, const PeerSum& sum, const Stream& stream) {
  Args args{};
  args.out = bf16_data(data), args.partial = args.out;
  args.rows = int(data.dim(0)), args.cols = int(data.dim(1));
  args.out_stride = args.partial_stride = data.stride(0);
  CHECK(rows_are_wide(data, data.dim(1)))
      << "peer_all_reduce: rows of" << data.shape_text() << "are not aligned to 16 bytes";
  launch(args, sum, stream);
}

}  // namespace trireme::cuda
