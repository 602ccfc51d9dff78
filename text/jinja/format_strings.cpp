// "%s is %d" % (name, n) and "{} is {:>5}".format(name, n).
#include <algorithm>
#include <cmath>

#include "text/jinja/evaluator.h"
#include "text/jinja/format.h"
#include "text/jinja/number_format.h"
#include "text/jinja/operations.h"
#include "text/jinja/text_functions.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

constexpr int kMaxWidth = 100'000;

// What both kinds of format say about one value.
struct Conversion {
  NumberStyle number;
  bool left = false, zero = false;  // %: flags
  std::string fill = " ";
  char align = 0;  // format(): < > ^ =
  int width = 0;
  char type = 0;  // 0: the value's own
};

int read_number(const std::string& text, size_t& at) {
  int value = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
    value = std::min(value * 10 + (text[at] - '0'), kMaxWidth + 1);
  if (value > kMaxWidth) fail("a format asks for more than " + std::to_string(kMaxWidth) + " characters");
  return value;
}

// The precision of numbers is bounded, what a format says past it is refused rather than ignored.
int checked_precision(int precision) {
  if (precision > kMaxPrecision) fail("a format asks for more than " + std::to_string(kMaxPrecision) + " digits");
  return precision;
}

Text padded(Budget& budget, Text text, const Conversion& c, char align, size_t sign_length) {
  const size_t length = count_chars(text.bytes());
  if (length >= size_t(c.width)) return text;
  const size_t missing = size_t(c.width) - length;
  const size_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string left, right;
  for (size_t i = 0; i < missing; ++i) (i < before ? left : right) += c.fill;
  Text out = text.slice(0, align == '=' ? sign_length : 0);
  out.append(left);
  out.append(text.slice(out.size() - left.size(), text.size()));
  out.append(right);
  budget.check_text(out.size());
  return out;
}

Text padded_number(Budget& budget, const FormattedNumber& number, const Conversion& c, char align) {
  const std::string head = number.sign + number.prefix;
  return padded(budget, Text(head + number.digits), c, align, head.size());
}

Text clipped(const Text& text, int precision) {
  return precision < 0 ? text : text.slice(0, char_offset(text.bytes(), size_t(precision)));
}

Text character(const Value& value) {
  if (const auto code = as_int(value)) {
    if (*code < 0 || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000)) fail("%c arg not in range(0x110000)");
    std::string out;
    append_utf8(out, char32_t(*code));
    return Text(out);
  }
  if (!value.if_text() || count_chars(value.if_text()->bytes()) != 1) fail("%c requires int or char");
  return *value.if_text();
}

// ---- "..." % values

class PercentFormat {
 public:
  PercentFormat(Budget& budget, const Text& format, const Value& arguments)
      : budget_(budget), format_(format), bytes_(format.bytes()), arguments_(arguments) {
    const List* list = arguments.if_list();
    tuple_ = list && list->is_tuple() ? list : nullptr;
  }

  Text run() {
    Text out;
    while (at_ < bytes_.size()) {
      const size_t percent = std::min(bytes_.find('%', at_), bytes_.size());
      out.append(format_.slice(at_, percent));
      if (percent == bytes_.size()) break;
      at_ = percent + 1;
      convert(out);
      budget_.step();
      budget_.check_text(out.size() > kMaxTextBytes ? out.size() : 0);
    }
    const bool unused_matters = tuple_ ? used_ < tuple_->items.size() : used_ == 0 && !is_mapping();
    if (unused_matters) fail("not all arguments converted during string formatting");
    return out.as_markup(format_.is_markup());
  }

 private:
  bool is_mapping() const {
    return arguments_.is_undefined() || arguments_.if_dict() || (arguments_.if_list() && !tuple_);
  }

  const Value& next_argument() {
    if (used_ >= (tuple_ ? tuple_->items.size() : 1)) fail("not enough arguments for format string");
    return tuple_ ? tuple_->items[used_++] : (++used_, arguments_);
  }

  int next_number() {
    if (at_ >= bytes_.size() || bytes_[at_] != '*') return read_number(bytes_, at_);
    ++at_;
    return int(std::clamp<int64_t>(require_int(next_argument(), "*"), -kMaxWidth, kMaxWidth));
  }

