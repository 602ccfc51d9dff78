#include "text/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/jinja/operations.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

void append_hex_escape(std::string& out, char32_t code) {
  char buffer[16];
  const char* format = code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x";
  std::snprintf(buffer, sizeof(buffer), format, unsigned(code));
  out += buffer;
}

bool is_printable(char32_t code) {
  switch (category(code)) {
    case Category::Cc:
    case Category::Cf:
    case Category::Cn:
    case Category::Co:
    case Category::Zl:
    case Category::Zp:
      return false;
    case Category::Zs:
      return code == ' ';
    default:
      return true;
  }
}

void append_text_repr(std::string& out, const std::string& text) {
  const bool double_quotes = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = decode_char(text, at);
    if (code == '\\' || code == char32_t(quote))
      out += {'\\', char(code)};
    else if (code == '\n')
      out += "\\n";
    else if (code == '\r')
      out += "\\r";
    else if (code == '\t')
      out += "\\t";
    else if (!is_printable(code))
      append_hex_escape(out, code);
    else
      out.append(text, at, bytes);
    at += bytes;
  }
  out += quote;
}

// Recursion is bounded by the nesting limit of values.
void append_repr(Budget& budget, std::string& out, const Value& value) {
  budget.step();
  if (const Text* text = value.if_text()) {
    budget.spend_bytes(text->size());
    append_text_repr(out, text->bytes());
  } else if (const List* list = value.if_list()) {
    out += list->is_tuple ? "(" : "[";
    for (size_t i = 0; i < list->items.size(); ++i) {
      if (i > 0) out += ", ";
      append_repr(budget, out, list->items[i]);
    }
    out += list->is_tuple ? (list->items.size() == 1 ? ",)" : ")") : "]";
  } else if (const Dict* dict = value.if_dict()) {
    const char* separator = "";
    out += "{";
    for (const auto& [key, item] : dict->entries()) {
      out += separator;
      append_repr(budget, out, key);
      out += ": ";
      append_repr(budget, out, item);
      separator = ", ";
    }
    out += "}";
  } else if (value.is_undefined()) {
    out += "Undefined";
  } else {
    out += to_text(budget, value).bytes();
  }
  budget.check_text(out.size() > kMaxTextBytes ? out.size() : 0);
}

void append_json_text(std::string& out, const std::string& text, bool ensure_ascii) {
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = decode_char(text, at);
    char buffer[16];
    if (code == '"' || code == '\\')
      out += {'\\', char(code)};
    else if (code == '\n')
      out += "\\n";
    else if (code == '\r')
      out += "\\r";
    else if (code == '\t')
      out += "\\t";
    else if (code == '\b')
      out += "\\b";
    else if (code == '\f')
      out += "\\f";
    else if (code < 0x20 || (ensure_ascii && code >= 0x7F && code < 0x10000)) {
      std::snprintf(buffer, sizeof(buffer), "\\u%04x", unsigned(code));
      out += buffer;
    } else if (ensure_ascii && code >= 0x10000) {
      std::snprintf(buffer, sizeof(buffer), "\\u%04x\\u%04x", unsigned(0xD800 + ((code - 0x10000) >> 10)),
                    unsigned(0xDC00 + ((code - 0x10000) & 0x3FF)));
      out += buffer;
    } else {
      out.append(text, at, bytes);
    }
    at += bytes;
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  void write(const Value& value, int level) {
    budget_.step();
    budget_.check_text(out.size() > kMaxTextBytes ? out.size() : 0);
    if (const Text* text = value.if_text()) {
      budget_.spend_bytes(text->size());
      append_json_text(out, text->bytes(), style_.ensure_ascii);
    } else if (const List* list = value.if_list()) {
      write_list(*list, level);
    } else if (const Dict* dict = value.if_dict()) {
      write_dict(*dict, level);
    } else {
      out += scalar(value);
    }
  }

  std::string out;

 private:
  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* flag = value.if_bool()) return *flag ? "true" : "false";
    if (const int64_t* number = value.if_int()) return std::to_string(*number);
    if (const double* real = value.if_real()) {
      if (std::isnan(*real)) return "NaN";
      return std::isinf(*real) ? (*real > 0 ? "Infinity" : "-Infinity") : real_repr(*real);
    }
    fail(std::string("Object of type ") + value.type_name() + " is not JSON serializable");
  }

  void new_line(int level) {
    if (!style_.indent) return;
    budget_.check_text(style_.indent->size() * size_t(level));
    out += '\n';
    for (int i = 0; i < level; ++i) out += *style_.indent;
  }

  void write_list(const List& list, int level) {
    if (list.items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      new_line(level + 1);
      write(list.items[i], level + 1);
    }
    new_line(level);
    out += ']';
  }

  void write_dict(const Dict& dict, int level) {
    if (dict.size() == 0) {
      out += "{}";
      return;
    }
    std::vector<Dict::Entry> entries = dict.entries();
    budget_.spend_items(entries.size());
    if (style_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto& a, const auto& b) { return less(budget_, a.first, b.first); });
    out += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      new_line(level + 1);
      const Text* key = entries[i].first.if_text();
      append_json_text(out, key ? key->bytes() : scalar(entries[i].first), style_.ensure_ascii);
      out += style_.key_separator;
      write(entries[i].second, level + 1);
    }
    new_line(level);
    out += '}';
  }

  Budget& budget_;
  const JsonStyle& style_;
};

