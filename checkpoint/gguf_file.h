#pragma once
// The GGUF format, version 2 and 3, little-endian: metadata, tensor descriptions, aligned data. Every count and
// size is checked against the file's size before it is used.

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "checkpoint/gguf_types.h"
#include "checkpoint/input_file.h"

namespace trireme {

// Integers and bools of any width are int64 (an unsigned one beyond it: double), floats are double.
using GgufValue = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>>;

class GgufMetadata {
 public:
  explicit GgufMetadata(std::string path) : path_(std::move(path)) {}
  void add(const std::string& key, GgufValue value);  // throws CheckpointError for a second value

  bool has(const std::string& key) const { return values_.contains(key); }
  bool is_array(const std::string& key) const;  // false when absent
  // Throw CheckpointError naming file and key when the value has another type or is out of range; without a
  // fallback also when it is absent.
  int64_t integer(const std::string& key, int64_t low, int64_t high) const;
  int64_t integer(const std::string& key, int64_t low, int64_t high, int64_t fallback) const;
  double number(const std::string& key, double fallback) const;
  bool flag(const std::string& key, bool fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  std::vector<std::string> texts(const std::string& key) const;          // empty when absent
  std::vector<int64_t> integers(const std::string& key) const;           // empty when absent
  std::vector<double> numbers(const std::string& key) const;             // of floats; empty when absent
  std::vector<std::string> keys_below(const std::string& prefix) const;  // those that begin with it
  const std::string& path() const { return path_; }

 private:
  const GgufValue* find(const std::string& key) const;
  [[noreturn]] void fail(const std::string& key, const std::string& problem) const;

  std::string path_;
  std::map<std::string, GgufValue> values_;
};

struct GgufTensor {
  std::string name;  // GGUF's: "blk.0.attn_q.weight"
  const GgufType* type = nullptr;
  std::vector<int64_t> shape;  // row-major (the file lists the fastest dimension first)
  int64_t offset = 0;          // of its first byte in the file
  size_t file = 0;             // which part of a split model it is in
  int64_t bytes = 0;
};

struct GgufContents {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;
};

GgufContents read_gguf_header(const InputFile& file);  // throws CheckpointError

}  // namespace trireme
