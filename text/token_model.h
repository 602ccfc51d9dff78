#pragma once
// The third stage: one piece of text -> ids.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/part_fields.h"

namespace trireme {

class Vocabulary;

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of a piece that is not empty.
  virtual void encode(std::string_view piece, std::vector<int32_t>& ids) const = 0;
  // From now on pieces are raw bytes, which the vocabulary spells in the GPT-2 alphabet: encode() gives what spelling
  // them first would give. Only for models that say so.
  virtual bool takes_raw_bytes() const { return false; }
  virtual void take_raw_bytes() {}
  virtual const Vocabulary& vocabulary() const = 0;
};

// From the "model" object of tokenizer.json. Throws CheckpointError for an unknown type or a damaged table.
std::unique_ptr<TokenModel> make_token_model(const PartFields& fields);

}  // namespace trireme
