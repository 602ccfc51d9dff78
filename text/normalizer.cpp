#include "text/normalizer.h"

#include <vector>

#include "text/unicode.h"

namespace trireme {
namespace {

class NfcNormalizer final : public Normalizer {
  std::string normalize(std::string_view text) const override { return to_nfc(text); }
};

class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(const PartFields& fields) {
    for (const auto& part : fields.array("normalizers"))
      parts_.push_back(make_normalizer(PartFields(part, fields.where() + " normalizers")));
  }
  std::string normalize(std::string_view text) const override {
    std::string result(text);
    for (const auto& part : parts_) result = part->normalize(result);
    return result;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

using Part = std::unique_ptr<Normalizer>;
constexpr PartFactory<Part> kNormalizers[] = {
    {"NFC", [](const PartFields&) -> Part { return std::make_unique<NfcNormalizer>(); }},
    {"Sequence", [](const PartFields& fields) -> Part { return std::make_unique<NormalizerSequence>(fields); }},
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const PartFields& fields) {
  return make_part(std::span<const PartFactory<Part>>(kNormalizers), fields);
}

}  // namespace trireme
