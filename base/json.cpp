#include "base/json.h"

#include <boost/json/src.hpp>
#include <algorithm>
#include <fstream>

#include "base/error.h"

namespace trireme {

json::value parse_json(std::string_view text, std::string_view what, int max_depth) {
  json::parse_options options;
  options.max_depth = size_t(max_depth);
  json::stream_parser parser({}, options);
  json::error_code error;
  const size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error && used == text.size()) parser.finish(error);
  if (!error && used == text.size()) return parser.release();
  const size_t at = std::min(used, text.size());
  const size_t line = size_t(std::count(text.begin(), text.begin() + std::ptrdiff_t(at), '\n')) + 1;
  const size_t line_start = text.substr(0, at).rfind('\n');
  const size_t column = at - (line_start == std::string_view::npos ? 0 : line_start + 1) + 1;
  throw CheckpointError(std::string(what) + " is not valid JSON: " + (error ? error.message() : "text after the end") +
                        " at line " + std::to_string(line) + ", column " + std::to_string(column));
}

std::string read_text_file(const std::string& path, size_t max_bytes) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw CheckpointError("cannot open " + path + ": check that the file exists and is readable");
  const auto size = file.tellg();
  if (size < 0 || size_t(size) > max_bytes)
    throw CheckpointError(path + " is larger than the limit of " + std::to_string(max_bytes) + " bytes");
  std::string text(size_t(size), '\0');
  file.seekg(0);
  if (!file.read(text.data(), size)) throw CheckpointError("cannot read " + path);
  return text;
}

}  // namespace trireme
