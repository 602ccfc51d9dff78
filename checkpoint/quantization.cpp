#include "checkpoint/quantization.h"

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checked.h"
#include "checkpoint/json_fields.h"

namespace trireme {
namespace {

constexpr const char* kRemedy = "use the model's unquantized checkpoint or a GGUF file";

struct Trace {
  std::string_view suffix;  // of a tensor's name
  const char* methods;
};
constexpr Trace kTraces[] = {
    {".weight_scale", "fp8 or compressed-tensors"},
    {".weight_scale_inv", "fp8 in blocks"},
    {".weight_packed", "compressed-tensors"},
    {".qweight", "gptq or awq"},
    {".qzeros", "gptq or awq"},
    {".weight.absmax", "bitsandbytes"},
    {".SCB", "bitsandbytes"},
    {"_blocks", "mxfp4"},
};

void refuse(const JsonFields& fields, const char* key) {
  const auto quantization = fields.object(key);
  if (!quantization) return;
  std::string method = quantization->text("quant_method", "");
  if (method.empty()) method = quantization->text("quant_algo", "");
  const std::string format = quantization->text("format", "");
  throw CheckpointError(fields.what() + ": the weights are quantized by " +
                        (method.empty() ? "a method that " + std::string(key) + " does not name" : quoted(method)) +
                        (format.empty() ? "" : ", format " + quoted(format)) + ", which is not read yet: " + kRemedy);
}

}  // namespace

void refuse_quantized_config(std::string_view config_json, const std::string& what) {
  const json::value document = parse_json(config_json, what);
  const JsonFields fields(document, what);
  for (const char* key : {"quantization_config", "compression_config"}) {
    refuse(fields, key);
    if (const auto text = fields.object("text_config")) refuse(*text, key);
  }
}

void refuse_quantized_tensors(const TensorSource& source) {
  for (const TensorInfo& tensor : source.tensors()) {
    for (const Trace& trace : kTraces) {
      if (!tensor.name.ends_with(trace.suffix)) continue;
      throw CheckpointError(tensor.file + ": tensor " + quoted(tensor.name) +
                            " shows that the weights are quantized (" + trace.methods +
                            "), which is not read yet: " + kRemedy);
    }
  }
}

}  // namespace trireme
