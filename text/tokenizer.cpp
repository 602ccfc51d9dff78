#include "text/tokenizer.h"

#include "base/error.h"
#include "text/tokenizer_readers.h"

namespace trireme {

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerSource& source) {
  if (!source.tokenizer_json.empty()) return std::make_unique<PipelineTokenizer>(read_tokenizer_json(source));
  if (!source.gguf_model.empty()) return std::make_unique<PipelineTokenizer>(read_gguf_tokenizer(source));
  throw CheckpointError(
      "the checkpoint has no tokenizer: tokenizer.json or a GGUF file's tokenizer.ggml fields are needed");
}

}  // namespace trireme
