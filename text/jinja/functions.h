#pragma once
// Plain tables of what a template can call by name.

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/evaluator.h"

namespace trireme::jinja {

// Arguments matched to parameter names. Too many, twice the same or an unknown one: RequestError.
class BoundArguments {
 public:
  BoundArguments(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> names);
  const Value* operator[](size_t index) const { return values_[index]; }  // null when absent
  const Value& required(size_t index) const;
  bool flag(size_t index, bool fallback) const;
  int64_t integer(size_t index, int64_t fallback) const;
  std::string text(size_t index, std::string_view fallback) const;

 private:
  std::string_view function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

struct Filter {
  std::string_view name;
  Value (*apply)(Evaluator& evaluator, const Value& input, const Arguments& arguments);
};
struct Test {
  std::string_view name;
  bool (*holds)(Evaluator& evaluator, const Value& input, const Arguments& arguments);
};
struct Method {
  std::string_view name;
  Value (*call)(Evaluator& evaluator, const Value& self, const Arguments& arguments);
};
struct Function {
  std::string_view name;
  Value (*call)(Evaluator& evaluator, const Arguments& arguments);
};

// Each returns null when there is none of that name.
const Filter* find_filter(std::string_view name);  // text and list filters
const Filter* find_text_filter(std::string_view name);
const Filter* find_list_filter(std::string_view name);
const Test* find_test(std::string_view name);
const Method* find_method(const Value& self, std::string_view name);
const Method* find_text_method(std::string_view name);
bool is_refused_method(const Value& self, std::string_view name);  // would change the value: list.append, dict.update
const Function* find_function(std::string_view name);              // range, namespace, raise_exception ...

Value make_function_value(const Function& function);
Value make_method_value(const Value& self, const Method& method);

}  // namespace trireme::jinja
