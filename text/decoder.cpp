#include "text/decoder.h"

#include "text/byte_level.h"
#include "text/decode_stages.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace trireme {
namespace {

constexpr size_t kMaxContentBytes = 4096;

class ByteLevelDecoder final : public Decoder {
  void append_stages(DecodeStages& stages) const override { stages.push_back(make_byte_level_stage()); }
  std::string token_bytes(std::string_view token, bool) const override { return byte_level_bytes(token); }
};

class ByteFallbackDecoder final : public Decoder {
  void append_stages(DecodeStages& stages) const override { stages.push_back(make_byte_fallback_stage()); }
  std::string token_bytes(std::string_view token, bool) const override {
    const int byte = fallback_byte(token);
    return byte < 0 ? std::string(token) : std::string(1, char(byte));
  }
};

class FuseDecoder final : public Decoder {
  void append_stages(DecodeStages& stages) const override { stages.push_back(make_fuse_stage()); }
  std::string token_bytes(std::string_view token, bool) const override { return std::string(token); }
};

class JoiningDecoder final : public Decoder {
  void append_stages(DecodeStages& stages) const override { stages.push_back(make_joining_stage()); }
  std::string token_bytes(std::string_view token, bool first) const override {
    return (first ? "" : " ") + std::string(token);
  }
};

class MetaspaceDecoder final : public Decoder {
 public:
  explicit MetaspaceDecoder(const PartFields& fields)
      : replacement_(fields.text_or("replacement", "\u2581")), drops_first_(read_prepend_scheme(fields) != "never") {
    if (count_chars(replacement_) != 1) fields.fail("\"replacement\" must be one character");
  }
  void append_stages(DecodeStages& stages) const override {
    stages.push_back(make_metaspace_stage(replacement_, drops_first_));
  }
  std::string token_bytes(std::string_view token, bool first) const override {
    return replace_all(token, replacement_, first && drops_first_ ? "" : " ");
  }

 private:
  std::string replacement_;
  bool drops_first_;
};

class ReplaceDecoder final : public Decoder {
 public:
  explicit ReplaceDecoder(const PartFields& fields)
      : pattern_(make_pattern(fields.object("pattern"))), content_(fields.text("content")) {
    if (content_.size() > kMaxContentBytes)
      fields.fail("\"content\" has more than " + std::to_string(kMaxContentBytes) + " bytes");
    if (fields.object("pattern").find("String")) literal_ = fields.object("pattern").text("String");
  }
  void append_stages(DecodeStages& stages) const override {
    stages.push_back(literal_.empty() ? make_replace_stage(*pattern_, content_)
                                      : make_literal_replace_stage(literal_, content_));
  }
  std::string token_bytes(std::string_view token, bool) const override {
    if (find_invalid_utf8(token) != kValidUtf8) return std::string(token);
    return replace_matches(token, *pattern_, content_);
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  std::string literal_, content_;
};

class StripDecoder final : public Decoder {
 public:
  explicit StripDecoder(const PartFields& fields)
      : content_(fields.text("content")), start_(size_t(fields.id("start"))), stop_(size_t(fields.id("stop"))) {
    if (count_chars(content_) != 1) fields.fail("\"content\" must be one character");
  }
  void append_stages(DecodeStages& stages) const override {
    stages.push_back(make_strip_stage(content_, start_, stop_));
  }
  std::string token_bytes(std::string_view token, bool first) const override {
    for (size_t i = 0; first && i < start_ && token.starts_with(content_); ++i) token.remove_prefix(content_.size());
    return std::string(token);
  }

 private:
  std::string content_;
  size_t start_, stop_;
};

class BpeDecoder final : public Decoder {
 public:
  explicit BpeDecoder(const PartFields& fields) : suffix_(fields.text_or("suffix", "</w>")) {
    if (suffix_.empty()) fields.fail("\"suffix\" must not be empty");
  }
  void append_stages(DecodeStages& stages) const override { stages.push_back(make_suffix_stage(suffix_)); }
  std::string token_bytes(std::string_view token, bool) const override { return replace_all(token, suffix_, " "); }

 private:
  std::string suffix_;
};

// Every stage sees what the stage before made of the token.
class DecoderSequence final : public Decoder {
 public:
  explicit DecoderSequence(const PartFields& fields) {
    for (const auto& part : fields.array("decoders"))
      parts_.push_back(make_decoder(PartFields(part, fields.where() + " decoders")));
  }
  void append_stages(DecodeStages& stages) const override {
    for (const auto& part : parts_) part->append_stages(stages);
  }
  std::string token_bytes(std::string_view token, bool first) const override {
    std::string bytes(token);
    for (const auto& part : parts_) bytes = part->token_bytes(bytes, first);
    return bytes;
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

using Part = std::unique_ptr<Decoder>;

template <typename T>
Part make(const PartFields& fields) {
  if constexpr (std::is_default_constructible_v<T>)
    return std::make_unique<T>();
  else
    return std::make_unique<T>(fields);
}

constexpr PartFactory<Part> kDecoders[] = {
    {"ByteLevel", make<ByteLevelDecoder>}, {"ByteFallback", make<ByteFallbackDecoder>}, {"Fuse", make<FuseDecoder>},
    {"Metaspace", make<MetaspaceDecoder>}, {"Replace", make<ReplaceDecoder>},           {"Strip", make<StripDecoder>},
    {"BPEDecoder", make<BpeDecoder>},      {"Sequence", make<DecoderSequence>},
};

}  // namespace

std::unique_ptr<Decoder> make_decoder(const PartFields& fields) {
  return make_part(std::span<const PartFactory<Part>>(kDecoders), fields);
}

std::unique_ptr<Decoder> make_joining_decoder() { return std::make_unique<JoiningDecoder>(); }

}  // namespace trireme
