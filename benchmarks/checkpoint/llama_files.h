#pragma once
// A safetensors directory of a Llama's shapes, bf16, made as fast as the file system takes it: the benchmarks' model.

#include <cstdint>
#include <string>

namespace trireme {

// FOLDER/config.json and shards of at most 5 GB with their index; the layers of the model at `config_path` cut to
// `gigabytes` in all. Elements: one random block of 64 MB again and again. A folder that has all that is left as it is.
// Returns the bytes of all tensors. Throws ConfigError.
int64_t write_llama_files(const std::string& config_path, const std::string& folder, double gigabytes, int threads);

}  // namespace trireme
