#include "text/pre_tokenizer.h"

#include <iterator>

#include "text/byte_level.h"
#include "text/split.h"
#include "text/unicode.h"

namespace trireme {
namespace {

class SplitPreTokenizer final : public PreTokenizer {
 public:
  explicit SplitPreTokenizer(const PartFields& fields)
      : behavior_(read_behavior(fields)),
        invert_(fields.flag_or("invert", false)),
        pattern_(make_pattern(fields.object("pattern"))) {}
  void apply(PiecedText& pieced) const override { split_pieces(pieced, *pattern_, behavior_, invert_); }

 private:
  SplitBehavior behavior_;
  bool invert_;
  std::unique_ptr<Pattern> pattern_;
};

class DigitsPreTokenizer final : public PreTokenizer {
 public:
  explicit DigitsPreTokenizer(const PartFields& fields)
      : behavior_(fields.flag_or("individual_digits", false) ? SplitBehavior::isolated : SplitBehavior::contiguous) {}
  void apply(PiecedText& pieced) const override { split_pieces(pieced, CharPattern(is_rust_number), behavior_, false); }

 private:
  SplitBehavior behavior_;
};

// Cuts with the GPT-2 pattern and spells every byte in the GPT-2 alphabet.
class ByteLevelPreTokenizer final : public PreTokenizer {
 public:
  explicit ByteLevelPreTokenizer(const PartFields& fields)
      : add_prefix_space_(fields.flag_or("add_prefix_space", true)),
        pattern_(fields.flag_or("use_regex", true) ? make_gpt2_pattern() : nullptr) {}

  void apply(PiecedText& pieced) const override {
    if (add_prefix_space_) add_prefix_spaces(pieced);
    if (pattern_) split_pieces(pieced, *pattern_, SplitBehavior::isolated, false);
    if (!spells_) return;
    std::string spelled;
    spelled.reserve(pieced.text.size() + pieced.text.size() / 4);
    for (Span& piece : pieced.pieces) {
      const size_t begin = spelled.size();
      append_byte_level(spelled, std::string_view(pieced.text).substr(piece.begin, piece.size()));
      piece = {begin, spelled.size()};
    }
    pieced.text = std::move(spelled);
  }
  bool leave_raw_bytes() override {
    spells_ = false;
    return true;
  }

 private:
  static void add_prefix_spaces(PiecedText& pieced) {
    std::string text;
    for (Span& piece : pieced.pieces) {
      const size_t begin = text.size();
      if (pieced.text[piece.begin] != ' ') text += ' ';
      text.append(pieced.text, piece.begin, piece.size());
      piece = {begin, text.size()};
    }
    pieced.text = std::move(text);
  }

  bool add_prefix_space_;
  bool spells_ = true;
  std::unique_ptr<Pattern> pattern_;
};

class PreTokenizerSequence final : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(const PartFields& fields) {
    for (const auto& part : fields.array("pretokenizers"))
      parts_.push_back(make_pre_tokenizer(PartFields(part, fields.where() + " pretokenizers")));
  }
  void apply(PiecedText& pieced) const override {
    for (const auto& part : parts_) part->apply(pieced);
  }
  bool leave_raw_bytes() override { return !parts_.empty() && parts_.back()->leave_raw_bytes(); }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

template <typename T>
std::unique_ptr<PreTokenizer> make(const PartFields& fields) {
  return std::make_unique<T>(fields);
}

using Factory = PartFactory<std::unique_ptr<PreTokenizer>>;

constexpr Factory kPreTokenizers[] = {
    {"ByteLevel", make<ByteLevelPreTokenizer>},
    {"Split", make<SplitPreTokenizer>},
    {"Digits", make<DigitsPreTokenizer>},
    {"Sequence", make<PreTokenizerSequence>},
};

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const PartFields& fields) {
  std::vector<Factory> table(std::begin(kPreTokenizers), std::end(kPreTokenizers));
  table.insert(table.end(), word_pre_tokenizers().begin(), word_pre_tokenizers().end());
  return make_part(std::span<const Factory>(table), fields);
}

}  // namespace trireme
