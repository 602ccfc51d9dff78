// EXPERIMENT: how fast the decode kernel's pattern of addresses can be read, by kind of copy, depth and order.
#include <cmath>
#include <string>
#include <vector>

#include "base/backend_traits.h"
#include "benchmarks/gpu/timing.h"
#include "kernels/bandwidth.h"
#include "kernels/cuda/common/bulk_copy.cuh"
#include "kernels/cuda/common/launch.cuh"

namespace trireme::bench {
namespace {
using namespace trireme::cuda;

constexpr int kUnitBytes = 4096, kHeads = 8;

struct Args {
  const char* kv;
  const int32_t* table;
  int max_blocks, splits, blocks_a_split, lockstep;
  uint32_t* sink;
};

#if __CUDA_ARCH__ >= 900
template <int kCopy>
__device__ void copy_unit(uint32_t to, const char* from, uint32_t barrier, uint64_t policy, int lane) {
  if constexpr (kCopy >= 3 && kCopy <= 4) {
    if (lane == 0) {
      arrive_expecting(barrier, kUnitBytes);
      if (kCopy == 3)
        bulk_copy(to, from, kUnitBytes, barrier);
      else
        bulk_copy(to, from, kUnitBytes, barrier, policy);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t s = to + (i * 32 + lane) * 16;
      const char* g = from + (i * 32 + lane) * 16;
      if constexpr (kCopy == 0)
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(s), "l"(g) : "memory");
      else if constexpr (kCopy == 1)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(s), "l"(g) : "memory");
      else if constexpr (kCopy == 2)
        asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(s), "l"(g), "l"(policy) : "memory");
      else
        asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(s), "l"(g) : "memory");
    }
    end_copy_group();
  }
}

#endif

template <int kCopy, int kUnits>
__global__ __launch_bounds__(128) void read_pattern_kernel(const Args args) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ __align__(8) uint64_t barriers[4 * kUnits];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int heads = args.lockstep ? kHeads / 4 : kHeads;
  const int item = blockIdx.x / heads, group = blockIdx.x % heads;
  const int row = item / args.splits, split = item % args.splits;
  const int head = args.lockstep ? group * 4 + warp : group;
  const int first = args.lockstep ? 0 : warp, step = args.lockstep ? 1 : 4;
  const int32_t* table = args.table + row * args.max_blocks + split * args.blocks_a_split;
  const uint32_t ring = shared_address(memory) + warp * kUnits * kUnitBytes;
  const uint32_t bars = shared_address(barriers) + warp * kUnits * 8;
  const uint64_t policy = evict_first_policy();
  if (lane == 0)
    for (int u = 0; u < kUnits; ++u) init_barrier(bars + u * 8, 1);
  publish_barriers();
  __syncwarp();
  const int runs = args.blocks_a_split;
  int asked = first, part = 0, slot = 0;
  int32_t block = first < runs ? table[first] : 0, next = first + step < runs ? table[first + step] : 0;
  const auto ask = [&](int to) {
    if (asked < runs)
      copy_unit<kCopy>(ring + to * kUnitBytes,
                       args.kv + ((int64_t(block) * 2 + part) * kHeads + head) * kUnitBytes, bars + to * 8, policy, lane);
    else
      end_copy_group();
    if (part) asked += step, block = next, next = asked + step < runs ? table[asked + step] : 0;
    part ^= 1;
  };
  for (int u = 0; u < kUnits - 1; ++u) ask(u);
  wait_for_previous_kernel();
  let_next_kernel_start();
  uint32_t sum = 0, phase = 0;
  for (int r = first; r < runs; r += step)
    for (int p = 0; p < 2; ++p) {
      if constexpr (kCopy >= 3 && kCopy <= 4)
        wait_for_phase(bars + slot * 8, phase);
      else
        wait_for_copy_groups<kUnits - 2>();
      __syncwarp();
      sum ^= *reinterpret_cast<uint32_t*>(memory + (warp * kUnits + slot) * kUnitBytes + lane * 16);
      ask(slot == 0 ? kUnits - 1 : slot - 1);
      if (++slot == kUnits) slot = 0, phase ^= 1;
    }
  if (sum == 0x12345677u) *args.sink = sum;
