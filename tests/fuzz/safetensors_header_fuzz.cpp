// Input: the JSON header of a safetensors file, or (where it does not begin with '{') the whole file. The header gets
// its size in front and a few bytes of data behind it.

#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/slice_reader.h"
#include "tests/support/memory_file.h"

namespace trireme::test {
namespace {

std::string as_file(std::string_view input) {
  if (!input.starts_with('{')) return std::string(input);
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += char(uint64_t(input.size()) >> (8 * i));
  return bytes + std::string(input) + std::string(40, '\7');
}

void check(std::string_view input) {
  static MemoryFile memory;
  memory.set(as_file(input));
  const InputFile file(memory.path());
  int64_t data_bytes = 0;
  for (const SafetensorsEntry& entry : read_safetensors_header(file)) {
    std::vector<std::byte> bytes(static_cast<size_t>(entry.tensor.bytes));
    const int64_t rows = entry.tensor.rows(), columns = entry.tensor.columns();
    for (const TensorSlice& slice : {TensorSlice{0, rows, 0, columns}, {rows / 2, rows, columns / 2, columns}}) {
      check_slice(entry.tensor, slice);
      read_slice(file, entry.offset, entry.tensor, slice, bytes.data());
    }
    data_bytes += entry.tensor.bytes;
  }
  if (data_bytes > file.size()) std::abort();  // an accepted header describes each byte once
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
