#include "checkpoint/quantization.h"

#include "checkpoint/checkpoint.h"
#include "tests/checkpoint/safetensors_builder.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

void refuse_config(const std::string& quantization) {
  refuse_quantized_config(R"({"architectures":["LlamaForCausalLM"],)" + quantization + "}", "config.json");
}

TEST(Quantization, ConfigsThatNameAMethodAreRefusedByIt) {
  expect_error([] { refuse_config(R"("quantization_config":{"quant_method":"gptq","bits":4})"); },
               {"config.json", "\"gptq\"", "unquantized", "GGUF"});
  expect_error([] { refuse_config(R"("quantization_config":{"quant_method":"fp8","fmt":"e4m3"})"); }, {"\"fp8\""});
  expect_error(
      [] {
        refuse_config(R"("quantization_config":{"quant_method":"compressed-tensors","format":"float-quantized"})");
      },
      {"\"compressed-tensors\"", "\"float-quantized\""});
  expect_error([] { refuse_config(R"("compression_config":{"bits":4})"); }, {"compression_config", "does not name"});
  expect_error([] { refuse_config(R"("text_config":{"quantization_config":{"quant_method":"awq"}})"); }, {"\"awq\""});
  expect_error([] { refuse_config(R"("quantization_config":7)"); }, {"quantization_config"});
  refuse_config(R"("quantization_config":null)");
  refuse_config(R"("hidden_size":8)");
}

std::string two_tensors(const std::string& name) {
  return safetensors_bytes(R"({"w.weight":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},")" + name +
                               R"(":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
                           std::string(6, '\0'));
}

TEST(Quantization, TensorsThatHoldScalesAreRefusedByName) {
  const TempDirectory folder;
  std::filesystem::copy(model_folder("tiny-llama"), folder.path(), std::filesystem::copy_options::recursive);
  const auto open = [&](const std::string& name) {
    folder.write("model.safetensors", two_tensors(name));
    return open_checkpoint(folder.path());
  };
  expect_error([&] { open("w.weight_scale"); }, {"model.safetensors", "\"w.weight_scale\"", "fp8", "not read yet"});
  expect_error([&] { open("w.weight_scale_inv"); }, {"fp8 in blocks"});
  expect_error([&] { open("w.qweight"); }, {"gptq or awq"});
  EXPECT_EQ(open("w.bias").source->require("w.weight", {2}).dtype, DType::f8_e4m3);  // stored values are the weights
}

}  // namespace
}  // namespace trireme::test
