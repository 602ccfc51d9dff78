#pragma once
// What rope_append hands to its kernels, and where they find a head and its place in the cache.

#include "kernels/cuda/common/rotary_head.cuh"

namespace trireme::cuda {

struct RopeAppendArgs {
  RotaryHeadArgs rotary;
  bf16 *qkv, *kv;
  const int32_t *positions, *token_slots, *block_table;
  int64_t num_tokens;
  int64_t qkv_stride;                               // between tokens
  int64_t block_stride, value_offset, head_stride;  // of kv: next block, from K to V, next head
  int64_t table_stride;
  int q_heads, kv_heads, block_size;
  int heads_per_block;
};

__device__ inline HeadKind kind_of(const RopeAppendArgs& args, int h) {
  return h < args.q_heads ? HeadKind::query : h < args.q_heads + args.kv_heads ? HeadKind::key : HeadKind::value;
}

__device__ inline bf16* head_at(const RopeAppendArgs& args, int64_t token, int h) {
  return args.qkv + token * args.qkv_stride + int64_t(h) * args.rotary.head_dim;
}

// Where the token's key lies in the cache's first head; -1: it is padding.
__device__ inline int64_t place_of(const RopeAppendArgs& args, int64_t token) {
  const int slot = args.token_slots[token], position = args.positions[token];
  if (slot < 0) return -1;
  const int block = args.block_table[int64_t(slot) * args.table_stride + position / args.block_size];
  return int64_t(block) * args.block_stride + int64_t(position % args.block_size) * args.rotary.head_dim;
}

// Where head h of a token goes: q in place, k and v into the cache.
__device__ inline bf16* destination(const RopeAppendArgs& args, bf16* head, int h, int64_t place) {
  if (h < args.q_heads) return head;
  const int kv_head = (h - args.q_heads) % args.kv_heads;
  return args.kv + place + kv_head * args.head_stride + (kind_of(args, h) == HeadKind::value ? args.value_offset : 0);
}

}  // namespace trireme::cuda
