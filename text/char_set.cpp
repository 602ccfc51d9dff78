#include "text/char_set.h"

#include <algorithm>
#include <map>

namespace trireme {
namespace {

constexpr char32_t kLastCode = 0x10FFFF;

}  // namespace

CharRanges united(const CharRanges& a, const CharRanges& b) {
  CharRanges all(a);
  all.insert(all.end(), b.begin(), b.end());
  std::sort(all.begin(), all.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
  CharRanges out;
  for (const auto& range : all) {
    if (!out.empty() && range.first <= out.back().last + 1)
      out.back().last = std::max(out.back().last, range.last);
    else
      out.push_back(range);
  }
  return out;
}

CharRanges complement(const CharRanges& ranges) {
  CharRanges out;
  char32_t next = 0;
  for (const auto& [first, last] : ranges) {
    if (first > next) out.push_back({next, first - 1});
    next = last + 1;
  }
  if (next <= kLastCode) out.push_back({next, kLastCode});
  return out;
}

CharRanges intersected(const CharRanges& a, const CharRanges& b) {
  return complement(united(complement(a), complement(b)));
}

CharSet::CharSet(const CharRanges& ranges) {
  std::map<Block, uint16_t> known;
  auto range = ranges.begin();
  for (char32_t index = 0; index < blocks_.size(); ++index) {
    Block block{};
    const char32_t begin = index << 8, end = begin + 256;
    while (range != ranges.end() && range->last < begin) ++range;
    for (auto each = range; each != ranges.end() && each->first < end; ++each)
      for (char32_t code = std::max(each->first, begin); code < end && code <= each->last; ++code)
        block[code >> 6 & 3] |= uint64_t(1) << (code & 63);
    const auto [found, is_new] = known.try_emplace(block, uint16_t(stored_.size()));
    if (is_new) stored_.push_back(block);
    blocks_[index] = found->second;
  }
  ascii_ = {stored_[blocks_[0]][0], stored_[blocks_[0]][1]};
}

}  // namespace trireme