  const Value* read_key() {
    if (at_ >= bytes_.size() || bytes_[at_] != '(') return nullptr;
    const size_t begin = ++at_;
    for (int open = 1; open > 0; ++at_) {
      if (at_ >= bytes_.size()) fail("incomplete format key");
      open += bytes_[at_] == '(' ? 1 : bytes_[at_] == ')' ? -1 : 0;
    }
    if (!arguments_.if_dict()) fail("format requires a mapping");
    const std::string key = bytes_.substr(begin, at_ - begin - 1);
    const Value* found = arguments_.if_dict()->find(std::string_view(key));
    if (!found) fail("the format's key '" + key + "' is not in the mapping");
    used_ = 1;
    return found;
  }

  void convert(Text& out) {
    const Value* value = read_key();
    Conversion c;
    for (; at_ < bytes_.size() && std::string_view("-+ 0#").find(bytes_[at_]) != std::string_view::npos; ++at_) {
      const char flag = bytes_[at_];
      c.left |= flag == '-';
      c.zero |= flag == '0';
      c.number.alternate |= flag == '#';
      if (flag == '+' || (flag == ' ' && c.number.sign == '-')) c.number.sign = flag;
    }
    c.width = next_number();
    if (c.width < 0) c.left = true, c.width = -c.width;
    if (at_ < bytes_.size() && bytes_[at_] == '.') c.number.precision = std::max((++at_, next_number()), 0);
    if (at_ < bytes_.size() && std::string_view("hlL").find(bytes_[at_]) != std::string_view::npos) ++at_;
    if (at_ >= bytes_.size()) fail("incomplete format");
    c.type = bytes_[at_++];
    if (c.type == '%') return out.append("%");
    if (std::string_view("sradiuoxXeEfFgGc").find(c.type) == std::string_view::npos)
      fail(std::string("unsupported format character '") + c.type + "'");
    out.append(convert_value(c, value ? *value : next_argument()));
  }

  Text convert_value(Conversion& c, const Value& value) {
    const char align = c.left ? '<' : '>';
    if (c.type == 's' || c.type == 'r' || c.type == 'a') {
      Text text = c.type == 's' ? to_text(budget_, value) : to_repr(budget_, value);
      if (c.type == 'a') text = escape_non_ascii(text);
      if (format_.is_markup() && !text.is_markup()) text = escape_html(budget_, text);
      return padded(budget_, clipped(text, c.number.precision), c, align, 0);
    }
    if (c.type == 'c') return padded(budget_, character(value), c, align, 0);
    checked_precision(c.number.precision);
    if (c.zero && !c.left) c.fill = "0";
    const char number_align = c.zero && !c.left ? '=' : align;
    if (std::string_view("eEfFgG").find(c.type) != std::string_view::npos) {
      const auto real = as_real(value);
      if (!real) fail("must be real number, not " + std::string(value.type_name()));
      c.number.type = c.type;
      return padded_number(budget_, format_real(*real, c.number), c, number_align);
    }
    c.number.type = c.type == 'i' || c.type == 'u' ? 'd' : c.type;
    return padded_number(budget_, format_integer(whole(c, value), c.number), c, number_align);
  }

  static int64_t whole(const Conversion& c, const Value& value) {
    if (const auto number = as_int(value)) return *number;
    const double* real = value.if_real();
    if (!real || c.number.type != 'd')
      fail(std::string("%") + c.type + " format: a number is required, not " + value.type_name());
    if (!(std::fabs(*real) < 9.2e18)) fail("a number is outside the range of 64 bits");
    return int64_t(*real);
  }

  Budget& budget_;
  const Text& format_;
  const std::string& bytes_;
  const Value& arguments_;
  const List* tuple_;
  size_t used_ = 0, at_ = 0;
};

// ---- "...".format(values)

