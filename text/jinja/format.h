#pragma once
// Values as text: Python's str() and repr(), json.dumps, and "..." % arguments.

#include <optional>
#include <string>

#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace trireme::jinja {

Text to_text(Budget& budget, const Value& value);  // str(); undefined is empty
Text to_repr(Budget& budget, const Value& value);
std::string short_repr(const Value& value);  // for error messages: at most some 80 bytes
Text escape_non_ascii(const Text& text);     // as \x, \u and \U escapes
std::string real_repr(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // one level; empty optional: one line
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};
Text to_json(Budget& budget, const Value& value, const JsonStyle& style);

// "..." % arguments and "...".format(arguments), in format_strings.cpp.
Value percent_format(Budget& budget, const Text& format, const Value& arguments);
Value brace_format(Evaluator& evaluator, const Text& format, const Arguments& arguments);

}  // namespace trireme::jinja
