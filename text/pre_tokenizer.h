#pragma once
// The second stage cuts the text into pieces that the model never merges across; a stage may also respell it.

#include <memory>
#include <string>
#include <vector>

#include "text/part_fields.h"
#include "text/pattern.h"

namespace trireme {

// A text and the pieces it is cut into: in order, never empty; what no piece covers is dropped.
struct PiecedText {
  std::string text;
  std::vector<Span> pieces;
  bool at_start = true;  // `text` begins where the whole text begins
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(PiecedText& pieced) const = 0;
  // When the last thing done is to spell bytes in the GPT-2 alphabet: leaves that out from now on; true.
  virtual bool leave_raw_bytes() { return false; }
};

// From a "pre_tokenizer" object of tokenizer.json. Throws CheckpointError for an unknown type or pattern.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const PartFields& fields);

}  // namespace trireme
