#pragma once
// Temporary folders, golden arrays, and the expectation that an error says what it should.

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace trireme::test {

class TempDirectory {  // removed with everything in it
 public:
  TempDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "trireme_test_XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp " + pattern);
    path_ = pattern;
  }
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& bytes) const {  // returns the path
    const std::filesystem::path file = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
    return file.string();
  }

 private:
  std::string path_;
};

inline std::string slurp(const std::string& path) { return read_text_file(path); }

inline std::string model_folder(const std::string& name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/models/" + name;
}
inline std::string golden_path(const std::string& name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/checkpoint/golden/" + name;
}

// An f32 array of a golden file pair (scripts/goldens/golden_file.py).
inline std::vector<float> golden_floats(const std::string& json_path, const std::string& name) {
  const json::value document = parse_json(slurp(json_path), json_path);
  const json::object& entry = document.at("arrays").at(name).as_object();
  size_t count = 1;
  for (const json::value& dim : entry.at("shape").as_array()) count *= size_t(dim.as_int64());
  const std::string bytes =
      slurp(json_path.substr(0, json_path.rfind('/') + 1) + std::string(document.at("file").as_string()));
  std::vector<float> values(count);
  std::memcpy(values.data(), bytes.data() + entry.at("offset").as_int64(), count * sizeof(float));
  return values;
}

// `action` must throw a CheckpointError whose text holds every one of `parts`.
inline void expect_error(const std::function<void()>& action, const std::vector<std::string>& parts) {
  try {
    action();
  } catch (const CheckpointError& error) {
    const std::string text = error.what();
    for (const std::string& part : parts)
      EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in: " << text;
    return;
  }
  ADD_FAILURE() << "no CheckpointError";
}

}  // namespace trireme::test
