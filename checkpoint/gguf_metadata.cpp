#include <cmath>

#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/gguf_file.h"

namespace trireme {

void GgufMetadata::add(const std::string& key, GgufValue value) {
  if (!values_.emplace(key, std::move(value)).second) fail(key, "appears twice");
}

const GgufValue* GgufMetadata::find(const std::string& key) const {
  const auto at = values_.find(key);
  return at == values_.end() ? nullptr : &at->second;
}

bool GgufMetadata::is_array(const std::string& key) const {
  const GgufValue* value = find(key);
  return value && value->index() >= 4;
}

void GgufMetadata::fail(const std::string& key, const std::string& problem) const {
  throw CheckpointError(
      path_ + ": metadata key " + quoted(key) + " " + problem +
      ": the file is damaged or not one this program reads; fetch it again or convert the model anew");
}

int64_t GgufMetadata::integer(const std::string& key, int64_t low, int64_t high) const {
  const GgufValue* value = find(key);
  if (!value) fail(key, "is missing");
  const int64_t* number = std::get_if<int64_t>(value);
  if (!number) fail(key, "is not an integer");
  if (*number < low || *number > high)
    fail(key, "is " + std::to_string(*number) + ", outside " + std::to_string(low) + " to " + std::to_string(high));
  return *number;
}

int64_t GgufMetadata::integer(const std::string& key, int64_t low, int64_t high, int64_t fallback) const {
  return has(key) ? integer(key, low, high) : fallback;
}

double GgufMetadata::number(const std::string& key, double fallback) const {
  const GgufValue* value = find(key);
  if (!value) return fallback;
  if (const int64_t* integer = std::get_if<int64_t>(value)) return double(*integer);
  const double* number = std::get_if<double>(value);
  if (!number || !std::isfinite(*number)) fail(key, "is not a finite number");
  return *number;
}

bool GgufMetadata::flag(const std::string& key, bool fallback) const {
  const GgufValue* value = find(key);
  if (!value) return fallback;
  const bool* flag = std::get_if<bool>(value);
  if (!flag) fail(key, "is not a bool");
  return *flag;
}

std::string GgufMetadata::text(const std::string& key, const std::string& fallback) const {
  const GgufValue* value = find(key);
  if (!value) return fallback;
  const std::string* text = std::get_if<std::string>(value);
  if (!text) fail(key, "is not a string");
  return *text;
}

std::vector<std::string> GgufMetadata::texts(const std::string& key) const {
  const GgufValue* value = find(key);
  if (!value) return {};
  const auto* texts = std::get_if<std::vector<std::string>>(value);
  if (!texts) fail(key, "is not an array of strings");
  return *texts;
}

std::vector<int64_t> GgufMetadata::integers(const std::string& key) const {
  const GgufValue* value = find(key);
  if (!value) return {};
  const auto* integers = std::get_if<std::vector<int64_t>>(value);
  if (!integers) fail(key, "is not an array of integers");
  return *integers;
}

std::vector<double> GgufMetadata::numbers(const std::string& key) const {
  const GgufValue* value = find(key);
  if (!value) return {};
  const auto* numbers = std::get_if<std::vector<double>>(value);
  if (!numbers) fail(key, "is not an array of numbers");
  return *numbers;
}

std::vector<std::string> GgufMetadata::keys_below(const std::string& prefix) const {
  std::vector<std::string> keys;
  for (auto at = values_.lower_bound(prefix); at != values_.end() && at->first.starts_with(prefix); ++at)
    keys.push_back(at->first);
  return keys;
}

}  // namespace trireme
