#pragma once
// What Python's operators do with template values. All throw RequestError where Python raises.

#include <optional>
#include <string>

#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace trireme::jinja {

bool equal(Budget& budget, const Value& a, const Value& b);
bool less(Budget& budget, const Value& a, const Value& b);
bool contains(Budget& budget, const Value& container, const Value& item);                 // item in container
Value arithmetic(Budget& budget, const std::string& op, const Value& a, const Value& b);  // + - * / // % **
Value negate(const Value& value);

// The items of anything iterable: list items, dict keys, characters; nothing of undefined.
Values items_of(Budget& budget, const Value& value);
std::optional<int64_t> length_of(const Value& value);  // empty: has no len()

// container[key]; undefined when there is no such item.
Value item_of(const Value& container, const Value& key);
// container[start:stop:step]; absent bounds are none.
Value slice_of(Budget& budget, const Value& container, const Value& start, const Value& stop, const Value& step);

// Numbers: booleans count as 0 and 1.
std::optional<int64_t> as_int(const Value& value);
std::optional<double> as_real(const Value& value);
int64_t require_int(const Value& value, const char* what);
const Text& require_text(const Value& value, const char* what);

}  // namespace trireme::jinja
