#include "text/decoder.h"

#include <vector>

#include "text/byte_level.h"

namespace trireme {
namespace {

class ByteLevelDecoder final : public Decoder {
  std::string token_bytes(std::string_view token, bool) const override { return byte_level_bytes(token); }
};

// Every stage sees what the stage before made of the token.
class DecoderSequence final : public Decoder {
 public:
  explicit DecoderSequence(const PartFields& fields) {
    for (const auto& part : fields.array("decoders"))
      parts_.push_back(make_decoder(PartFields(part, fields.where() + " decoders")));
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
constexpr PartFactory<Part> kDecoders[] = {
    {"ByteLevel", [](const PartFields&) -> Part { return std::make_unique<ByteLevelDecoder>(); }},
    {"Sequence", [](const PartFields& fields) -> Part { return std::make_unique<DecoderSequence>(fields); }},
};

}  // namespace

std::unique_ptr<Decoder> make_decoder(const PartFields& fields) {
  return make_part(std::span<const PartFactory<Part>>(kDecoders), fields);
}

}  // namespace trireme
