#include <algorithm>
#include <set>

#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/gguf.h"

namespace trireme {
namespace {

constexpr int64_t kMaxParts = 1000;
constexpr size_t kSuffixBytes = std::string_view("-00001-of-00003.gguf").size();

std::string five_digits(int64_t number) {
  const std::string digits = std::to_string(number);
  return std::string(5 - std::min<size_t>(digits.size(), 5), '0') + digits;
}

// Part `number` (from 1) of `count` beside the part `path`; empty when `path` is not named like one.
std::string part_path(const std::string& path, int64_t number, int64_t count) {
  if (path.size() <= kSuffixBytes) return "";
  const std::string suffix = path.substr(path.size() - kSuffixBytes);
  const bool digits = std::all_of(suffix.begin() + 1, suffix.begin() + 6, [](char c) { return '0' <= c && c <= '9'; });
  if (!digits || suffix[0] != '-' || suffix.substr(6) != "-of-" + five_digits(count) + ".gguf") return "";
  return path.substr(0, path.size() - kSuffixBytes) + "-" + five_digits(number) + suffix.substr(6);
}

[[noreturn]] void fail(const std::string& path, const std::string& problem) {
  throw CheckpointError(path + ": " + problem + ": download or copy all parts of the model again");
}

// The tensors of the part `number` (from 1) join the model.
void add_part(GgufModel& model, std::unique_ptr<InputFile> file, GgufContents contents, int64_t number, int64_t count) {
  if (contents.metadata.integer("split.count", 0, kMaxParts, 0) != count ||
      contents.metadata.integer("split.no", 0, kMaxParts, 0) != number - 1)
    fail(file->path(),
         "its metadata does not say that it is part " + std::to_string(number) + " of " + std::to_string(count));
  for (GgufTensor& tensor : contents.tensors) {
    tensor.file = model.files.size();
    model.tensors.push_back(std::move(tensor));
  }
  model.files.push_back(std::move(file));
}

void check_tensors(const GgufModel& model) {
  const std::string& path = model.files.front()->path();
  const int64_t expected = model.metadata.integer("split.tensors.count", 0, int64_t(1) << 31, -1);
  if (expected >= 0 && expected != int64_t(model.tensors.size()))
    fail(path, "the parts have " + std::to_string(model.tensors.size()) + " tensors, the first one says " +
                   std::to_string(expected));
  std::set<std::string_view> names;
  for (const GgufTensor& tensor : model.tensors) {
    if (!names.insert(tensor.name).second) fail(path, "tensor " + quoted(tensor.name) + " is in two parts");
  }
}

}  // namespace

const GgufTensor* GgufModel::find(std::string_view name) const {
  const auto at = std::ranges::find(tensors, name, &GgufTensor::name);
  return at == tensors.end() ? nullptr : &*at;
}

GgufModel open_gguf_model(const std::string& path) {
  auto file = std::make_unique<InputFile>(path);
  GgufContents contents = read_gguf_header(*file);
  const int64_t count = contents.metadata.integer("split.count", 0, kMaxParts, 0);
  GgufModel model{{}, GgufMetadata(path), {}};
  if (count <= 1) {
    model.metadata = std::move(contents.metadata);
    model.tensors = std::move(contents.tensors);
    model.files.push_back(std::move(file));
    return model;
  }
  if (part_path(path, 1, count).empty())
    fail(path, "is part of a model in " + std::to_string(count) + " files, but is not named like NAME-00001-of-" +
                   five_digits(count) + ".gguf");
  for (int64_t number = 1; number <= count; ++number) {
    const std::string part = part_path(path, number, count);
    if (!is_regular_file(part)) fail(part, "is missing, " + path + " needs it");
    auto part_file = std::make_unique<InputFile>(part);
    GgufContents part_contents = read_gguf_header(*part_file);
    if (number == 1) model.metadata = part_contents.metadata;
    add_part(model, std::move(part_file), std::move(part_contents), number, count);
  }
  check_tensors(model);
  return model;
}

}  // namespace trireme
