#pragma once
// The last stage: tokens -> text. A decoder makes a chain of stages, through which the tokens of one text flow as they
// arrive; what comes out at the end is what decoding all of them at once would give.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/part_fields.h"

namespace trireme {

// One stage of one text. Tokens come in parts: write()* end_token(), again and again, then finish(). What is written
// is valid UTF-8.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  virtual void write(std::string_view part) = 0;
  virtual void end_token() = 0;
  virtual void finish() = 0;
  void set_next(DecodeStage* next) { next_ = next; }

 protected:
  DecodeStage* next_ = nullptr;
};
using DecodeStages = std::vector<std::unique_ptr<DecodeStage>>;

class Decoder {
 public:
  virtual ~Decoder() = default;
  // The decoder must outlive the stages.
  virtual void append_stages(DecodeStages& stages) const = 0;
  // What the token stands for by itself; `first`: nothing stands before it in the text. Not always UTF-8.
  virtual std::string token_bytes(std::string_view token, bool first) const = 0;
};

// From a "decoder" object of tokenizer.json. Throws CheckpointError for an unknown type.
std::unique_ptr<Decoder> make_decoder(const PartFields& fields);
std::unique_ptr<Decoder> make_joining_decoder();  // for files without one: tokens with spaces between them

}  // namespace trireme
