#pragma once
// bf16 in memory, float in registers: loads and stores of 8 elements (16 bytes, aligned) or of one.

#include <cuda_bf16.h>

#include <cstdint>

namespace trireme::cuda {

using bf16 = __nv_bfloat16;

__device__ inline float low_bf16(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float high_bf16(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ inline uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);  // one instruction
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ inline void unpack(const uint4& bits, float (&values)[8]) {
  values[0] = low_bf16(bits.x), values[1] = high_bf16(bits.x);
  values[2] = low_bf16(bits.y), values[3] = high_bf16(bits.y);
  values[4] = low_bf16(bits.z), values[5] = high_bf16(bits.z);
  values[6] = low_bf16(bits.w), values[7] = high_bf16(bits.w);
}

__device__ inline uint4 pack(const float (&values)[8]) {
  return make_uint4(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]), pack_bf16(values[4], values[5]),
                    pack_bf16(values[6], values[7]));
}

__device__ inline void load(const bf16* from, float (&values)[8]) {
  unpack(*reinterpret_cast<const uint4*>(from), values);
}
__device__ inline void load(const bf16* from, float (&values)[1]) { values[0] = __bfloat162float(*from); }

__device__ inline void load(const float* from, float (&values)[8]) {
  const float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
  values[0] = a.x, values[1] = a.y, values[2] = a.z, values[3] = a.w;
  values[4] = b.x, values[5] = b.y, values[6] = b.z, values[7] = b.w;
}
__device__ inline void load(const float* from, float (&values)[1]) { values[0] = *from; }

__device__ inline void store(bf16* to, const float (&values)[8]) { *reinterpret_cast<uint4*>(to) = pack(values); }
__device__ inline void store(bf16* to, const float (&values)[1]) { *to = __float2bfloat16_rn(values[0]); }

__device__ inline void store_one(bf16* to, float value) { *to = __float2bfloat16_rn(value); }
__device__ inline void store_one(float* to, float value) { *to = value; }

}  // namespace trireme::cuda
