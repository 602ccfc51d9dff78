#pragma once
// Boost.JSON with our limits: depth, size, and errors that name the file or field. Boost is header-only here:
// base/json.cpp compiles it once.

#include <boost/json.hpp>

#include <string>
#include <string_view>

namespace trireme {

namespace json = boost::json;

// Parses `text`; `what` names it in the error ("config.json"). Throws CheckpointError with line and column.
json::value parse_json(std::string_view text, std::string_view what, int max_depth = 64);

std::string read_text_file(const std::string& path, size_t max_bytes = size_t(1) << 30);  // throws CheckpointError

}  // namespace trireme
