// Methods of strings; those of dicts and lists are in methods_container.cpp.
#include <algorithm>

#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/operations.h"
#include "text/jinja/text_functions.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

const Text& self_text(const Value& self) { return *self.if_text(); }

// Of strip() only what it took away is work.
Text charged(Budget& budget, const Text& before, const std::string* set, Text after) {
  budget.spend_chars(before.size() - after.size() + (set ? set->size() * 4 : 0));
  return after;
}

template <bool left, bool right>
Value strip_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  Budget& budget = evaluator.budget();
  const BoundArguments bound("strip()", arguments, {"chars"});
  const bool has_set = bound[0] && !bound[0]->is_none();
  const std::string* set = has_set ? &require_text(*bound[0], "strip()'s argument").bytes() : nullptr;
  return charged(budget, self_text(self), set, strip(self_text(self), set, left, right));
}

template <std::string (*map)(std::string_view)>
Value map_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("this method", arguments, {});
  evaluator.budget().spend_chars(self_text(self).size());
  return self_text(self).mapped(map(self_text(self).bytes()));
}

Values split_on_blanks(Evaluator& evaluator, const Text& text, int64_t limit) {
  const std::string& bytes = text.bytes();
  Values parts;
  size_t at = 0;
  evaluator.budget().spend_chars(bytes.size());
  const auto skip = [&](bool blanks) {
    while (at < bytes.size() && is_python_space(decode_char(bytes, at).code) == blanks)
      at += decode_char(bytes, at).bytes;
  };
  for (skip(true); at < bytes.size(); skip(true)) {
    const size_t begin = at;
    evaluator.budget().step();
    if (limit >= 0 && int64_t(parts.size()) == limit) {
      parts.emplace_back(text.slice(begin, bytes.size()));
      break;
    }
    skip(false);
    parts.emplace_back(text.slice(begin, at));
  }
  return parts;
}

// The last `limit` words, and before them the rest without the blanks at its end.
Values rsplit_on_blanks(Evaluator& evaluator, const Text& text, int64_t limit) {
  Values words = split_on_blanks(evaluator, text, -1);
  if (int64_t(words.size()) <= limit) return words;
  Values parts(words.end() - std::ptrdiff_t(limit), words.end());
  Text rest = strip(text, nullptr, false, true);
  for (auto word = parts.rbegin(); word != parts.rend(); ++word)
    rest = strip(rest.slice(0, rest.size() - word->if_text()->size()), nullptr, false, true);
  evaluator.budget().spend_bytes(text.size() * parts.size());
  parts.insert(parts.begin(), rest);
  return parts;
}

Values split_on(Evaluator& evaluator, const Text& text, const std::string& separator, int64_t limit) {
  Values parts;
  size_t at = 0;
  for (size_t found = find_bytes(text.bytes(), separator); found != std::string::npos && limit != 0;
       found = find_bytes(text.bytes(), separator, at), --limit) {
    evaluator.budget().step();
    parts.emplace_back(text.slice(at, found));
    at = found + separator.size();
  }
  parts.emplace_back(text.slice(at, text.size()));
  return parts;
}

