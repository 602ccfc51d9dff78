#pragma once
#include <string_view>

#include "text/jinja/ast.h"

namespace trireme::jinja {

// The whole template. Throws CheckpointError with line and column. Nesting and size are limited.
Body parse_template(std::string_view source);

}  // namespace trireme::jinja
