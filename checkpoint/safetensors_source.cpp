#include <set>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checked.h"
#include "checkpoint/safetensors.h"

namespace trireme {
namespace {

constexpr size_t kMaxShards = 10'000;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

class SafetensorsSource final : public FileTensorSource {
 public:
  explicit SafetensorsSource(const std::vector<std::string>& paths) {
    files_.reserve(paths.size());
    for (const std::string& path : paths) add_file(path);
  }

 private:
  void add_file(const std::string& path) {
    files_.push_back(std::make_unique<InputFile>(path));
    for (SafetensorsEntry& entry : read_safetensors_header(*files_.back()))
      add(std::move(entry.tensor), {.file = files_.back().get(), .offset = entry.offset});
  }

  std::vector<std::unique_ptr<InputFile>> files_;
};

// A shard lies beside its index: anything that could name another place is refused.
bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name.find('/') == name.npos && name.find("..") == name.npos &&
         name.find('\0') == name.npos && name.size() <= 255;
}

struct ShardIndex {
  std::vector<std::pair<std::string, std::string>> tensors;  // tensor, file name
  std::set<std::string> files;
};

ShardIndex read_index(const std::string& path) {
  const json::value document = parse_json(read_small_file(path), path);
  const json::object* root = document.if_object();
  const json::value* map = root ? root->if_contains("weight_map") : nullptr;
  if (!map || !map->is_object()) throw CheckpointError(path + " has no object \"weight_map\"; fetch the file again");
  ShardIndex index;
  for (const auto& member : map->get_object()) {
    const json::string* file = member.value().if_string();
    if (!file || !is_plain_file_name(*file))
      throw CheckpointError(path + ": tensor " + quoted(member.key()) + " is mapped to " +
                            (file ? quoted(*file) : "something") + ", which is not the plain name of a file beside it");
    index.tensors.emplace_back(member.key(), *file);
    index.files.emplace(*file);
  }
  if (index.files.size() > kMaxShards)
    throw CheckpointError(path + " names " + std::to_string(index.files.size()) + " files; at most " +
                          std::to_string(kMaxShards) + " are read");
  return index;
}

std::unique_ptr<FileTensorSource> open_shards(const std::string& directory, const std::string& remedy) {
  const std::string index_path = directory + "/" + kIndexFile;
  const ShardIndex index = read_index(index_path);
  std::vector<std::string> paths;
  for (const std::string& file : index.files) {
    paths.push_back(directory + "/" + file);
    if (!is_regular_file(paths.back()))
      throw CheckpointError(paths.back() + " is missing, " + index_path + " names it: " + remedy);
  }
  auto source = std::make_unique<SafetensorsSource>(paths);
  for (const auto& [name, file] : index.tensors) {
    const TensorInfo* tensor = source->find(name);
    if (!tensor || !tensor->file.ends_with("/" + file))
      throw CheckpointError(index_path + " says that tensor " + quoted(name) + " is in " + file +
                            (tensor ? ", but it is in " + tensor->file : ", but it is not") + ": " + remedy);
  }
  return source;
}

}  // namespace

std::unique_ptr<FileTensorSource> open_safetensors(const std::string& directory, const std::string& remedy) {
  const std::string single = directory + "/" + kSingleFile;
  if (is_regular_file(single)) return std::make_unique<SafetensorsSource>(std::vector{single});
  if (is_regular_file(directory + "/" + kIndexFile)) return open_shards(directory, remedy);
  if (is_regular_file(directory + "/model-00001-of-00002.safetensors"))
    throw CheckpointError(directory + "/" + kIndexFile + " is missing beside the shards: " + remedy);
  if (is_regular_file(directory + "/pytorch_model.bin") || is_regular_file(directory + "/pytorch_model.bin.index.json"))
    throw CheckpointError(directory +
                          " has its weights as pytorch_model.bin, which can run code when it is loaded and is not "
                          "read; fetch the safetensors version, or load it with transformers and save_pretrained");
  throw CheckpointError(directory + " has neither " + kSingleFile + " nor " + kIndexFile + ": " + remedy);
}

}  // namespace trireme