Values split_from_right(Evaluator& evaluator, const Text& text, const std::string& separator, int64_t limit) {
  Values parts;
  size_t end = text.size();
  while (limit-- != 0 && end >= separator.size()) {
    const size_t found = find_last_bytes(std::string_view(text.bytes()).substr(0, end), separator);
    if (found == std::string::npos) break;
    evaluator.budget().step();
    parts.emplace_back(text.slice(found + separator.size(), end));
    end = found;
  }
  parts.emplace_back(text.slice(0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Value split_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("split()", arguments, {"sep", "maxsplit"});
  const int64_t limit = bound.integer(1, -1);
  if (!bound[0] || bound[0]->is_none())
    return Value::list(from_right && limit >= 0 ? rsplit_on_blanks(evaluator, self_text(self), limit)
                                                : split_on_blanks(evaluator, self_text(self), limit));
  const std::string separator = bound.text(0, "");
  if (separator.empty()) fail("empty separator");
  return Value::list((from_right ? split_from_right : split_on)(evaluator, self_text(self), separator, limit));
}

template <bool from_right>
Value partition_method(Evaluator&, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("partition()", arguments, {"sep"});
  const std::string separator = require_text(bound.required(0), "the separator").bytes();
  if (separator.empty()) fail("empty separator");
  const Text& text = self_text(self);
  const size_t found = from_right ? find_last_bytes(text.bytes(), separator) : find_bytes(text.bytes(), separator);
  if (found == std::string::npos) {
    const Value nothing(text.slice(0, 0));
    return from_right ? Value::tuple({nothing, nothing, self}) : Value::tuple({self, nothing, nothing});
  }
  return Value::tuple({text.slice(0, found), text.slice(found, found + separator.size()),
                       text.slice(found + separator.size(), text.size())});
}

// The affix may be a tuple of alternatives; optional bounds count characters.
template <bool at_end>
Value affix_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound(at_end ? "endswith()" : "startswith()", arguments, {"affix", "start", "end"});
  const Value none(nullptr);
  const Value part = bound[1] ? slice_of(evaluator.budget(), self, *bound[1], bound[2] ? *bound[2] : none, none) : self;
  const std::string& bytes = self_text(part).bytes();
  const auto matches = [&](const Value& affix) {
    const std::string& wanted = require_text(affix, "a prefix or suffix").bytes();
    return at_end ? bytes.ends_with(wanted) : bytes.starts_with(wanted);
  };
  const Value& affix = bound.required(0);
  if (const List* list = affix.if_list()) return std::any_of(list->items.begin(), list->items.end(), matches);
  return matches(affix);
}

template <bool from_right, bool must_exist>
Value find_method_of_text(Evaluator&, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("find()", arguments, {"sub", "start", "end"});
  if (bound[2]) fail("find() with an end is not supported");
  const std::string& bytes = self_text(self).bytes();
  const std::string& wanted = require_text(bound.required(0), "find()'s argument").bytes();
  const int64_t length = int64_t(count_chars(bytes));
  const int64_t start =
      bound.integer(1, 0) < 0 ? std::max<int64_t>(0, bound.integer(1, 0) + length) : bound.integer(1, 0);
  const size_t from = char_offset(bytes, size_t(start));
  size_t found = start > length ? std::string::npos
                 : from_right   ? find_last_bytes(bytes, wanted)
                                : find_bytes(bytes, wanted, from);
  if (found != std::string::npos && found < from) found = std::string::npos;
  if (found == std::string::npos && must_exist) fail("substring not found");
  return found == std::string::npos ? int64_t(-1) : int64_t(count_chars(std::string_view(bytes).substr(0, found)));
}

Value replace_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("replace()", arguments, {"old", "new", "count"});
  return replace_all(evaluator.budget(), self_text(self), require_text(bound.required(0), "replace()'s first argument"),
                     require_text(bound.required(1), "replace()'s second argument"), bound.integer(2, -1));
}

Value join_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("join()", arguments, {"iterable"});
  Text out;
  bool first = true;
  const bool markup = self_text(self).is_markup();
  for (const Value& item : items_of(evaluator.budget(), bound.required(0))) {
    if (!std::exchange(first, false)) out.append(self_text(self));
    const Text& part = require_text(item, "every item that join() joins");
    out.append(markup && !part.is_markup() ? escape_html(evaluator.budget(), part) : part);
    evaluator.budget().step();
    evaluator.budget().check_text(out.size() > kMaxTextBytes ? out.size() : 0);
  }
  evaluator.budget().check_text(out.size());
  return out.as_markup(markup);
}

Value count_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("count()", arguments, {"sub"});
  const std::string& bytes = self_text(self).bytes();
  const std::string& wanted = require_text(bound.required(0), "count()'s argument").bytes();
  if (wanted.empty()) return int64_t(count_chars(bytes)) + 1;
  int64_t count = 0;
  for (size_t at = find_bytes(bytes, wanted); at != std::string::npos;
       at = find_bytes(bytes, wanted, at + wanted.size()))
    ++count;
  evaluator.budget().spend_items(size_t(count));
  return count;
}

Value splitlines_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("splitlines()", arguments, {"keepends"});
  return Value::list(split_lines(evaluator.budget(), self_text(self), bound.flag(0, false)));
}

template <bool suffix>
Value remove_affix_method(Evaluator&, const Value& self, const Arguments& arguments) {
  const BoundArguments bound(suffix ? "removesuffix()" : "removeprefix()", arguments, {"affix"});
  const Text& text = self_text(self);
  const std::string& affix = require_text(bound.required(0), "a prefix or suffix").bytes();
  if (suffix) return text.bytes().ends_with(affix) ? text.slice(0, text.size() - affix.size()) : text;
  return text.bytes().starts_with(affix) ? text.slice(affix.size(), text.size()) : text;
}

template <bool left, bool right>
Value pad_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("this method", arguments, {"width", "fillchar"});
  const std::string fill = bound.text(1, " ");
  if (count_chars(fill) != 1) fail("the fill character must be exactly one character long");
  return pad(evaluator.budget(), self_text(self), require_int(bound.required(0), "the width"),
             decode_char(fill, 0).code, left, right);
}

// Every character satisfies the predicate, and there is one.
template <bool (*predicate)(char32_t)>
Value all_method(Evaluator& evaluator, const Value& self, const Arguments&) {
  evaluator.budget().spend_chars(self_text(self).size());
  const std::string& bytes = self_text(self).bytes();
  for (size_t at = 0; at < bytes.size(); at += decode_char(bytes, at).bytes)
    if (!predicate(decode_char(bytes, at).code)) return false;
  return !bytes.empty();
}

bool is_digit_char(char32_t code) { return category(code) == Category::Nd; }
bool is_alphanumeric(char32_t code) { return is_letter(code) || is_number(code); }

