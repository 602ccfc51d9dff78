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

std::string repr_of_run(std::string_view run, char quote) {
  std::string out;
  for (size_t at = 0; at < run.size();) {
    const auto [code, bytes] = decode_char(run, at);
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
      out.append(run, at, bytes);
    at += bytes;
  }
  return out;
}

void append_text_repr(Text& out, const Text& text) {
  const std::string& bytes = text.bytes();
  const bool double_quotes = bytes.find('\'') != std::string::npos && bytes.find('"') == std::string::npos;
  const std::string quote = double_quotes ? "\"" : "'";
  out.append(text.is_markup() ? "Markup(" + quote : quote);
  text.visit_runs([&](std::string_view run, bool untrusted) { out.append(repr_of_run(run, quote[0]), untrusted); });
  out.append(text.is_markup() ? quote + ")" : quote);
}

// Recursion is bounded by the nesting limit of values.
void append_repr(Budget& budget, Text& out, const Value& value);

void append_list_repr(Budget& budget, Text& out, const List& list) {
  if (list.kind == ListKind::range) return out.append(list.name);
  if (list.kind == ListKind::generator) return out.append("<" + list.name + " object>");
  if (list.kind == ListKind::view) out.append(list.name + "(");
  out.append(list.is_tuple() ? "(" : "[");
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out.append(", ");
    append_repr(budget, out, list.items[i]);
  }
  out.append(list.is_tuple() ? (list.items.size() == 1 ? ",)" : ")") : "]");
  if (list.kind == ListKind::view) out.append(")");
}

void append_repr(Budget& budget, Text& out, const Value& value) {
  budget.step();
  if (const Text* text = value.if_text()) {
    budget.spend_chars(text->size());
    append_text_repr(out, *text);
  } else if (const List* list = value.if_list()) {
    append_list_repr(budget, out, *list);
  } else if (const Dict* dict = value.if_dict()) {
    const char* separator = "";
    out.append("{");
    for (const auto& [key, item] : dict->entries()) {
      out.append(separator);
      append_repr(budget, out, key);
      out.append(": ");
      append_repr(budget, out, item);
      separator = ", ";
    }
    out.append("}");
  } else if (value.is_undefined()) {
    out.append("Undefined");
  } else {
    out.append(to_text(budget, value));
  }
  budget.check_text(out.size() > kMaxTextBytes ? out.size() : 0);
}

std::string json_of_run(std::string_view text, bool ensure_ascii) {
  std::string out;
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
  return out;
}

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  void write(const Value& value, int level) {
    budget_.step();
    budget_.check_text(out.size() > kMaxTextBytes ? out.size() : 0);
    if (const Text* text = value.if_text()) {
      budget_.spend_chars(text->size());
      write_text(*text);
    } else if (const List* list = value.if_list(); list && (list->kind == ListKind::list || list->is_tuple())) {
      write_list(*list, level);
    } else if (const Dict* dict = value.if_dict()) {
      write_dict(*dict, level);
    } else {
      out.append(scalar(value));
    }
  }

  Text out;

 private:
  void write_text(const Text& text) {
    out.append("\"");
    text.visit_runs(
        [&](std::string_view run, bool untrusted) { out.append(json_of_run(run, style_.ensure_ascii), untrusted); });
    out.append("\"");
  }

  void write_key(const Value& key) {
    if (const Text* text = key.if_text()) return write_text(*text);
    out.append("\"");
    out.append(scalar(key));
    out.append("\"");
  }

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
    out.append("\n");
    for (int i = 0; i < level; ++i) out.append(*style_.indent);
  }

  void write_list(const List& list, int level) {
    if (list.items.empty()) {
      out.append("[]");
      return;
    }
    out.append("[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out.append(style_.item_separator);
      new_line(level + 1);
      write(list.items[i], level + 1);
    }
    new_line(level);
    out.append("]");
  }

  void write_dict(const Dict& dict, int level) {
    if (dict.size() == 0) {
      out.append("{}");
      return;
    }
    std::vector<Dict::Entry> entries = dict.entries();
    budget_.spend_items(entries.size());
    if (style_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto& a, const auto& b) { return less(budget_, a.first, b.first); });
    out.append("{");
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out.append(style_.item_separator);
      new_line(level + 1);
      write_key(entries[i].first);
      out.append(style_.key_separator);
      write(entries[i].second, level + 1);
    }
    new_line(level);
    out.append("}");
  }

  Budget& budget_;
  const JsonStyle& style_;
};

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
  return to_repr(budget, value);
}

Text to_repr(Budget& budget, const Value& value) {
  Text out;
  append_repr(budget, out, value);
  return out;
}

Text escape_non_ascii(const Text& text) {
  Text out;
  text.visit_runs([&](std::string_view run, bool untrusted) {
    std::string escaped;
    for (size_t at = 0; at < run.size();) {
      const auto [code, bytes] = decode_char(run, at);
      if (code < 0x80)
        escaped += char(code);
      else
        append_hex_escape(escaped, code);
      at += bytes;
    }
    out.append(escaped, untrusted);
  });
  return out;
}

std::string short_repr(const Value& value) {
  if (!value.if_text())
    return value.if_list() || value.if_dict() ? std::string(value.type_name()) : [&] {
      Budget unused;
      return to_repr(unused, value).bytes();
    }();
  const std::string& bytes = value.if_text()->bytes();
  Text out;
  append_text_repr(out, Text(bytes.substr(0, char_offset(bytes, 40))));
  return out.bytes();
}

Text to_json(Budget& budget, const Value& value, const JsonStyle& style) {
  JsonWriter writer(budget, style);
  writer.write(value, 0);
  budget.check_text(writer.out.size());
  return std::move(writer.out);
}

}  // namespace trireme::jinja
