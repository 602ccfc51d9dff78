#include <algorithm>

#include "base/cuda_check.h"
#include "base/stream.h"
#include "base/tensor.h"

namespace trireme::cuda {
namespace {

__global__ void read_kernel(const uint4* data, int64_t count, uint32_t* sink) {
  uint32_t sum = 0;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {   // four independent loads in flight
    const uint4 a = __ldcs(data + i), b = __ldcs(data + i + stride), c = __ldcs(data + i + 2 * stride), d = __ldcs(data + i + 3 * stride);
    sum += (a.x ^ a.y ^ a.z ^ a.w) + (b.x ^ b.y ^ b.z ^ b.w) + (c.x ^ c.y ^ c.z ^ c.w) + (d.x ^ d.y ^ d.z ^ d.w);
  }
  for (; i < count; i += stride) sum += data[i].x;
  if (sum == 0x9e3779b9u) *sink = sum;   // never true in practice; keeps the loads
}

}  // namespace

void read_bandwidth(double* bytes_per_second) {
  int index = 0;
  CUDA_CHECK(cudaGetDevice(&index));
  const Device device{DeviceKind::cuda, index};
  constexpr int64_t kBytes = int64_t(2) << 30;
  const Tensor buffer(DType::u8, {kBytes}, device), sink(DType::i32, {1}, device);
  const Stream stream(device);
  CUDA_CHECK(cudaMemsetAsync(buffer.data(), 0x5a, kBytes, stream.get()));
  int processors = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, index));
  cudaEvent_t start, stop;
  CUDA_CHECK(cudaEventCreate(&start));
  CUDA_CHECK(cudaEventCreate(&stop));
  float best = 1e9f;
  for (int pass = 0; pass < 6; ++pass) {
    CUDA_CHECK(cudaEventRecord(start, stream.get()));
    read_kernel<<<processors * 8, 512, 0, stream.get()>>>(static_cast<const uint4*>(buffer.data()), kBytes / 16, static_cast<uint32_t*>(sink.data()));
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaEventRecord(stop, stream.get()));
    CUDA_CHECK(cudaEventSynchronize(stop));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, start, stop));
    if (pass > 0) best = std::min(best, ms);
  }
  CUDA_CHECK(cudaEventDestroy(start));
  CUDA_CHECK(cudaEventDestroy(stop));
  *bytes_per_second = double(kBytes) / (double(best) * 1e-3);
}

}  // namespace trireme::cuda
