// OLMo 2: sublayers normed only after, queries and keys normed over all heads together.

#include "runtime/models/decoder.h"

namespace trireme {

std::unique_ptr<Model> make_olmo2(const ModelContext& context) {
  return make_decoder(context, {.attention_norm = "",
                                .attention_post_norm = "post_attention_layernorm",
                                .mlp_norm = "",
                                .mlp_post_norm = "post_feedforward_layernorm",
                                .qk_norm = QkNorm::projection});
}

}  // namespace trireme
