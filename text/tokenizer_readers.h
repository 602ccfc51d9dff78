#pragma once
#include "text/pipeline_tokenizer.h"

namespace trireme {

// The two kinds of source; both throw CheckpointError.
TokenizerParts read_tokenizer_json(const TokenizerSource& source);
TokenizerParts read_gguf_tokenizer(const TokenizerSource& source);

}  // namespace trireme
