// Qwen2 and Qwen2.5: Llama with biases on q, k and v, and a window on the upper layers where the config asks for it.

#include "runtime/models/decoder.h"

namespace trireme {

std::unique_ptr<Model> make_qwen2(const ModelContext& context) { return make_decoder(context, {}); }

}  // namespace trireme
