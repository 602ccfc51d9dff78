#include "text/part_fields.h"

#include <limits>

namespace trireme {

PartFields::PartFields(const json::value& value, std::string where)
    : object_(value.if_object()), where_(std::move(where)) {
  if (!object_) throw CheckpointError(where_ + " must be an object");
}

void PartFields::fail(std::string_view problem) const { throw CheckpointError(where_ + ": " + std::string(problem)); }

const json::value* PartFields::find(std::string_view key) const {
  const json::value* value = object_->if_contains(key);
  return value && !value->is_null() ? value : nullptr;
}

const json::value& PartFields::require(std::string_view key) const {
  if (const json::value* value = find(key)) return *value;
  fail("\"" + std::string(key) + "\" is missing");
}

std::string PartFields::text(std::string_view key) const {
  const json::string* value = require(key).if_string();
  if (!value) fail("\"" + std::string(key) + "\" must be a string");
  return {value->data(), value->size()};
}

std::string PartFields::text_or(std::string_view key, std::string_view fallback) const {
  return find(key) ? text(key) : std::string(fallback);
}

bool PartFields::flag_or(std::string_view key, bool fallback) const {
  const json::value* value = find(key);
  if (!value) return fallback;
  if (!value->is_bool()) fail("\"" + std::string(key) + "\" must be true or false");
  return value->get_bool();
}

int32_t PartFields::id(std::string_view key) const {
  const json::value& value = require(key);
  const int64_t number = value.is_int64() ? value.get_int64() : -1;
  if (number < 0 || number > std::numeric_limits<int32_t>::max())
    fail("\"" + std::string(key) + "\" must be a whole number from 0 to 2147483647");
  return int32_t(number);
}

const json::array& PartFields::array(std::string_view key) const {
  const json::array* value = require(key).if_array();
  if (!value) fail("\"" + std::string(key) + "\" must be an array");
  return *value;
}

PartFields PartFields::object(std::string_view key) const { return {require(key), where_ + " " + std::string(key)}; }

std::string read_prepend_scheme(const PartFields& fields) {
  const std::string scheme = fields.text_or("prepend_scheme", "always");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    fields.fail("\"prepend_scheme\" is \"" + scheme + "\", not always, first or never");
  if (fields.flag_or("add_prefix_space", true)) return scheme;
  if (fields.find("prepend_scheme") && scheme != "never")
    fields.fail("\"prepend_scheme\" contradicts add_prefix_space = false");
  return "never";
}

void fail_unknown_type(const PartFields& fields, std::string_view type, const std::string& supported) {
  fields.fail("type \"" + std::string(type) + "\" is not supported; supported: " + supported);
}

}  // namespace trireme
