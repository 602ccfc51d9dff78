#pragma once
// The values of a template: Python's, as far as chat templates see them. Lists, tuples, dicts and strings are
// immutable and shared; a Value is cheap to copy. Nesting is limited, so recursion over values is bounded.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/text_value.h"

namespace trireme::jinja {

class Value;
class Evaluator;
class Dict;
struct List;

using Values = std::vector<Value>;

struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Whatever has behaviour: namespaces, macros, functions, loops.
class Object {
 public:
  virtual ~Object() = default;
  virtual const char* type_name() const = 0;
  virtual Value attribute(const std::string& name) const;                   // undefined when there is none
  virtual bool set_attribute(const std::string& name, const Value& value);  // false: not possible
  virtual bool callable() const { return false; }
  virtual Value call(Evaluator& evaluator, const Arguments& arguments);
  virtual void clear() {}  // drops every value, to break cycles
};

// What Python keeps apart among things with items. Ours hold their items from the start; a generator gives each once.
enum class ListKind { list, tuple, range, view, generator };

struct Undefined {
  std::shared_ptr<const std::string> reason;  // "'x' is undefined"; may be null
};

class Value {
 public:
  using Storage = std::variant<Undefined, std::nullptr_t, bool, int64_t, double, std::shared_ptr<const Text>,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>;
  Value() = default;
  Value(std::nullptr_t) : storage_(nullptr) {}
  Value(bool value) : storage_(value) {}
  Value(int64_t value) : storage_(value) {}
  Value(double value) : storage_(value) {}
  Value(Text text) : storage_(std::make_shared<const Text>(std::move(text))) {}
  Value(std::string text) : Value(Text(std::move(text))) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(std::shared_ptr<Object> object) : storage_(std::move(object)) {}
  Value(std::shared_ptr<const Dict> dict) : storage_(std::move(dict)) {}
  static Value undefined(std::string reason);
  static Value list(Values items);  // throws RequestError past the nesting limit
  static Value tuple(Values items);
  static Value iterable(ListKind kind, Values items, std::string name);
  static Value dict(Dict dict);

  bool is_undefined() const { return std::holds_alternative<Undefined>(storage_); }
  bool is_none() const { return std::holds_alternative<std::nullptr_t>(storage_); }
  const bool* if_bool() const { return std::get_if<bool>(&storage_); }
  const int64_t* if_int() const { return std::get_if<int64_t>(&storage_); }
  const double* if_real() const { return std::get_if<double>(&storage_); }
  const Text* if_text() const { return pointee<const Text>(); }
  const List* if_list() const { return pointee<const List>(); }
  const Dict* if_dict() const { return pointee<const Dict>(); }
  Object* if_object() const { return pointee<Object>(); }
  const std::shared_ptr<Object>& object() const { return std::get<std::shared_ptr<Object>>(storage_); }

  std::string undefined_reason() const;
  const char* type_name() const;  // as Python calls it: "str", "NoneType"
  bool truthy() const;
  int nesting() const;  // 0 for what holds nothing

 private:
  template <typename T>
  T* pointee() const {
    const auto* pointer = std::get_if<std::shared_ptr<T>>(&storage_);
    return pointer ? pointer->get() : nullptr;
  }
  Storage storage_;
};

struct List {
  Values items;
  ListKind kind = ListKind::list;
  int nesting = 1;
  std::string name;             // range: as it is printed; view: "dict_keys"; generator: its type
  mutable size_t consumed = 0;  // generator: items that something has read

  bool is_tuple() const { return kind == ListKind::tuple; }
  bool has_length() const { return kind != ListKind::generator; }
  bool has_items() const { return kind != ListKind::generator && kind != ListKind::view; }  // list[0]
};

// Insertion-ordered. Keys are text, numbers, booleans or none.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  void set(const Value& key, Value value);    // replaces; throws RequestError for a key that cannot be one
  const Value* find(const Value& key) const;  // null when absent
  const Value* find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int nesting() const { return nesting_; }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;  // canonical spelling of the key -> entry
  int nesting_ = 1;
};

// The client's or the template's fault at run time.
[[noreturn]] void fail(const std::string& problem);

}  // namespace trireme::jinja
