// GLM-4 0414: sublayers normed before and after, gate and up in one tensor, half of each head rotated in neighbours.

#include "runtime/models/decoder.h"

namespace trireme {

std::unique_ptr<Model> make_glm4(const ModelContext& context) {
  return make_decoder(context, {.attention_post_norm = "post_self_attn_layernorm",
                                .mlp_post_norm = "post_mlp_layernorm",
                                .fused_gate_up = "mlp.gate_up_proj"});
}

}  // namespace trireme
