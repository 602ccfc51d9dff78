#include "text/post_processor.h"

#include <string>

namespace trireme {
namespace {

// ByteLevel only trims offsets, which nobody asks for here.
class NoPostProcessor final : public PostProcessor {
  void apply(std::vector<int32_t>&) const override {}
};

class TemplatePostProcessor final : public PostProcessor {
 public:
  TemplatePostProcessor(std::vector<int32_t> before, std::vector<int32_t> after)
      : before_(std::move(before)), after_(std::move(after)) {}
  void apply(std::vector<int32_t>& ids) const override {
    ids.insert(ids.begin(), before_.begin(), before_.end());
    ids.insert(ids.end(), after_.begin(), after_.end());
  }

 private:
  std::vector<int32_t> before_, after_;
};

std::vector<int32_t> special_token_ids(const PartFields& fields, const std::string& name) {
  const PartFields special = fields.object("special_tokens");
  if (!special.find(name)) fields.fail("the template uses \"" + name + "\", which special_tokens does not define");
  const PartFields entry = special.object(name);
  std::vector<int32_t> ids;
  for (const auto& id : entry.array("ids")) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() > INT32_MAX) entry.fail("\"ids\" must hold token ids");
    ids.push_back(int32_t(id.get_int64()));
  }
  return ids;
}

// "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, ...]; pairs of texts do not occur here.
std::unique_ptr<PostProcessor> make_template(const PartFields& fields) {
  std::vector<int32_t> before, after;
  int sequences = 0;
  for (const auto& item : fields.array("single")) {
    const PartFields piece(item, fields.where() + " single");
    if (piece.find("Sequence")) {
      ++sequences;
    } else {
      const auto ids = special_token_ids(fields, piece.object("SpecialToken").text("id"));
      auto& side = sequences == 0 ? before : after;
      side.insert(side.end(), ids.begin(), ids.end());
    }
  }
  if (sequences != 1) fields.fail("\"single\" must hold exactly one Sequence");
  return std::make_unique<TemplatePostProcessor>(std::move(before), std::move(after));
}

class PostProcessorSequence final : public PostProcessor {
 public:
  explicit PostProcessorSequence(const PartFields& fields) {
    for (const auto& part : fields.array("processors"))
      parts_.push_back(make_post_processor(PartFields(part, fields.where() + " processors")));
  }
  void apply(std::vector<int32_t>& ids) const override {
    for (const auto& part : parts_) part->apply(ids);
  }

 private:
  std::vector<std::unique_ptr<PostProcessor>> parts_;
};

using Part = std::unique_ptr<PostProcessor>;
constexpr PartFactory<Part> kPostProcessors[] = {
    {"ByteLevel", [](const PartFields&) -> Part { return std::make_unique<NoPostProcessor>(); }},
    {"TemplateProcessing", make_template},
    {"Sequence", [](const PartFields& fields) -> Part { return std::make_unique<PostProcessorSequence>(fields); }},
};

}  // namespace

std::unique_ptr<PostProcessor> make_post_processor(const PartFields& fields) {
  return make_part(std::span<const PartFactory<Part>>(kPostProcessors), fields);
}

std::unique_ptr<PostProcessor> make_framing_post_processor(int32_t first, int32_t last) {
  std::vector<int32_t> before, after;
  if (first >= 0) before.push_back(first);
  if (last >= 0) after.push_back(last);
  return std::make_unique<TemplatePostProcessor>(std::move(before), std::move(after));
}

}  // namespace trireme
