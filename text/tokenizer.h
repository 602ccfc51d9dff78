#pragma once
// Text <-> ids. Immutable after construction; safe to use from several threads.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/text_span.h"

namespace trireme {

// Where a tokenizer comes from (checkpoint/ fills it; plain data so that text/ knows no file format).
struct TokenizerSource {
  std::string tokenizer_json;  // Hugging Face; else the GGUF fields:
  std::string tokenizer_config_json;
  std::string gguf_model, gguf_pre;
  std::vector<std::string> tokens;
  std::vector<int32_t> token_types;  // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
  std::vector<std::string> merges;
  std::vector<float> scores;  // by token; SentencePiece's
  int64_t bos_id = -1, eos_id = -1, unknown_id = -1, pad_id = -1;
  std::optional<bool> add_bos, add_eos, add_space_prefix;  // what absence means depends on the tokenizer
};

struct EncodeOptions {
  bool add_special_tokens = true;  // the post-processor's bos and eos
  bool parse_special = true;       // special tokens written in the text become their ids
  // Where the text is a client's words (in order, apart, on character boundaries): special tokens written there are
  // plain text, even with parse_special. Everything else is encoded as if nothing were marked.
  std::span<const TextSpan> untrusted = {};
};

// Ids -> text as they arrive. What add() returns is final and valid UTF-8.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  virtual std::string add(int32_t id) = 0;
  virtual std::string finish() = 0;  // flushes what is held back
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // `text` must be valid UTF-8 (RequestError otherwise, with the byte offset).
  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;
  virtual std::string decode(const std::vector<int32_t>& ids, bool skip_special = true) const = 0;
  // What its add() and finish() return together is decode(). The tokenizer must outlive it.
  virtual std::unique_ptr<DecodeStream> start_decoding(bool skip_special) const;
  // The bytes one id stands for in the middle of a text; may be part of a UTF-8 character. Empty for ids out of range.
  virtual std::string token_bytes(int32_t id) const = 0;
  // The same at the beginning of a text, where some decoders drop a leading space.
  virtual std::string first_token_bytes(int32_t id) const { return token_bytes(id); }
  virtual std::string token_text(int32_t id) const = 0;        // as the vocabulary spells it ("Ġthe")
  virtual int32_t token_id(std::string_view token) const = 0;  // -1 when absent
  virtual bool is_special(int32_t id) const = 0;
  virtual int32_t vocab_size() const = 0;
  virtual int64_t bos_id() const = 0;  // -1: none
  virtual int64_t eos_id() const = 0;
};

// Throws CheckpointError naming the part of the file that is unknown or malformed, and what is supported.
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerSource& source);

}  // namespace trireme
