#pragma once
// The last stage: what bytes a token stands for. Per token, so that ids can be decoded as they arrive.

#include <memory>
#include <string>
#include <string_view>

#include "text/part_fields.h"

namespace trireme {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // `first`: nothing stands before this token in the decoded text.
  virtual std::string token_bytes(std::string_view token, bool first) const = 0;
};

// From a "decoder" object of tokenizer.json. Throws CheckpointError for an unknown type.
std::unique_ptr<Decoder> make_decoder(const PartFields& fields);

}  // namespace trireme
