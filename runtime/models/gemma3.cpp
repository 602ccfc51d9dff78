// Gemma 3, the text model: as Gemma 2 without caps, with normed query and key heads, and another rotary base in the
// windowed layers.

#include "runtime/models/decoder.h"

namespace trireme {

std::unique_ptr<Model> make_gemma3(const ModelContext& context) {
  return make_decoder(context, {.attention_post_norm = "post_attention_layernorm",
                                .mlp_norm = "pre_feedforward_layernorm",
                                .mlp_post_norm = "post_feedforward_layernorm",
                                .qk_norm = QkNorm::head});
}

}  // namespace trireme
