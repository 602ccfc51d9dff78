// Input: a GGUF file. What is accepted must be readable as a model: config, tokenizer material, every tensor.

#include <vector>

#include "base/error.h"
#include "checkpoint/gguf.h"
#include "tests/support/memory_file.h"

namespace trireme::test {
namespace {

void check(std::string_view input) {
  static MemoryFile memory;
  memory.set(input);
  GgufModel model = open_gguf_model(memory.path());
  gguf_tokenizer(model.metadata);
  const ModelConfig config = gguf_model_config(model);
  const auto source = make_gguf_source(std::move(model), config);
  for (const TensorInfo& tensor : source->tensors()) {
    if (tensor.bytes > int64_t(input.size())) std::abort();
    std::vector<std::byte> bytes(static_cast<size_t>(tensor.bytes));
    source->read(tensor, 0, tensor.rows(), 0, tensor.columns(), bytes.data());
  }
}

}  // namespace
}  // namespace trireme::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    trireme::test::check({reinterpret_cast<const char*>(data), size});
  } catch (const trireme::CheckpointError&) {
  }
  return 0;
}
