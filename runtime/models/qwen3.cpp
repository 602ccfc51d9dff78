// Qwen3: each query and key head is normed before the rotary embedding.

#include "runtime/models/decoder.h"

namespace trireme {

std::unique_ptr<Model> make_qwen3(const ModelContext& context) {
  return make_decoder(context, {.qk_norm = QkNorm::head});
}

}  // namespace trireme
