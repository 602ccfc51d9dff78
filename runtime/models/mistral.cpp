// Mistral and Ministral: Llama, with heads that need not add up to hidden_size and a window on all or some layers.

#include "runtime/models/decoder.h"

namespace trireme {

std::unique_ptr<Model> make_mistral(const ModelContext& context) { return make_decoder(context, {}); }

}  // namespace trireme
