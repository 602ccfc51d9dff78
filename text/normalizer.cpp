#include "text/normalizer.h"

#include <vector>

#include "text/byte_level.h"
#include "text/decode_stages.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace trireme {
namespace {

constexpr size_t kMaxContentBytes = 4096;
constexpr size_t kMaxGrowth = 64;  // of a text by all parts of a sequence

std::string short_text(const PartFields& fields, std::string_view key) {
  std::string text = fields.text(key);
  if (text.size() > kMaxContentBytes)
    fields.fail("\"" + std::string(key) + "\" has more than " + std::to_string(kMaxContentBytes) + " bytes");
  return text;
}

using Mapping = std::string (*)(std::string_view);

std::string without_accents(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = decode_char(text, at);
    if (!is_accent(code)) out += text.substr(at, bytes);
    at += bytes;
  }
  return out;
}

std::string spelled(std::string_view text) {
  std::string out;
  append_byte_level(out, text);
  return out;
}

class MappingNormalizer final : public Normalizer {
 public:
  explicit MappingNormalizer(Mapping mapping) : mapping_(mapping) {}
  std::string normalize(std::string_view text) const override { return mapping_(text); }

 private:
  Mapping mapping_;
};

class StripNormalizer final : public Normalizer {
 public:
  explicit StripNormalizer(const PartFields& fields)
      : left_(fields.flag_or("strip_left", true)), right_(fields.flag_or("strip_right", true)) {}
  std::string normalize(std::string_view text) const override {
    while (left_ && !text.empty() && is_space(decode_char(text, 0).code))
      text.remove_prefix(decode_char(text, 0).bytes);
    while (right_ && !text.empty()) {
      const size_t last = previous_char(text, text.size());
      if (!is_space(decode_char(text, last).code)) break;
      text = text.substr(0, last);
    }
    return std::string(text);
  }

 private:
  bool left_, right_;
};

class PrependNormalizer final : public Normalizer {
 public:
  explicit PrependNormalizer(const PartFields& fields) : prefix_(short_text(fields, "prepend")) {}
  std::string normalize(std::string_view text) const override {
    return text.empty() ? std::string() : prefix_ + std::string(text);
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer final : public Normalizer {
 public:
  explicit ReplaceNormalizer(const PartFields& fields)
      : pattern_(make_pattern(fields.object("pattern"))), content_(short_text(fields, "content")) {}
  std::string normalize(std::string_view text) const override { return replace_matches(text, *pattern_, content_); }

 private:
  std::unique_ptr<Pattern> pattern_;
  std::string content_;
};

class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(const PartFields& fields) {
    for (const auto& part : fields.array("normalizers"))
      if (auto made = make_normalizer(PartFields(part, fields.where() + " normalizers")))
        parts_.push_back(std::move(made));
  }
  bool empty() const { return parts_.empty(); }
  std::string normalize(std::string_view text) const override {
    std::string result(text);
    for (const auto& part : parts_) {
      result = part->normalize(result);
      if (result.size() > text.size() * kMaxGrowth + kMaxContentBytes)
        throw RequestError("the tokenizer's normalizer makes more than " + std::to_string(kMaxGrowth) +
                           " times as much of this text");
    }
    return result;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

using Part = std::unique_ptr<Normalizer>;

template <typename T>
Part make(const PartFields& fields) {
  return std::make_unique<T>(fields);
}
template <Mapping mapping>
Part make_mapping(const PartFields&) {
  return std::make_unique<MappingNormalizer>(mapping);
}
Part make_sequence(const PartFields& fields) {
  auto sequence = std::make_unique<NormalizerSequence>(fields);
  return sequence->empty() ? nullptr : std::move(sequence);
}

constexpr PartFactory<Part> kNormalizers[] = {
    {"NFC", make_mapping<to_nfc>},
    {"NFD", make_mapping<to_nfd>},
    {"NFKC", make_mapping<to_nfkc>},
    {"NFKD", make_mapping<to_nfkd>},
    {"Lowercase", make_mapping<to_rust_lower>},
    {"StripAccents", make_mapping<without_accents>},
    {"ByteLevel", make_mapping<spelled>},
    {"Strip", make<StripNormalizer>},
    {"Prepend", make<PrependNormalizer>},
    {"Replace", make<ReplaceNormalizer>},
    {"Sequence", make_sequence},
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const PartFields& fields) {
  return make_part(std::span<const PartFactory<Part>>(kNormalizers), fields);
}

}  // namespace trireme
