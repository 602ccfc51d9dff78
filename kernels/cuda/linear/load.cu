// load_linear_rows and load_pinned_rows_async: host rows of any float or block format to bf16 on the device; the former
// through pinned staging buffers of its own.

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/linear.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kStageBytes = int64_t(8) << 20;

// Element i of a packed array, as float. Block formats: f16 headers at even addresses (34- and 20-byte blocks).
struct FromF32 {
  static __device__ float at(const uint8_t* raw, int64_t i) { return reinterpret_cast<const float*>(raw)[i]; }
};
struct FromF16 {
  static __device__ float at(const uint8_t* raw, int64_t i) {
    return __half2float(reinterpret_cast<const __half*>(raw)[i]);
  }
};
struct FromF64 {
  static __device__ float at(const uint8_t* raw, int64_t i) { return float(reinterpret_cast<const double*>(raw)[i]); }
};
struct FromF8 {
  static __device__ float at(const uint8_t* raw, int64_t i) {
    return float(reinterpret_cast<const __nv_fp8_e4m3*>(raw)[i]);
  }
};
struct FromQ8 {
  static __device__ float at(const uint8_t* raw, int64_t i) {
    const uint8_t* block = raw + i / 32 * 34;
    const float d = __half2float(*reinterpret_cast<const __half*>(block));
    return d * float(int8_t(block[2 + i % 32]));
  }
};
struct FromQ4 {
  static __device__ float at(const uint8_t* raw, int64_t i) {
    const uint8_t* block = raw + i / 32 * 20;
    const float d = __half2float(reinterpret_cast<const __half*>(block)[0]);
    const float minimum = __half2float(reinterpret_cast<const __half*>(block)[1]);
    const int byte = block[4 + i % 16];
    const int quant = i % 32 < 16 ? byte & 15 : byte >> 4;
    return __fadd_rn(__fmul_rn(d, float(quant)), minimum);  // two roundings, as the checkpoint's own tools do it
  }
};

template <typename From>
__global__ void convert_kernel(bf16* out, const uint8_t* raw, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) out[i] = __float2bfloat16_rn(From::at(raw, i));
}

template <typename From>
void launch_convert(bf16* out, const uint8_t* raw, int64_t count, const Stream& stream) {
  convert_kernel<From><<<grid_size(ceil_div(count, kThreads)), kThreads, 0, stream.get()>>>(out, raw, count);
  check_launch();
}

void convert(bf16* out, const uint8_t* raw, int64_t count, DType source, const Stream& stream) {
  switch (source) {
    case DType::f32:
      return launch_convert<FromF32>(out, raw, count, stream);
    case DType::f16:
      return launch_convert<FromF16>(out, raw, count, stream);
    case DType::f64:
      return launch_convert<FromF64>(out, raw, count, stream);
    case DType::f8_e4m3:
      return launch_convert<FromF8>(out, raw, count, stream);
    case DType::q8_0:
      return launch_convert<FromQ8>(out, raw, count, stream);
    case DType::q4_1:
      return launch_convert<FromQ4>(out, raw, count, stream);
    default:
      CHECK(false) << "no conversion of" << dtype_name(source) << "weights to bf16";
  }
}

// `pinned` to the device, converted there by way of `scratch` unless it is bf16 already.
void copy_elements(bf16* out, const void* pinned, int64_t count, DType source, void* scratch, const Stream& stream) {
  const auto bytes = size_t(dtype_bytes(source, count));
  if (source == DType::bf16) return copy_async(out, pinned, bytes, stream.device(), stream);
  copy_async(scratch, pinned, bytes, stream.device(), stream);
  convert(out, static_cast<const uint8_t*>(scratch), count, source, stream);
}

// One staging buffer: pinned on the host, raw bytes on the device, and the mark after which both are free again.
struct Stage {
  explicit Stage(Device device)
      : host(static_cast<uint8_t*>(pinned_allocate(kStageBytes))),
        raw(DType::u8, {kStageBytes}, device),
        used(device) {}
  ~Stage() { pinned_free(host); }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  uint8_t* host;
  Tensor raw;
  Event used;
};

// Two buffers, so that the host fills one while the other travels. Kept from the first load on.
struct Staging {
  explicit Staging(Device device) : stages{Stage(device), Stage(device)} {}
  std::array<Stage, 2> stages;
  size_t next = 0;
};

void load_elements(Staging& staging, bf16* out, const uint8_t* rows, int64_t count, DType source,
                   const Stream& stream) {
  Stage& stage = staging.stages[staging.next++ % 2];
  const size_t bytes = size_t(dtype_bytes(source, count));
  stage.used.synchronize();
  std::memcpy(stage.host, rows, bytes);
  copy_elements(out, stage.host, count, source, stage.raw.data(), stream);
  stage.used.record(stream);
}

}  // namespace

void load_pinned_rows_async(TensorView out, const void* rows, DType source, void* scratch, const Stream& stream) {
  CHECK(out.contiguous()) << "load_pinned_rows_async: out" << out.shape_text();
  CHECK(source == DType::bf16 || scratch) << "load_pinned_rows_async: no scratch for" << dtype_name(source);
  CHECK_EQ(out.dim(-1) % dtype_block_elements(source), 0) << "load_pinned_rows_async: a row is no whole number of blocks";
  copy_elements(bf16_data(out), rows, out.elements(), source, scratch, stream);
}

void load_linear_rows(LinearWeight& weight, int64_t row_begin, int64_t count, const void* rows, DType source,
                      const Stream& stream) {
  static std::mutex mutex;
  static auto* staging_of = new std::map<int, std::unique_ptr<Staging>>;  // per device, as long as the process
  std::lock_guard lock(mutex);
  auto& staging = (*staging_of)[stream.device().index];
  if (!staging) staging = std::make_unique<Staging>(stream.device());

  // Both sides are contiguous, so rows do not matter, only whole blocks.
  const int64_t total = count * weight.in_features, block = dtype_block_elements(source);
  CHECK_EQ(weight.in_features % block, 0) << "load_linear_rows: a row is no whole number of blocks";
  const int64_t step = kStageBytes / dtype_block_bytes(source) * block;
  bf16* out = bf16_data(weight.data) + row_begin * weight.in_features;
  const uint8_t* from = static_cast<const uint8_t*>(rows);
  for (int64_t done = 0; done < total; done += step) {
    load_elements(*staging, out + done, from + dtype_bytes(source, done), std::min(step, total - done), source, stream);
  }
}

}  // namespace trireme::cuda