// One conversion of a % format: flags, width and precision as C has them, the type among s r d i f x.
struct Conversion {
  std::string flags;
  int width = 0, precision = -1;
  char type = 0;
};

Conversion parse_conversion(const std::string& format, size_t& at) {
  Conversion conversion;
  const auto number = [&] {
    int value = 0;
    for (; at < format.size() && std::isdigit(uint8_t(format[at])); ++at)
      value = std::min(value * 10 + (format[at] - '0'), 10000);
    return value;
  };
  while (at < format.size() && std::string_view("-+ 0#").find(format[at]) != std::string_view::npos)
    conversion.flags += format[at++];
  conversion.width = number();
  if (at < format.size() && format[at] == '.') conversion.precision = (++at, number());
  if (at == format.size()) fail("incomplete format");
  conversion.type = format[at++];
  return conversion;
}

std::string convert(Budget& budget, const Conversion& conversion, const Value& value) {
  const bool is_number = std::string_view("dixXfFeEgG").find(conversion.type) != std::string_view::npos;
  if (!is_number && conversion.type != 's' && conversion.type != 'r')
    fail(std::string("unsupported format character '") + conversion.type + "'");
  if (is_number) {
    const auto real = as_real(value);
    if (!real) fail(std::string("%") + conversion.type + " format: a number is required, not " + value.type_name());
    const bool whole = std::string_view("dixX").find(conversion.type) != std::string_view::npos;
    const std::string precision =
        conversion.precision < 0 ? "" : "." + std::to_string(std::min(conversion.precision, 100));
    const std::string format = "%" + conversion.flags + std::to_string(std::max(conversion.width, 1)) + precision;
    std::string out(size_t(std::max(conversion.width, 0)) + 512, '\0');
    const int length = whole ? std::snprintf(out.data(), out.size(), (format + "ll" + conversion.type).c_str(),
                                             static_cast<long long>(as_int(value).value_or(int64_t(*real))))
                             : std::snprintf(out.data(), out.size(), (format + conversion.type).c_str(), *real);
    out.resize(size_t(std::clamp<int>(length, 0, int(out.size()) - 1)));
    return out;
  }
  std::string text = conversion.type == 'r' ? to_repr(budget, value) : to_text(budget, value).bytes();
  if (conversion.precision >= 0) text.resize(char_offset(text, size_t(conversion.precision)));
  const size_t length = count_chars(text), width = size_t(conversion.width);
  if (length >= width) return text;
  const std::string padding(width - length, ' ');
  return conversion.flags.find('-') != std::string::npos ? text + padding : padding + text;
}

}  // namespace

std::string real_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const double magnitude = std::fabs(value);
  const bool scientific = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value,
                                 scientific ? std::chars_format::scientific : std::chars_format::fixed)
                       .ptr;
  std::string text(buffer, end);
  if (!scientific && text.find('.') == std::string::npos) text += ".0";
  return text;
}

Text to_text(Budget& budget, const Value& value) {
  if (const Text* text = value.if_text()) return *text;
  if (value.is_undefined()) return Text();
  if (value.is_none()) return Text("None");
  if (const bool* flag = value.if_bool()) return Text(*flag ? "True" : "False");
  if (const int64_t* number = value.if_int()) return Text(std::to_string(*number));
  if (const double* real = value.if_real()) return Text(real_repr(*real));
  if (value.if_object()) return Text(std::string("<") + value.type_name() + ">");
  return Text(to_repr(budget, value));
}

std::string to_repr(Budget& budget, const Value& value) {
  std::string out;
  append_repr(budget, out, value);
  return out;
}

std::string short_repr(const Value& value) {
  if (!value.if_text())
    return value.if_list() || value.if_dict() ? value.type_name() : [&] {
      Budget unused;
      return to_repr(unused, value);
    }();
  const std::string& bytes = value.if_text()->bytes();
  std::string out;
  append_text_repr(out, bytes.substr(0, char_offset(bytes, 40)));
  return out;
}

std::string to_json(Budget& budget, const Value& value, const JsonStyle& style) {
  JsonWriter writer(budget, style);
  writer.write(value, 0);
  budget.check_text(writer.out.size());
  return std::move(writer.out);
}

Value percent_format(Budget& budget, const Text& format, const Value& arguments) {
  const List* tuple = arguments.if_list() && arguments.if_list()->is_tuple ? arguments.if_list() : nullptr;
  size_t used = 0, at = 0;
  const auto next_argument = [&]() -> const Value& {
    if (used >= (tuple ? tuple->items.size() : 1)) fail("not enough arguments for format string");
    return tuple ? tuple->items[used++] : (++used, arguments);
  };
  const std::string& bytes = format.bytes();
  Text out;
  while (at < bytes.size()) {
    const size_t percent = std::min(bytes.find('%', at), bytes.size());
    out.append(format.slice(at, percent));
    if (percent == bytes.size()) break;
    at = percent + 1;
    if (at < bytes.size() && bytes[at] == '%') {
      out.append("%");
      ++at;
      continue;
    }
    const Conversion conversion = parse_conversion(bytes, at);
    out.append(convert(budget, conversion, next_argument()));
    budget.check_text(out.size());
  }
  if (tuple && used < tuple->items.size()) fail("not all arguments converted during string formatting");
  return out;
}

}  // namespace trireme::jinja
