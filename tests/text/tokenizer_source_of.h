#pragma once
// What gateway/ does between a checkpoint and its tokenizer, for tests that stop below it.

#include "checkpoint/checkpoint.h"
#include "text/tokenizer.h"

namespace trireme::test {

inline TokenizerSource tokenizer_source_of(const TokenizerMaterial& material) {
  TokenizerSource source;
  source.tokenizer_json = material.tokenizer_json;
  source.tokenizer_config_json = material.tokenizer_config_json;
  source.gguf_model = material.gguf_model;
  source.gguf_pre = material.gguf_pre;
  source.tokens = material.tokens;
  source.token_types = material.token_types;
  source.merges = material.merges;
  source.bos_id = material.bos_id;
  source.eos_id = material.eos_id;
  source.unknown_id = material.unknown_id;
  source.pad_id = material.pad_id;
  source.scores = material.scores;
  source.add_bos = material.add_bos;
  source.add_eos = material.add_eos;
  source.add_space_prefix = material.add_space_prefix;
  return source;
}

}  // namespace trireme::test
