// Methods of dicts and lists, and which value has which methods.
#include <algorithm>

#include "text/jinja/functions.h"
#include "text/jinja/operations.h"

namespace trireme::jinja {
namespace {

Value items_method(Evaluator& evaluator, const Value& self, const Arguments&) {
  evaluator.budget().spend_value(self);
  Values pairs;
  for (const auto& [key, value] : self.if_dict()->entries()) pairs.push_back(Value::tuple({key, value}));
  return Value::iterable(ListKind::view, std::move(pairs), "dict_items");
}

Value keys_method(Evaluator& evaluator, const Value& self, const Arguments&) {
  return Value::iterable(ListKind::view, items_of(evaluator.budget(), self), "dict_keys");
}

Value values_method(Evaluator& evaluator, const Value& self, const Arguments&) {
  evaluator.budget().spend_value(self);
  Values values;
  for (const auto& entry : self.if_dict()->entries()) values.push_back(entry.second);
  return Value::iterable(ListKind::view, std::move(values), "dict_values");
}

Value get_method(Evaluator&, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("get()", arguments, {"key", "default"});
  const Value* found = self.if_dict()->find(bound.required(0));
  return found ? *found : bound[1] ? *bound[1] : Value(nullptr);
}

Value copy_method(Evaluator&, const Value& self, const Arguments&) { return self; }

Value index_of_item(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("index()", arguments, {"value"});
  const Values& items = self.if_list()->items;
  for (size_t i = 0; i < items.size(); ++i)
    if (equal(evaluator.budget(), items[i], bound.required(0))) return int64_t(i);
  fail("index(): the value is not in the list");
}

Value count_of_item(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("count()", arguments, {"value"});
  int64_t count = 0;
  for (const Value& item : self.if_list()->items) count += equal(evaluator.budget(), item, bound.required(0));
  return count;
}

constexpr Method kDictMethods[] = {
    {"items", items_method}, {"keys", keys_method}, {"values", values_method},
    {"get", get_method},     {"copy", copy_method},
};
constexpr Method kListMethods[] = {{"index", index_of_item}, {"count", count_of_item}, {"copy", copy_method}};

template <size_t n>
const Method* find_in(const Method (&table)[n], std::string_view name) {
  for (const Method& method : table)
    if (method.name == name) return &method;
  return nullptr;
}

}  // namespace

const Method* find_method(const Value& self, std::string_view name) {
  if (self.if_text()) return find_text_method(name);
  if (self.if_dict()) return find_in(kDictMethods, name);
  if (const List* list = self.if_list()) {
    const Method* method = find_in(kListMethods, name);
    if (list->kind == ListKind::view || list->kind == ListKind::generator) return nullptr;
    return method && list->kind != ListKind::list && name == "copy" ? nullptr : method;
  }
  return nullptr;
}

bool is_refused_method(const Value& self, std::string_view name) {
  constexpr std::string_view kOfLists[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
  constexpr std::string_view kOfDicts[] = {"clear", "pop", "popitem", "setdefault", "update", "fromkeys"};
  const auto is_in = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if (const List* list = self.if_list()) return list->kind == ListKind::list && is_in(kOfLists);
  return self.if_dict() && is_in(kOfDicts);
}

}  // namespace trireme::jinja
