#pragma once
// Python's string operations that both methods ("x".strip()) and filters (x | trim) use. All keep valid UTF-8.

#include <string_view>

#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace trireme::jinja {

// Offset of the first (last) `wanted` in `bytes` from `from` on, or npos. Time grows with the sum of the lengths, not
// with their product.
size_t find_bytes(std::string_view bytes, std::string_view wanted, size_t from = 0);
size_t find_last_bytes(std::string_view bytes, std::string_view wanted);

// Without the characters of `set` (null: white space) at its ends.
Text strip(const Text& text, const std::string* set, bool left, bool right);
// count < 0: all.
Text replace_all(Budget& budget, const Text& text, const Text& old, const Text& replacement, int64_t count);
Values split_lines(Budget& budget, const Text& text, bool keep_ends);
Text escape_html(Budget& budget, const Text& text);  // & < > and both quotes; not yet markup
Text pad(Budget& budget, const Text& text, int64_t width, char32_t fill, bool left, bool right);

}  // namespace trireme::jinja
