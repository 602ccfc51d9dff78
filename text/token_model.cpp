#include "text/token_model.h"

#include "text/bpe.h"

namespace trireme {
namespace {

constexpr PartFactory<std::unique_ptr<TokenModel>> kModels[] = {
    {"BPE", make_bpe_model},
};

}  // namespace

std::unique_ptr<TokenModel> make_token_model(const PartFields& fields) {
  // Early files leave the type out; only BPE has merges.
  if (!fields.find("type") && fields.find("merges")) return make_bpe_model(fields);
  return make_part(std::span<const PartFactory<std::unique_ptr<TokenModel>>>(kModels), fields);
}

}  // namespace trireme
