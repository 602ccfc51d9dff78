#pragma once
// Typed reading of tokenizer.json; every error names the part of the file. Also the look-up of a part's "type"
// in a table of the supported ones.

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace trireme {

// `where` names the object in errors: "tokenizer.json pre_tokenizer".
class PartFields {
 public:
  PartFields(const json::value& value, std::string where);

  const json::value* find(std::string_view key) const;  // null when absent or JSON null
  const json::value& require(std::string_view key) const;
  std::string text(std::string_view key) const;
  std::string text_or(std::string_view key, std::string_view fallback) const;
  bool flag_or(std::string_view key, bool fallback) const;
  int32_t id(std::string_view key) const;  // 0 .. 2^31 - 1
  const json::array& array(std::string_view key) const;
  PartFields object(std::string_view key) const;

  const json::object& raw() const { return *object_; }
  const std::string& where() const { return where_; }
  [[noreturn]] void fail(std::string_view problem) const;

 private:
  const json::object* object_;
  std::string where_;
};

// Metaspace's "prepend_scheme": always, first or never; older files say add_prefix_space.
std::string read_prepend_scheme(const PartFields& fields);

// One row of a table of parts: how "type" spells it and what makes it.
template <typename Part>
struct PartFactory {
  std::string_view type;
  Part (*make)(const PartFields& fields);
};

[[noreturn]] void fail_unknown_type(const PartFields& fields, std::string_view type, const std::string& supported);

template <typename Part>
Part make_part(std::span<const PartFactory<Part>> table, const PartFields& fields) {
  const std::string type = fields.text("type");
  std::string supported;
  for (const auto& row : table) {
    if (row.type == type) return row.make(fields);
    supported += (supported.empty() ? "" : ", ") + std::string(row.type);
  }
  fail_unknown_type(fields, type, supported);
}

}  // namespace trireme
