#pragma once
// The fourth stage puts special tokens (beginning, end) around the ids of a text.

#include <cstdint>
#include <memory>
#include <vector>

#include "text/part_fields.h"

namespace trireme {

class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  virtual void apply(std::vector<int32_t>& ids) const = 0;
};

// From a "post_processor" object of tokenizer.json. Throws CheckpointError for an unknown type.
std::unique_ptr<PostProcessor> make_post_processor(const PartFields& fields);
std::unique_ptr<PostProcessor> make_framing_post_processor(int32_t first, int32_t last);  // -1: none there

}  // namespace trireme