#endif
}

struct Bench {
  Device gpu{DeviceKind::cuda, 0};
  Stream stream{gpu};
  Timer timer;
  double limit = measure_read_bandwidth(gpu);
  Tensor cache{DType::u8, {int64_t(9) << 30}, gpu}, sink{DType::i32, {1}, gpu};

  template <int kCopy, int kUnits>
  void run(const char* what, int rows, int context, int splits, int lockstep, int copies, bool scattered) {
    const int blocks = context / 16;
    std::vector<int32_t> host;
    for (int c = 0; c < copies; ++c)
      for (int r = 0; r < rows; ++r)
        for (int i = 0; i < blocks; ++i) host.push_back(scattered ? (i * copies + c) * rows + r : (c * rows + r) * blocks + i);
    Tensor table(DType::i32, {int64_t(host.size())}, gpu);
    CUDA_CHECK(cudaMemcpy(table.data(), host.data(), host.size() * 4, cudaMemcpyDefault));
    const auto kernel = read_pattern_kernel<kCopy, kUnits>;
    const int bytes = 4 * kUnits * kUnitBytes;
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
    const int used = splits * (lockstep ? 4 : 1);
    const unsigned grid = unsigned(rows * used * (lockstep ? 2 : 8));
    const double seconds = timer.seconds(stream, 8, [&](int i) {
      const Args args{static_cast<const char*>(cache.data()),
                      static_cast<const int32_t*>(table.data()) + int64_t(i % copies) * rows * blocks, blocks, used,
                      blocks / used, lockstep, static_cast<uint32_t*>(sink.data())};
      launch_dependent(kernel, grid, 128, size_t(bytes), stream, args);
    });
    const double moved = double(rows) * blocks * 65536;
    std::printf("%-12s copy %d units %d rows %d x %d splits %d lockstep %d copies %d %s: %7.1f us %.2f TB/s %3.0f %%\n", what, kCopy,
                kUnits, rows, context, splits, lockstep, copies, scattered ? "scattered" : "in a row", seconds * 1e6, moved / seconds * 1e-12,
                100 * moved / seconds / limit);
  }
  template <int kCopy, int kUnits>
  void both(const char* what) {
    run<kCopy, kUnits>(what, 32, 16384, kUnits <= 4 ? 2 : 1, 0, 4, true);
    run<kCopy, kUnits>(what, 256, 512, 1, 0, 8, true);
  }
  void all() {
    std::printf("read bandwidth %.2f TB/s\n", limit * 1e-12);
    both<0, 6>("cp.async"), both<0, 3>("cp.async"), both<1, 6>("plain"), both<1, 3>("plain");
    both<2, 6>("evict first"), both<2, 3>("evict first"), both<5, 6>("256B");
    both<3, 6>("bulk"), both<3, 3>("bulk"), both<4, 6>("bulk first"), both<4, 3>("bulk first"), both<4, 9>("bulk first");
    both<4, 12>("bulk first");
    run<4, 6>("lockstep", 32, 16384, 1, 1, 4, true), run<0, 6>("lockstep", 32, 16384, 1, 1, 4, true);
    run<4, 6>("in a row", 32, 16384, 1, 0, 4, false), run<0, 6>("in a row", 32, 16384, 1, 0, 4, false);
    run<0, 3>("one copy", 256, 512, 1, 0, 1, true), run<4, 3>("one copy", 256, 512, 1, 0, 1, true);
    run<4, 6>("pieces", 32, 16384, 8, 0, 4, true), run<4, 3>("pieces", 32, 16384, 8, 0, 4, true);
    run<4, 3>("lockstep", 256, 512, 1, 1, 8, true);
  }
};

}  // namespace
}  // namespace trireme::bench

int main() {
  if (trireme::cuda_device_count() == 0) return 0;
  trireme::set_current_device({trireme::DeviceKind::cuda, 0});
  trireme::bench::Bench().all();
}