Conversion parse_spec(const std::string& spec) {
  Conversion c;
  size_t at = 0;
  const auto is_align = [&](size_t i) {
    return i < spec.size() && std::string_view("<>^=").find(spec[i]) != std::string_view::npos;
  };
  const size_t first = spec.empty() ? 0 : decode_char(spec, 0).bytes;
  if (first > 0 && is_align(first)) {
    c.fill = spec.substr(0, first);
    c.align = spec[first];
    at = first + 1;
  } else if (is_align(0)) {
    c.align = spec[at++];
  }
  if (at < spec.size() && std::string_view("+- ").find(spec[at]) != std::string_view::npos) c.number.sign = spec[at++];
  if (at < spec.size() && spec[at] == '#') c.number.alternate = (++at, true);
  if (at < spec.size() && spec[at] == '0') {
    ++at;
    if (c.align == 0) c.fill = "0", c.zero = true;
  }
  c.width = read_number(spec, at);
  if (at < spec.size() && (spec[at] == ',' || spec[at] == '_')) c.number.grouping = spec[at++];
  if (at < spec.size() && spec[at] == '.') {
    const size_t digits = ++at;
    c.number.precision = read_number(spec, at);
    if (at == digits) fail("Format specifier missing precision");
  }
  if (at < spec.size()) c.type = spec[at++];
  if (at < spec.size()) fail("Invalid format specifier '" + spec + "'");
  return c;
}

[[noreturn]] void fail_type(char type, const Value& value) {
  fail(std::string("Unknown format code '") + type + "' for object of type '" + value.type_name() + "'");
}

Text format_number(Budget& budget, Conversion& c, const Value& value) {
  const char align = c.align ? c.align : c.zero ? '=' : '>';
  const bool is_real_type = c.type != 0 && std::string_view("eEfFgG%").find(c.type) != std::string_view::npos;
  checked_precision(c.number.precision);
  if (as_int(value) && !is_real_type) {
    if (c.type == 'c') return padded(budget, character(value), c, c.align ? c.align : '<', 0);
    if (c.type == 'n') c.type = 'd';
    if (c.type != 0 && std::string_view("dboxX").find(c.type) == std::string_view::npos) fail_type(c.type, value);
    if (c.number.precision >= 0) fail("Precision not allowed in integer format specifier");
    if (c.number.grouping == ',' && c.type != 0 && c.type != 'd') fail("Cannot specify ',' with this type");
    c.number.type = c.type == 0 ? 'd' : c.type;
    return padded_number(budget, format_integer(*as_int(value), c.number), c, align);
  }
  if (c.type == 'n')
    c.type = 'g';
  else if (c.type != 0 && !is_real_type)
    fail_type(c.type, value);
  c.number.type = c.type == 0 ? 'r' : c.type;
  return padded_number(budget, format_real(*as_real(value), c.number), c, align);
}

Text format_value(Budget& budget, const Value& value, const std::string& spec) {
  if (spec.empty()) return to_text(budget, value);
  Conversion c = parse_spec(spec);
  if (const Text* text = value.if_text()) {
    if (c.type != 0 && c.type != 's') fail_type(c.type, value);
    if (c.align == '=') fail("'=' alignment not allowed in string format specifier");
    if (c.number.sign != '-' || c.number.alternate || c.number.grouping)
      fail("a sign, '#' or ',' does not go with a string");
    return padded(budget, clipped(*text, c.number.precision), c, c.align ? c.align : '<', 0);
  }
  if (!as_real(value)) fail(std::string("unsupported format string passed to ") + value.type_name() + ".__format__");
  if (value.if_bool() && c.type == 's') fail_type('s', value);
  return format_number(budget, c, value);
}

class BraceFormat {
 public:
  BraceFormat(Evaluator& evaluator, const Arguments& arguments) : evaluator_(evaluator), arguments_(arguments) {}

  // Fields may stand inside a field's specification, once.
  Text run(const Text& format, int depth) {
    if (depth > 1) fail("Max string recursion exceeded");
    const std::string& bytes = format.bytes();
    Text out;
    for (size_t at = 0; at < bytes.size();) {
      const size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
      out.append(format.slice(at, brace));
      if (brace == bytes.size()) break;
      at = brace + 1;
      if (at < bytes.size() && bytes[at] == bytes[brace]) {
        out.append(format.slice(brace, at++));
        continue;
      }
      if (bytes[brace] == '}') fail("Single '}' encountered in format string");
      const size_t end = field_end(bytes, at);
      out.append(field(format, at, end, depth));
      at = end + 1;
      evaluator_.budget().step();
      evaluator_.budget().check_text(out.size() > kMaxTextBytes ? out.size() : 0);
    }
    return out;
  }

