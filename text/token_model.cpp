#include "text/token_model.h"

#include "text/bpe.h"
#include "text/unigram.h"

namespace trireme {
namespace {

constexpr PartFactory<std::unique_ptr<TokenModel>> kModels[] = {
    {"BPE", make_bpe_model},
    {"Unigram", make_unigram_model},
};

}  // namespace

std::unique_ptr<TokenModel> make_token_model(const PartFields& fields) {
  // Early files leave the type out; only BPE has merges.
  if (!fields.find("type") && fields.find("merges")) return make_bpe_model(fields);
  if (!fields.find("type") && fields.find("unk_id")) return make_unigram_model(fields);
  const std::string type = fields.text("type");
  if (type == "WordPiece" || type == "WordLevel")
    fields.fail("type \"" + type + "\" belongs to encoders such as BERT, whose texts cannot be decoded exactly; " +
                "language models that generate text use BPE or Unigram");
  return make_part(std::span<const PartFactory<std::unique_ptr<TokenModel>>>(kModels), fields);
}

}  // namespace trireme
