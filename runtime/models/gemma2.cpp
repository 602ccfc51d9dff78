// Gemma 2: sublayers normed before and after, norms of 1 + weight, scaled embeddings, soft caps on scores and logits,
// a window on every other layer.

#include "runtime/models/decoder.h"

namespace trireme {

std::unique_ptr<Model> make_gemma2(const ModelContext& context) {
  return make_decoder(context, {.attention_post_norm = "post_attention_layernorm",
                                .mlp_norm = "pre_feedforward_layernorm",
                                .mlp_post_norm = "post_feedforward_layernorm"});
}

}  // namespace trireme
