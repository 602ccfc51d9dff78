#pragma once
// Sets of code points: as sorted ranges while they are put together, as bits when they are asked.

#include <array>
#include <cstdint>
#include <vector>

#include "text/unicode.h"

namespace trireme {

using CharRanges = std::vector<CodePointRange>;  // sorted, apart, not adjacent

CharRanges united(const CharRanges& a, const CharRanges& b);
CharRanges complement(const CharRanges& ranges);
CharRanges intersected(const CharRanges& a, const CharRanges& b);

// Blocks of 256 code points, equal ones stored once: a look-up is two loads.
class CharSet {
 public:
  explicit CharSet(const CharRanges& ranges);

  bool contains(char32_t code) const {
    if (code < 128) return ascii_[code >> 6] >> (code & 63) & 1;
    const Block& block = stored_[blocks_[code >> 8]];
    return block[code >> 6 & 3] >> (code & 63) & 1;
  }

 private:
  using Block = std::array<uint64_t, 4>;

  std::array<uint64_t, 2> ascii_;
  std::array<uint16_t, 0x1100> blocks_;
  std::vector<Block> stored_;
};

}  // namespace trireme
