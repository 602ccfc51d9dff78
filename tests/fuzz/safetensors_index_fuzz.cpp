// Input: model.safetensors.index.json of a directory that holds two small shards.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "tests/support/memory_file.h"

namespace trireme::test {
namespace {

std::string shard(const std::string& name) {
  const std::string header = R"({")" + name + R"(":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})";
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += char(uint64_t(header.size()) >> (8 * i));
  return bytes + header + "abc";
}

// Files in memory behind links in one folder.
struct Folder {
  Folder() : path(std::filesystem::temp_directory_path() / ("trireme_index_fuzz_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path);
    link("model-00001-of-00002.safetensors", first);
    link("model-00002-of-00002.safetensors", second);
    link("model.safetensors.index.json", index);
    first.set(shard("a"));
    second.set(shard("b"));
  }
  ~Folder() { std::filesystem::remove_all(path); }
  void link(const char* name, const MemoryFile& file) const {
    std::filesystem::remove(path / name);
    std::filesystem::create_symlink(file.path(), path / name);
  }
  MemoryFile first, second, index;
  std::filesystem::path path;
};

void check(std::string_view input) {
  static Folder folder;
  folder.index.set(input);
  const auto source = open_safetensors(folder.path, "remedy");
  for (const TensorInfo& tensor : source->tensors()) {
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
