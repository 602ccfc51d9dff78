#include "checkpoint/json_fields.h"

#include <cmath>

#include "base/error.h"
#include "checkpoint/checked.h"

namespace trireme {

JsonFields::JsonFields(const json::value& value, std::string what)
    : object_(value.if_object()), what_(std::move(what)) {
  if (!object_) throw CheckpointError(what_ + " is not a JSON object");
}

void JsonFields::fail(std::string_view key, const std::string& problem) const {
  throw CheckpointError(what_ + ": " + quoted(key) + " " + problem);
}

const json::value* JsonFields::find(std::string_view key) const {
  const json::value* value = object_->if_contains(key);
  return value && !value->is_null() ? value : nullptr;
}

int64_t JsonFields::to_integer(std::string_view key, const json::value& value, int64_t low, int64_t high) const {
  const int64_t* integer = value.if_int64();
  const double* real = value.if_double();
  const bool whole = real && std::abs(*real) < 9e15 && *real == std::floor(*real);
  if (!integer && !whole) fail(key, "must be an integer, got " + json::serialize(value).substr(0, 40));
  const int64_t number = integer ? *integer : int64_t(*real);
  if (number < low || number > high)
    fail(key,
         "must be from " + std::to_string(low) + " to " + std::to_string(high) + ", got " + std::to_string(number));
  return number;
}

std::optional<int64_t> JsonFields::maybe_integer(std::string_view key, int64_t low, int64_t high) const {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  return to_integer(key, *value, low, high);
}

int64_t JsonFields::integer(std::string_view key, int64_t low, int64_t high) const {
  if (const auto value = maybe_integer(key, low, high)) return *value;
  fail(key, "is missing");
}

int64_t JsonFields::integer(std::string_view key, int64_t low, int64_t high, int64_t fallback) const {
  return maybe_integer(key, low, high).value_or(fallback);
}

std::optional<double> JsonFields::maybe_number(std::string_view key) const {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_number()) fail(key, "must be a number");
  const double number = value->to_number<double>();
  if (!std::isfinite(number)) fail(key, "must be finite");
  return number;
}

double JsonFields::number(std::string_view key) const {
  if (const auto value = maybe_number(key)) return *value;
  fail(key, "is missing");
}

double JsonFields::number(std::string_view key, double fallback) const { return maybe_number(key).value_or(fallback); }

std::optional<bool> JsonFields::maybe_flag(std::string_view key) const {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_bool()) fail(key, "must be true or false");
  return value->get_bool();
}

bool JsonFields::flag(std::string_view key, bool fallback) const { return maybe_flag(key).value_or(fallback); }

std::string JsonFields::text(std::string_view key, const std::string& fallback) const {
  const json::value* value = find(key);
  if (!value) return fallback;
  if (!value->is_string()) fail(key, "must be a string");
  return std::string(value->get_string());
}

std::vector<int64_t> JsonFields::integers(std::string_view key, int64_t low, int64_t high) const {
  const json::value* value = find(key);
  if (!value) return {};
  const json::array* array = value->if_array();
  if (!array) return {to_integer(key, *value, low, high)};
  std::vector<int64_t> result;
  for (const json::value& item : *array) result.push_back(to_integer(key, item, low, high));
  return result;
}

std::vector<double> JsonFields::numbers(std::string_view key) const {
  const json::value* value = find(key);
  if (!value) return {};
  if (!value->is_array()) fail(key, "must be a list of numbers");
  std::vector<double> result;
  for (const json::value& item : value->get_array()) {
    const double number = item.is_number() ? item.to_number<double>() : NAN;
    if (!std::isfinite(number)) fail(key, "must be a list of finite numbers");
    result.push_back(number);
  }
  return result;
}

std::vector<std::string> JsonFields::texts(std::string_view key) const {
  const json::value* value = find(key);
  if (!value) return {};
  if (!value->is_array()) fail(key, "must be a list of texts");
  std::vector<std::string> result;
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) fail(key, "must be a list of texts");
    result.emplace_back(item.get_string());
  }
  return result;
}

std::optional<JsonFields> JsonFields::object(std::string_view key) const {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  return JsonFields(*value, what_ + ": " + std::string(key));
}

}  // namespace trireme
