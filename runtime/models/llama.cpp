// Llama 2, 3, 3.x, SmolLM2 and what else calls itself LlamaForCausalLM: the decoder as it stands.

#include "runtime/models/decoder.h"

namespace trireme {

std::unique_ptr<Model> make_llama(const ModelContext& context) { return make_decoder(context, {}); }

}  // namespace trireme
