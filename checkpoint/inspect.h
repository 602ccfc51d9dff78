#pragma once
// What can be said about a model before a rank is started: figures, sizes, and whatever looks odd. Pure: nothing is
// read but the checkpoint's headers, which are open already.

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace trireme {

struct DTypeUse {
  DType dtype;
  int64_t tensors = 0, parameters = 0, bytes = 0;
};

struct TensorSize {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  int64_t layer = -1;  // -1: outside the layers
  int64_t parameters = 0, bytes = 0;
};

struct Inspection {
  std::string name, path, format;
  ModelConfig config;
  std::vector<TensorSize> tensors;  // those that are read, in the files' order; empty without weights
  std::vector<DTypeUse> dtypes;     // of them, most bytes first
  int64_t parameters = 0;           // of them, each once (a tied output layer does not count again)
  int64_t embedding_parameters = 0;
  int64_t weight_bytes = 0;
  std::vector<std::string> missing, unused;  // tensors, by name
  bool tensors_known = false;                // whether missing and unused could be told for this architecture
  std::string tokenizer;                     // "tokenizer.json (BPE)", "GGUF gpt2, llama-bpe", "none"
  int64_t tokens = 0;                        // ids the tokenizer knows
  bool chat_template = false;
  std::vector<std::string> template_names;
  int tp = 1, pp = 1;
  std::vector<std::string> notes;  // sentences
};

Inspection inspect(const Checkpoint& checkpoint, int tp, int pp);

// Weights of one rank of a pipeline stage that has layers [layer_begin, layer_end): matrices are divided by tp, vectors
// are whole; embedding and output layer lie on the first and the last stage (a tied embedding on both). As stored in
// the file; on a GPU every parameter takes two bytes.
struct RankWeights {
  int64_t bytes = 0, parameters = 0;
};
RankWeights rank_weights(const Inspection& inspection, int64_t layer_begin, int64_t layer_end, bool first_stage,
                         bool last_stage);

std::string inspection_text(const Inspection& inspection);  // several lines, for people

}  // namespace trireme
