// Filters whose result is a string, a number or the like. Lists are in filters_list.cpp.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/operations.h"
#include "text/jinja/text_functions.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

Value trim(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("trim", arguments, {"chars"});
  const bool has_set = bound[0] && !bound[0]->is_none();
  const std::string set = has_set ? bound.text(0, "") : "";
  const Text text = to_text(evaluator.budget(), input);
  Text stripped = strip(text, has_set ? &set : nullptr, true, true);
  evaluator.budget().spend_chars(text.size() - stripped.size() + set.size() * 4);
  return stripped;
}

template <std::string (*map)(std::string_view)>
Value map_case(Evaluator& evaluator, const Value& input, const Arguments&) {
  const Text text = to_text(evaluator.budget(), input);
  evaluator.budget().spend_chars(text.size());
  return text.mapped(map(text.bytes()));
}

// Jinja's own rule, unlike str.title: words begin after blanks, hyphens and opening brackets only.
std::string title_words(std::string_view text) {
  std::string out;
  size_t begin = 0;
  bool previous_begins_word = true;
  for (size_t at = 0; at <= text.size();) {
    const bool end = at == text.size();
    const DecodedChar c = end ? DecodedChar{0, 1} : decode_char(text, at);
    const bool begins_word =
        !end && (is_python_space(c.code) || std::u32string_view(U"-({[<").find(c.code) != std::u32string_view::npos);
    if (end || begins_word != previous_begins_word) {
      const std::string_view run = text.substr(begin, at - begin);
      if (!run.empty()) {
        const size_t first = decode_char(run, 0).bytes;
        out += to_upper(run.substr(0, first)) + to_lower(run.substr(first));
      }
      begin = at;
      previous_begins_word = begins_word;
    }
    at += c.bytes;
  }
  return out;
}

Value to_string_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  return to_text(evaluator.budget(), input);
}

Value replace_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("replace", arguments, {"old", "new", "count"});
  const auto text = [&](size_t index) { return to_text(evaluator.budget(), bound.required(index)); };
  const bool limited = bound[2] && !bound[2]->is_none();
  return replace_all(evaluator.budget(), to_text(evaluator.budget(), input), text(0), text(1),
                     limited ? bound.integer(2, -1) : -1);
}

Value indent_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("indent", arguments, {"width", "first", "blank"});
  Budget& budget = evaluator.budget();
  const bool by_text = bound[0] && bound[0]->if_text();
  const int64_t width = by_text ? 0 : std::clamp<int64_t>(bound.integer(0, 4), 0, 10'000);
  const Text indention = by_text ? *bound[0]->if_text() : Text(std::string(size_t(width), ' '));
  Text source = require_text(input, "what indent is given");
  source.append("\n");
  const Values lines = split_lines(budget, source, false);
  Text out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Text& line = *lines[i].if_text();
    if (i > 0) out.append("\n");
    if (i == 0 ? bound.flag(1, false) : (line.size() > 0 || bound.flag(2, false))) out.append(indention);
    out.append(line);
    budget.check_text(out.size() > kMaxTextBytes ? out.size() : indention.size());
  }
  return out;
}

Value center_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("center", arguments, {"width"});
  return pad(evaluator.budget(), to_text(evaluator.budget(), input), bound.integer(0, 80), U' ', true, true);
}

Value escape_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  const Text source = to_text(evaluator.budget(), input);
  return source.is_markup() ? source : escape_html(evaluator.budget(), source).as_markup();
}

Value forced_escape_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  return escape_html(evaluator.budget(), to_text(evaluator.budget(), input)).as_markup();
}

Value safe_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  return to_text(evaluator.budget(), input).as_markup();
}

Value format_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value values = arguments.positional.empty() ? Value::tuple({}) : Value::tuple(arguments.positional);
  return percent_format(evaluator.budget(), to_text(evaluator.budget(), input), values);
}

Value tojson_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.flag(0, false);
  style.sort_keys = bound.flag(3, false);
  if (bound[1] && !bound[1]->is_none()) {
    const bool by_text = bound[1]->if_text();
    style.indent =
        by_text ? bound.text(1, "") : std::string(size_t(std::clamp<int64_t>(bound.integer(1, 0), 0, 100)), ' ');
    style.item_separator = ",";
  }
  if (bound[2] && !bound[2]->is_none()) {
    const List* pair = bound[2]->if_list();
    if (!pair || pair->items.size() != 2) fail("tojson's separators must be a pair");
    style.item_separator = require_text(pair->items[0], "a separator").bytes();
    style.key_separator = require_text(pair->items[1], "a separator").bytes();
  }
  return Value(to_json(evaluator.budget(), input, style));
}

