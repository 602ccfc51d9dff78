#include "text/tokenizer.h"

#include "base/error.h"
#include "text/tokenizer_readers.h"
#include "text/unicode.h"

namespace trireme {
namespace {

// For tokenizers whose tokens are bytes and nothing else.
class BytesDecodeStream final : public DecodeStream {
 public:
  BytesDecodeStream(const Tokenizer& tokenizer, bool skip_special) : tokenizer_(tokenizer), skip_(skip_special) {}

  std::string add(int32_t id) override {
    std::string text;
    if (id < 0 || id >= tokenizer_.vocab_size() || (skip_ && tokenizer_.is_special(id))) return text;
    repair_.append(first_ ? tokenizer_.first_token_bytes(id) : tokenizer_.token_bytes(id), text);
    first_ = false;
    return text;
  }
  std::string finish() override {
    std::string text;
    repair_.finish(text);
    return text;
  }

 private:
  const Tokenizer& tokenizer_;
  bool skip_, first_ = true;
  Utf8Repair repair_;
};

}  // namespace

std::unique_ptr<DecodeStream> Tokenizer::start_decoding(bool skip_special) const {
  return std::make_unique<BytesDecodeStream>(*this, skip_special);
}

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerSource& source) {
  if (!source.tokenizer_json.empty()) return std::make_unique<PipelineTokenizer>(read_tokenizer_json(source));
  if (!source.gguf_model.empty()) return std::make_unique<PipelineTokenizer>(read_gguf_tokenizer(source));
  throw CheckpointError(
      "the checkpoint has no tokenizer: tokenizer.json or a GGUF file's tokenizer.ggml fields are needed");
}

}  // namespace trireme
