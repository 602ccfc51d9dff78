#pragma once
// GGUF files, good ones and deliberately bad ones, as bytes. The parts are raw, so that a test can put in any lie.

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tests/checkpoint/safetensors_builder.h"

namespace trireme::test {

enum GgufValueId : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

inline std::string gguf_string(const std::string& text) { return little_endian(text.size(), 8) + text; }

inline std::string float_bytes(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return little_endian(bits, 4);
}

struct GgufBuilder {
  uint32_t version = 3;
  std::string keys, infos, data;
  uint64_t key_count = 0, tensor_count = 0;
  uint64_t alignment = 32;

  GgufBuilder& key(const std::string& name, uint32_t type, const std::string& value) {
    keys += gguf_string(name) + little_endian(type, 4) + value;
    ++key_count;
    return *this;
  }
  GgufBuilder& u32(const std::string& name, uint64_t value) { return key(name, kU32, little_endian(value, 4)); }
  GgufBuilder& f32(const std::string& name, float value) { return key(name, kF32, float_bytes(value)); }
  GgufBuilder& text(const std::string& name, const std::string& value) {
    return key(name, kString, gguf_string(value));
  }
  GgufBuilder& flag(const std::string& name, bool value) { return key(name, kBool, std::string(1, char(value))); }
  GgufBuilder& texts(const std::string& name, const std::vector<std::string>& values) {
    std::string bytes = little_endian(kString, 4) + little_endian(values.size(), 8);
    for (const std::string& value : values) bytes += gguf_string(value);
    return key(name, kArray, bytes);
  }

  // dims: fastest first, as the file has them.
  GgufBuilder& info(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    infos += gguf_string(name) + little_endian(dims.size(), 4);
    for (const uint64_t dim : dims) infos += little_endian(dim, 8);
    infos += little_endian(type, 4) + little_endian(offset, 8);
    ++tensor_count;
    return *this;
  }
  // An F32 tensor with its data.
  GgufBuilder& tensor(const std::string& name, const std::vector<uint64_t>& dims, const std::vector<float>& values) {
    pad(data);
    info(name, dims, 0, data.size());
    for (const float value : values) data += float_bytes(value);
    return *this;
  }
  GgufBuilder& zeros(const std::string& name, const std::vector<uint64_t>& dims) {
    uint64_t count = 1;
    for (const uint64_t dim : dims) count *= dim;
    return tensor(name, dims, std::vector<float>(count));
  }

  void pad(std::string& bytes) const { bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0'); }

  std::string bytes() const {
    std::string all = "GGUF" + little_endian(version, 4) + little_endian(tensor_count, 8) +
                      little_endian(key_count, 8) + keys + infos;
    pad(all);
    return all + data;
  }
};

// A llama model of one layer: 2 heads of 4, 1 KV head, hidden 8, feed-forward 6, 5 tokens.
inline GgufBuilder small_llama_gguf() {
  GgufBuilder builder;
  builder.text("general.architecture", "llama").u32("llama.context_length", 64).u32("llama.embedding_length", 8);
  builder.u32("llama.block_count", 1).u32("llama.feed_forward_length", 6).u32("llama.attention.head_count", 2);
  builder.u32("llama.attention.head_count_kv", 1).f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  builder.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "llama-bpe");
  builder.texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<s>", "</s>"}).texts("tokenizer.ggml.merges", {"a b"});
  builder.u32("tokenizer.ggml.bos_token_id", 3).u32("tokenizer.ggml.eos_token_id", 4);
  builder.zeros("token_embd.weight", {8, 5}).zeros("output_norm.weight", {8}).zeros("blk.0.attn_norm.weight", {8});
  builder.zeros("blk.0.attn_q.weight", {8, 8})
      .zeros("blk.0.attn_k.weight", {8, 4})
      .zeros("blk.0.attn_v.weight", {8, 4});
  builder.zeros("blk.0.attn_output.weight", {8, 8})
      .zeros("blk.0.ffn_norm.weight", {8})
      .zeros("blk.0.ffn_gate.weight", {8, 6});
  builder.zeros("blk.0.ffn_up.weight", {8, 6}).zeros("blk.0.ffn_down.weight", {6, 8});
  return builder;
}

}  // namespace trireme::test
