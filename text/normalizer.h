#pragma once
// The first stage: text -> text, before anything is cut.

#include <memory>
#include <string>
#include <string_view>

#include "text/part_fields.h"

namespace trireme {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string normalize(std::string_view text) const = 0;
};

// From a "normalizer" object of tokenizer.json; null when it changes nothing. Throws CheckpointError for an unknown
// type.
std::unique_ptr<Normalizer> make_normalizer(const PartFields& fields);

}  // namespace trireme
