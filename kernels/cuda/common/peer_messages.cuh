#pragma once
// Words that GPUs write into each other's memory, and waiting for them (base/peer_buffers.h). A word of zero has not
// come; four bytes are written at once everywhere, so each word of a vector speaks for itself.

#include <cuda_runtime.h>

#include <cstdint>

#include "base/peer_buffers.h"

namespace trireme::cuda {

// Pairs of bf16 without a word of zero: (0, 0) becomes (0, -0), and the other way round.
inline constexpr uint32_t kZeroMessage = 0x80000000u;
__device__ inline uint32_t as_message(uint32_t pair) { return pair ? pair : kZeroMessage; }
__device__ inline uint32_t from_message(uint32_t word) { return word == kZeroMessage ? 0 : word; }
__device__ inline uint4 as_message(const uint4& v) {
  return make_uint4(as_message(v.x), as_message(v.y), as_message(v.z), as_message(v.w));
}
__device__ inline uint4 from_message(const uint4& v) {
  return make_uint4(from_message(v.x), from_message(v.y), from_message(v.z), from_message(v.w));
}
__device__ inline bool has_come(const uint4& v) { return v.x && v.y && v.z && v.w; }

// Three words of any value: the fourth says which of them are zero and travel as one.
struct Payload {
  uint32_t words[3];
};
static_assert(sizeof(Payload) == 12);
__device__ inline uint4 as_message(const Payload& p) {
  const uint32_t* w = p.words;
  return make_uint4(w[0] ? w[0] : 1, w[1] ? w[1] : 1, w[2] ? w[2] : 1,
                    8u | (w[0] ? 0u : 1u) | (w[1] ? 0u : 2u) | (w[2] ? 0u : 4u));
}
__device__ inline Payload payload_of(const uint4& v) {
  return {{v.w & 1u ? 0 : v.x, v.w & 2u ? 0 : v.y, v.w & 4u ? 0 : v.z}};
}

// Seen by all GPUs of the system, in no order beyond each word's own.
__device__ inline void send(std::byte* to, const uint4& v) {
  asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}
__device__ inline uint4 peek(const std::byte* from) {
  uint4 v;
  asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from)
               : "memory");
  return v;
}

// One thread's wait. Looks at the clock now and then only: a wait that ends in time costs nothing more.
class Patience {
 public:
  // False: give up, because the wait for `rank` took too long (which it notes) or another one has.
  __device__ bool lasts(PeerHeader* state, uint32_t* status, uint64_t timeout_ns, int rank) {
    if (++polls_ % 128 != 0) return true;
    if (*static_cast<volatile uint32_t*>(&state->failed)) return false;
    uint64_t now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    if (begin_ == 0) begin_ = now;
    if (now - begin_ < timeout_ns) return true;
    if (atomicExch(&state->failed, 1u) == 0 && status) {
      *static_cast<volatile uint32_t*>(status) = uint32_t(rank) + 1;
      __threadfence_system();
    }
    return false;
  }

 private:
  uint64_t begin_ = 0;
  uint32_t polls_ = 0;
};

}  // namespace trireme::cuda