 private:
  static size_t field_end(const std::string& bytes, size_t at) {
    for (int open = 1; at < bytes.size(); ++at) {
      open += bytes[at] == '{' ? 1 : bytes[at] == '}' ? -1 : 0;
      if (open == 0) return at;
    }
    fail("expected '}' before end of string");
  }

  Text field(const Text& format, size_t begin, size_t end, int depth) {
    Budget& budget = evaluator_.budget();
    const std::string& bytes = format.bytes();
    size_t name_end = begin, open = 0;
    for (; name_end < end && (open > 0 || (bytes[name_end] != '!' && bytes[name_end] != ':')); ++name_end)
      open = bytes[name_end] == '[' ? 1 : bytes[name_end] == ']' ? 0 : open;
    Value value = look_up(bytes.substr(begin, name_end - begin));
    size_t at = name_end;
    if (at < end && bytes[at] == '!') {
      const char conversion = at + 1 < end ? bytes[at + 1] : ' ';
      if (std::string_view("sra").find(conversion) == std::string_view::npos) fail("format(): unknown conversion");
      Text text = conversion == 's' ? to_text(budget, value) : to_repr(budget, value);
      value = conversion == 'a' ? escape_non_ascii(text) : text;
      at += 2;
      if (at < end && bytes[at] != ':') fail("expected ':' after conversion specifier");
    }
    const std::string spec = at < end ? run(format.slice(at + 1, end), depth + 1).bytes() : "";
    return format_value(budget, value, spec);
  }

  // "0", "name", "" (the next one), then ".attribute" and "[item]".
  Value look_up(const std::string& name) {
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, first_end));
    for (size_t at = first_end; at < name.size();) {
      const bool is_item = name[at] == '[';
      const size_t end = is_item ? name.find(']', at) : std::min(name.find_first_of(".[", at + 1), name.size());
      if (end == std::string::npos || end == at + 1) fail("Empty attribute in format string");
      const std::string part = name.substr(at + 1, end - at - 1);
      value = is_item ? evaluator_.subscript_of(value, item_key(part)) : evaluator_.attribute_of(value, part);
      at = end + is_item;
      if (at < name.size() && name[at] != '.' && name[at] != '[')
        fail("Only '.' or '[' may follow ']' in format field specifier");
    }
    return value;
  }

  static bool is_number(const std::string& text) {
    return !text.empty() && text.size() < 6 && text.find_first_not_of("0123456789") == std::string::npos;
  }
  static Value item_key(const std::string& part) {
    return is_number(part) ? Value(int64_t(std::stol(part))) : Value(part);
  }

  Value argument(const std::string& name) {
    if (!name.empty() && !is_number(name)) {
      for (const auto& [key, value] : arguments_.named)
        if (key == name) return value;
      fail("format(): there is no argument '" + name + "'");
    }
    if (numbering_ != 0 && numbering_ != (name.empty() ? 'a' : 'm'))
      fail("format() cannot switch between automatic and manual numbering of fields");
    numbering_ = name.empty() ? 'a' : 'm';
    const size_t index = name.empty() ? automatic_++ : size_t(std::stoul(name));
    if (index >= arguments_.positional.size()) fail("Replacement index " + std::to_string(index) + " out of range");
    return arguments_.positional[index];
  }

  Evaluator& evaluator_;
  const Arguments& arguments_;
  size_t automatic_ = 0;
  char numbering_ = 0;
};

}  // namespace

Value percent_format(Budget& budget, const Text& format, const Value& arguments) {
  return PercentFormat(budget, format, arguments).run();
}

Value brace_format(Evaluator& evaluator, const Text& format, const Arguments& arguments) {
  return BraceFormat(evaluator, arguments).run(format, 0);
}

}  // namespace trireme::jinja