// What int() and float() read: white space around it and "_" inside do not matter.
std::string number_text(const Text& text) {
  std::string digits = strip(text, nullptr, true, true).bytes();
  std::erase(digits, '_');
  if (digits.starts_with('+')) digits.erase(0, 1);
  return digits;
}

std::optional<double> parse_real(const Text& text) {
  const std::string digits = number_text(text);
  double real = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), real);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.empty()) return std::nullopt;
  return real;
}

std::optional<int64_t> parse_int(const Text& text, int base) {
  std::string digits = number_text(text);
  if (base == 16 && (digits.starts_with("0x") || digits.starts_with("0X"))) digits.erase(0, 2);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.empty()) return std::nullopt;
  return number;
}

std::optional<int64_t> truncate_real(std::optional<double> real) {
  if (!real || !(std::fabs(*real) < 9.2e18)) return std::nullopt;
  return int64_t(*real);
}

Value int_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("int", arguments, {"default", "base"});
  const int64_t base = bound.integer(1, 10);
  if (base < 2 || base > 36) fail("int's base must be from 2 to 36");
  if (input.is_undefined()) fail(input.undefined_reason());
  std::optional<int64_t> number = as_int(input);
  if (!number && input.if_real()) number = truncate_real(*input.if_real());
  if (!number && input.if_text()) number = parse_int(*input.if_text(), int(base));
  if (!number && input.if_text()) number = truncate_real(parse_real(*input.if_text()));
  return number ? Value(*number) : bound[0] ? *bound[0] : Value(int64_t(0));
}

Value float_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("float", arguments, {"default"});
  if (input.is_undefined()) fail(input.undefined_reason());
  std::optional<double> real = as_real(input);
  if (!real && input.if_text()) real = parse_real(*input.if_text());
  return real ? Value(*real) : bound[0] ? *bound[0] : Value(0.0);
}

// To a multiple of 10 to the power of -precision; half-way to the even one.
Value round_integer(int64_t value, int64_t precision) {
  if (precision >= 0) return value;
  if (precision < -18) return int64_t(0);
  int64_t unit = 1;
  for (int64_t i = precision; i < 0; ++i) unit *= 10;
  int64_t quotient = value / unit, rest = value % unit;
  if (rest < 0) rest += unit, --quotient;
  if (rest > unit / 2 || (rest == unit / 2 && quotient % 2 != 0)) ++quotient;
  if (__builtin_mul_overflow(quotient, unit, &quotient)) fail("a number is outside the range of 64 bits");
  return quotient;
}

Value round_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("round", arguments, {"precision", "method"});
  const auto value = as_real(input);
  if (!value) fail(std::string("round needs a number, not '") + input.type_name() + "'");
  const int64_t precision = std::clamp<int64_t>(bound.integer(0, 0), -300, 300);
  const std::string method = bound.text(1, "common");
  const double scale = std::pow(10.0, double(precision));
  if (method == "ceil") return std::ceil(*value * scale) / scale + 0.0;  // no negative zero
  if (method == "floor") return std::floor(*value * scale) / scale + 0.0;
  if (method != "common") fail("round's method must be common, ceil or floor");
  if (const auto whole = as_int(input)) return round_integer(*whole, precision);
  if (precision < 0) return std::nearbyint(*value * scale) / scale;
  char buffer[768];
  std::snprintf(buffer, sizeof(buffer), "%.*f", int(precision), *value);  // exact decimal, half to even
  return std::strtod(buffer, nullptr);
}

Value abs_filter(Evaluator&, const Value& input, const Arguments&) {
  if (const auto number = as_int(input)) return *number < 0 ? negate(*number) : Value(*number);
  if (const auto real = as_real(input)) return std::fabs(*real);
  fail(std::string("bad operand type for abs(): '") + input.type_name() + "'");
}

Value default_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("default", arguments, {"default_value", "boolean"});
  const bool replace = input.is_undefined() || (bound.flag(1, false) && !input.truthy());
  return !replace ? input : bound[0] ? *bound[0] : Value("");
}

Value length_filter(Evaluator&, const Value& input, const Arguments&) {
  const auto length = length_of(input);
  if (!length) fail(std::string("object of type '") + input.type_name() + "' has no len()");
  return *length;
}

