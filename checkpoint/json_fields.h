#pragma once
// Typed, range-checked access to the fields of one JSON object; null counts as absent. Every error names the
// file and the key.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace trireme {

class JsonFields {
 public:
  JsonFields(const json::value& value, std::string what);  // throws CheckpointError unless it is an object
  JsonFields(const json::object& object, std::string what) : object_(&object), what_(std::move(what)) {}

  bool has(std::string_view key) const { return find(key) != nullptr; }
  int64_t integer(std::string_view key, int64_t low, int64_t high) const;  // required
  int64_t integer(std::string_view key, int64_t low, int64_t high, int64_t fallback) const;
  std::optional<int64_t> maybe_integer(std::string_view key, int64_t low, int64_t high) const;
  double number(std::string_view key) const;  // required, finite
  double number(std::string_view key, double fallback) const;
  std::optional<double> maybe_number(std::string_view key) const;
  bool flag(std::string_view key, bool fallback) const;
  std::optional<bool> maybe_flag(std::string_view key) const;
  std::string text(std::string_view key, const std::string& fallback) const;
  std::vector<int64_t> integers(std::string_view key, int64_t low, int64_t high) const;  // one or a list; may be empty
  std::vector<double> numbers(std::string_view key) const;                               // a list; may be empty
  std::vector<std::string> texts(std::string_view key) const;                            // a list; may be empty
  std::optional<JsonFields> object(std::string_view key) const;  // "config.json: rope_scaling" names it

  [[noreturn]] void fail(std::string_view key, const std::string& problem) const;
  const json::value* find(std::string_view key) const;                          // null when absent or JSON null
  bool mentions(std::string_view key) const { return object_->contains(key); }  // with any value, null too
  const std::string& what() const { return what_; }

 private:
  int64_t to_integer(std::string_view key, const json::value& value, int64_t low, int64_t high) const;

  const json::object* object_;
  std::string what_;
};

}  // namespace trireme
