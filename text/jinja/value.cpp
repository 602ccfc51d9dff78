#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace trireme::jinja {
namespace {

constexpr int kMaxNesting = 96;
constexpr size_t kMaxKeyItems = 64;  // of a tuple; and what it holds are no tuples

int nesting_above(int inner) {
  if (inner >= kMaxNesting) fail("values are nested more than " + std::to_string(kMaxNesting) + " deep");
  return inner + 1;
}

List make_list(ListKind kind, Values items, std::string name = "") {
  int inner = 0;
  for (const Value& item : items) inner = std::max(inner, item.nesting());
  return {std::move(items), kind, nesting_above(inner), std::move(name)};
}

bool is_hashable(const Value& key) {
  if (key.if_dict() || key.if_object()) return false;
  const List* list = key.if_list();
  return !list || (list->is_tuple() && list->nesting == 1 && list->items.size() <= kMaxKeyItems);
}

// Equal keys have equal spellings: 1, 1.0 and true are one key.
std::string key_spelling(const Value& key) {
  if (const Text* text = key.if_text()) return "s" + text->bytes();
  if (const bool* flag = key.if_bool()) return "i" + std::to_string(int(*flag));
  if (const int64_t* number = key.if_int()) return "i" + std::to_string(*number);
  if (const double* real = key.if_real()) {
    const bool whole = std::trunc(*real) == *real && std::fabs(*real) < 9e18;
    return whole ? "i" + std::to_string(int64_t(*real)) : "f" + std::to_string(*real);
  }
  if (key.is_none()) return "n";
  if (key.is_undefined()) return "u";
  if (const List* tuple = key.if_list(); tuple && is_hashable(key)) {
    std::string spelling = "t";
    for (const Value& item : tuple->items) {
      const std::string inner = key_spelling(item);
      spelling += std::to_string(inner.size()) + ":" + inner;
    }
    return spelling;
  }
  fail(std::string("unhashable type: '") + key.type_name() + "'");
}

}  // namespace

void fail(const std::string& problem) { throw RequestError("chat template: " + problem); }

Value Object::attribute(const std::string& name) const {
  return Value::undefined(std::string("'") + type_name() + " object' has no attribute '" + name + "'");
}
bool Object::set_attribute(const std::string&, const Value&) { return false; }
Value Object::call(Evaluator&, const Arguments&) { fail(std::string("'") + type_name() + "' object is not callable"); }

Value Value::undefined(std::string reason) {
  Value value;
  value.storage_ = Undefined{std::make_shared<const std::string>(std::move(reason))};
  return value;
}

Value Value::iterable(ListKind kind, Values items, std::string name) {
  Value value;
  value.storage_ = std::make_shared<const List>(make_list(kind, std::move(items), std::move(name)));
  return value;
}

Value Value::list(Values items) { return iterable(ListKind::list, std::move(items), ""); }
Value Value::tuple(Values items) { return iterable(ListKind::tuple, std::move(items), ""); }

Value Value::dict(Dict dict) { return Value(std::make_shared<const Dict>(std::move(dict))); }

std::string Value::undefined_reason() const {
  const auto* hint = std::get_if<Undefined>(&storage_);
  return hint && hint->reason ? *hint->reason : "a value is undefined";
}

const char* Value::type_name() const {
  constexpr const char* kNames[] = {"Undefined", "NoneType", "bool", "int", "float", "str"};
  if (storage_.index() < std::size(kNames)) return kNames[storage_.index()];
  if (const List* list = if_list()) {
    if (list->kind == ListKind::list || list->is_tuple()) return list->is_tuple() ? "tuple" : "list";
    return list->kind == ListKind::range ? "range" : list->name.c_str();
  }
  return if_dict() ? "dict" : if_object()->type_name();
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (const bool* flag = if_bool()) return *flag;
  if (const int64_t* number = if_int()) return *number != 0;
  if (const double* real = if_real()) return *real != 0;
  if (const Text* text = if_text()) return text->size() > 0;
  if (const List* list = if_list()) return !list->items.empty() || !list->has_length();
  if (const Dict* dict = if_dict()) return dict->size() > 0;
  return true;
}

int Value::nesting() const {
  if (const List* list = if_list()) return list->nesting;
  if (const Dict* dict = if_dict()) return dict->nesting();
  return 0;
}

void Dict::set(const Value& key, Value value) {
  nesting_ = std::max(nesting_, nesting_above(value.nesting()));
  const auto [slot, is_new] = index_.try_emplace(key_spelling(key), entries_.size());
  if (is_new)
    entries_.emplace_back(key, std::move(value));
  else
    entries_[slot->second].second = std::move(value);
}

const Value* Dict::find(const Value& key) const {
  if (!is_hashable(key)) return nullptr;
  const auto slot = index_.find(key_spelling(key));
  return slot == index_.end() ? nullptr : &entries_[slot->second].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto slot = index_.find("s" + std::string(key));
  return slot == index_.end() ? nullptr : &entries_[slot->second].second;
}

}  // namespace trireme::jinja