Value wordcount_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  const Text text = to_text(evaluator.budget(), input);
  int64_t words = 0;
  evaluator.budget().spend_chars(text.size());
  bool in_word = false;
  for (size_t at = 0; at < text.size(); at += decode_char(text.bytes(), at).bytes) {
    const bool word = is_word(decode_char(text.bytes(), at).code);
    words += word && !in_word;
    in_word = word;
  }
  return words;
}

Value attr_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("attr", arguments, {"name"});
  const std::string name = bound.text(0, "");
  if (input.is_undefined()) fail(input.undefined_reason());
  if (is_refused_method(input, name)) return evaluator.attribute_of(input, name);
  if (const Method* method = find_method(input, name)) return make_method_value(input, *method);
  return input.if_object() ? evaluator.attribute_of(input, name)
                           : Value::undefined("there is no attribute '" + name + "'");
}

// What is longer than length and leeway ends with `end`, at a blank unless words may be cut.
Value truncate_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const int64_t length = bound.integer(0, 255), leeway = bound[3] && !bound[3]->is_none() ? bound.integer(3, 5) : 5;
  const Text end = bound[2] ? require_text(*bound[2], "truncate's end") : Text("...");
  const int64_t kept = length - int64_t(count_chars(end.bytes()));
  if (kept < 0) fail("truncate's length is shorter than what it ends with");
  if (leeway < 0) fail("truncate's leeway must not be negative");
  const auto input_length = length_of(input);
  if (!input_length) fail(std::string("object of type '") + input.type_name() + "' has no len()");
  if (*input_length <= length + leeway) return input;
  const Text text = require_text(input, "what is truncated");
  Text out = text.slice(0, char_offset(text.bytes(), size_t(kept)));
  if (!bound.flag(1, false)) out = out.slice(0, std::min(out.bytes().rfind(' '), out.size()));
  out.append(end);
  return out;
}

Text url_quoted(const Text& text, bool is_pair) {  // in a pair a blank is "+" and "/" is quoted
  Text out;
  text.visit_runs([&](std::string_view run, bool untrusted) {
    std::string quoted;
    for (const char c : run) {
      char buffer[8];
      const bool kept = std::isalnum(uint8_t(c)) || std::string_view("_.-~").find(c) != std::string_view::npos ||
                        (c == '/' && !is_pair);
      std::snprintf(buffer, sizeof(buffer), kept ? "%c" : "%%%02X", uint8_t(c));
      quoted += c == ' ' && is_pair ? "+" : buffer;
    }
    out.append(quoted, untrusted);
  });
  return out;
}

Value urlencode_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  Budget& budget = evaluator.budget();
  if (!input.if_dict() && !input.if_list()) return url_quoted(to_text(budget, input), false);
  Text out;
  const auto write_pair = [&](const Value& key, const Value& value) {
    if (out.size() > 0) out.append("&");
    out.append(url_quoted(to_text(budget, key), true));
    out.append("=");
    out.append(url_quoted(to_text(budget, value), true));
    budget.check_text(out.size() > kMaxTextBytes ? out.size() : 0);
  };
  if (const Dict* dict = input.if_dict()) {
    for (const auto& [key, value] : dict->entries()) write_pair(key, value);
    return out;
  }
  for (const Value& item : items_of(budget, input)) {
    const Values pair = items_of(budget, item);
    if (pair.size() != 2) fail("urlencode takes a string, a mapping or pairs");
    write_pair(pair[0], pair[1]);
  }
  return out;
}

constexpr Filter kFilters[] = {
    {"trim", trim},
    {"upper", map_case<to_upper>},
    {"lower", map_case<to_lower>},
    {"title", map_case<title_words>},
    {"capitalize", map_case<to_capitalized>},
    {"string", to_string_filter},
    {"replace", replace_filter},
    {"indent", indent_filter},
    {"center", center_filter},
    {"escape", escape_filter},
    {"e", escape_filter},
    {"forceescape", forced_escape_filter},
    {"safe", safe_filter},
    {"truncate", truncate_filter},
    {"urlencode", urlencode_filter},
    {"format", format_filter},
    {"tojson", tojson_filter},
    {"int", int_filter},
    {"float", float_filter},
    {"round", round_filter},
    {"abs", abs_filter},
    {"default", default_filter},
    {"d", default_filter},
    {"length", length_filter},
    {"count", length_filter},
    {"wordcount", wordcount_filter},
    {"attr", attr_filter},
};

}  // namespace

const Filter* find_text_filter(std::string_view name) {
  for (const Filter& filter : kFilters)
    if (filter.name == name) return &filter;
  return nullptr;
}

}  // namespace trireme::jinja
