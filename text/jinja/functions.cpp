#include "text/jinja/functions.h"

#include <algorithm>

#include "text/jinja/format.h"
#include "text/jinja/operations.h"

namespace trireme::jinja {

BoundArguments::BoundArguments(std::string_view function, const Arguments& arguments,
                               std::initializer_list<std::string_view> names)
    : function_(function), names_(names), values_(names.size()) {
  const std::string called(function_);
  if (arguments.positional.size() > names_.size())
    fail(called + " takes at most " + std::to_string(names_.size()) + " arguments, got " +
         std::to_string(arguments.positional.size()));
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) fail(called + " got an unexpected argument '" + name + "'");
    const Value*& slot = values_[size_t(found - names_.begin())];
    if (slot) fail(called + " got two values for the argument '" + name + "'");
    slot = &value;
  }
}

const Value& BoundArguments::required(size_t index) const {
  if (!values_[index]) fail(std::string(function_) + " needs the argument '" + std::string(names_[index]) + "'");
  return *values_[index];
}

bool BoundArguments::flag(size_t index, bool fallback) const {
  return values_[index] ? values_[index]->truthy() : fallback;
}

int64_t BoundArguments::integer(size_t index, int64_t fallback) const {
  return values_[index] ? require_int(*values_[index], names_[index].data()) : fallback;
}

std::string BoundArguments::text(size_t index, std::string_view fallback) const {
  return values_[index] ? require_text(*values_[index], names_[index].data()).bytes() : std::string(fallback);
}

const Filter* find_filter(std::string_view name) {
  const Filter* filter = find_text_filter(name);
  return filter ? filter : find_list_filter(name);
}

}  // namespace trireme::jinja
