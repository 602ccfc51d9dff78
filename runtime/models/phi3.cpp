// Phi-3, Phi-3.5 and Phi-4: Llama with q, k and v in one tensor, gate and up in another; longrope, partial rotation.

#include "runtime/models/decoder.h"

namespace trireme {

std::unique_ptr<Model> make_phi3(const ModelContext& context) {
  return make_decoder(context, {.fused_qkv = "self_attn.qkv_proj", .fused_gate_up = "mlp.gate_up_proj"});
}

}  // namespace trireme
