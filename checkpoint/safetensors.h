#pragma once
// The safetensors format: u64 header size (little-endian), JSON header {name: {dtype, shape, data_offsets}}, data.
// Strict: whatever the header says is checked against the file's size before anything is believed.

#include <memory>

#include "checkpoint/file_tensor_source.h"

namespace trireme {

struct SafetensorsEntry {
  TensorInfo tensor;
  int64_t offset = 0;  // of its first byte in the file
};

// The entries in the order of their data. Throws CheckpointError for: a header over 100,000,000 bytes or past the
// file's end, bad JSON or UTF-8, a name twice, an unknown dtype, shape and span that differ, spans that overlap or
// leave a gap, data that does not end where the file ends.
std::vector<SafetensorsEntry> read_safetensors_header(const InputFile& file);

// DIRECTORY/model.safetensors, or the shards that DIRECTORY/model.safetensors.index.json names. `remedy` ends the
// error about a missing file ("hf download org/name").
std::unique_ptr<FileTensorSource> open_safetensors(const std::string& directory, const std::string& remedy);

}  // namespace trireme