template <std::string (*own)(std::string_view), std::string (*other)(std::string_view)>
Value case_test_method(Evaluator& evaluator, const Value& self, const Arguments&) {
  evaluator.budget().spend_chars(self_text(self).size() * 2);
  const std::string& bytes = self_text(self).bytes();
  return own(bytes) == bytes && other(bytes) != bytes;
}

Value format_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return brace_format(evaluator, self_text(self), arguments);
}

Value zfill_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("zfill()", arguments, {"width"});
  const Text& text = self_text(self);
  const bool has_sign = text.bytes().starts_with('-') || text.bytes().starts_with('+');
  Text out = text.slice(0, has_sign);
  out.append(pad(evaluator.budget(), text.slice(has_sign, text.size()),
                 require_int(bound.required(0), "the width") - has_sign, U'0', true, false));
  return out;
}

std::string swap_case(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = decode_char(text, at);
    const std::string_view one = text.substr(at, bytes);
    out += category(code) == Category::Lu ? to_lower(one) : to_upper(one);
    at += bytes;
  }
  return out;
}

Value expandtabs_method(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("expandtabs()", arguments, {"tabsize"});
  const int64_t size = std::clamp<int64_t>(bound.integer(0, 8), 0, 1000);
  const Text& text = self_text(self);
  Text out;
  int64_t column = 0;
  evaluator.budget().spend_chars(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = decode_char(text.bytes(), at);
    if (code == '\t') {
      const int64_t blanks = size > 0 ? size - column % size : 0;
      out.append(std::string(size_t(blanks), ' '));
      column += blanks;
    } else {
      out.append(text.slice(at, at + bytes));
      column = code == '\n' || code == '\r' ? 0 : column + 1;
    }
    at += bytes;
    evaluator.budget().check_text(out.size() > kMaxTextBytes ? out.size() : 0);
  }
  return out;
}

Value is_ascii_method(Evaluator&, const Value& self, const Arguments&) {
  const std::string& bytes = self_text(self).bytes();
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return uint8_t(c) < 0x80; });
}

constexpr Method kTextMethods[] = {
    {"strip", strip_method<true, true>},
    {"lstrip", strip_method<true, false>},
    {"rstrip", strip_method<false, true>},
    {"upper", map_method<to_upper>},
    {"lower", map_method<to_lower>},
    {"title", map_method<to_title>},
    {"capitalize", map_method<to_capitalized>},
    {"split", split_method<false>},
    {"rsplit", split_method<true>},
    {"partition", partition_method<false>},
    {"rpartition", partition_method<true>},
    {"startswith", affix_method<false>},
    {"endswith", affix_method<true>},
    {"replace", replace_method},
    {"join", join_method},
    {"find", find_method_of_text<false, false>},
    {"rfind", find_method_of_text<true, false>},
    {"index", find_method_of_text<false, true>},
    {"rindex", find_method_of_text<true, true>},
    {"count", count_method},
    {"splitlines", splitlines_method},
    {"format", format_method},
    {"removeprefix", remove_affix_method<false>},
    {"removesuffix", remove_affix_method<true>},
    {"ljust", pad_method<false, true>},
    {"rjust", pad_method<true, false>},
    {"center", pad_method<true, true>},
    {"zfill", zfill_method},
    {"swapcase", map_method<swap_case>},
    {"expandtabs", expandtabs_method},
    {"isascii", is_ascii_method},
    {"isdigit", all_method<is_digit_char>},
    {"isdecimal", all_method<is_digit_char>},
    {"isnumeric", all_method<is_number>},
    {"isalpha", all_method<is_letter>},
    {"isalnum", all_method<is_alphanumeric>},
    {"isspace", all_method<is_python_space>},
    {"islower", case_test_method<to_lower, to_upper>},
    {"isupper", case_test_method<to_upper, to_lower>},
};
// A method taken as a value: {% set f = "x".upper %}{{ f() }}.
class MethodValue final : public Object {
 public:
  MethodValue(Value self, const Method& method) : self_(std::move(self)), method_(method) {}
  const char* type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Value call(Evaluator& evaluator, const Arguments& arguments) override {
    if (const Text* text = self_.if_text()) evaluator.budget().spend_bytes(text->size());
    return method_.call(evaluator, self_, arguments);
  }

 private:
  Value self_;
  const Method& method_;
};

}  // namespace

const Method* find_text_method(std::string_view name) {
  const auto found = std::find_if(std::begin(kTextMethods), std::end(kTextMethods),
                                  [&](const Method& method) { return method.name == name; });
  return found == std::end(kTextMethods) ? nullptr : found;
}

// Holds values that never change, so that it cannot be part of a circle; the nesting of `self` stays countable
// because it is no container.
Value make_method_value(const Value& self, const Method& method) {
  return Value(std::shared_ptr<Object>(std::make_shared<MethodValue>(self, method)));
}

}  // namespace trireme::jinja
