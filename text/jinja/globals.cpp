// Functions that every template sees.
#include <ctime>

#include "base/error.h"
#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/objects.h"
#include "text/jinja/operations.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

Value range_function(Evaluator& evaluator, const Arguments& arguments) {
  const Values& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.named.empty()) fail("range() takes one to three numbers");
  const int64_t start = given.size() > 1 ? require_int(given[0], "range()'s start") : 0;
  const int64_t stop = require_int(given[given.size() > 1 ? 1 : 0], "range()'s stop");
  const int64_t step = given.size() > 2 ? require_int(given[2], "range()'s step") : 1;
  if (step == 0) fail("range()'s step must not be zero");
  Values items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (int64_t(items.size()) == kMaxRange) fail("range() is limited to " + std::to_string(kMaxRange) + " items");
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  evaluator.budget().spend_items(items.size());
  std::string name = "range(" + std::to_string(start) + ", " + std::to_string(stop);
  name += step == 1 ? ")" : ", " + std::to_string(step) + ")";
  return Value::iterable(ListKind::range, std::move(items), std::move(name));
}

Dict merge_arguments(Evaluator& evaluator, const Arguments& arguments) {
  Dict dict;
  for (const Value& source : arguments.positional) {
    evaluator.budget().spend_value(source);
    if (const Dict* other = source.if_dict()) {
      for (const auto& [key, value] : other->entries()) dict.set(key, value);
      continue;
    }
    for (const Value& pair : items_of(evaluator.budget(), source)) {
      const List* two = pair.if_list();
      if (!two || two->items.size() != 2) fail("dict() and namespace() take mappings or pairs");
      dict.set(two->items[0], two->items[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(Value(name), value);
  return dict;
}

Value dict_function(Evaluator& evaluator, const Arguments& arguments) {
  return Value::dict(merge_arguments(evaluator, arguments));
}

Value namespace_function(Evaluator& evaluator, const Arguments& arguments) {
  const auto object = evaluator.adopt(std::make_shared<Namespace>());
  const Dict attributes = merge_arguments(evaluator, arguments);
  for (const auto& [key, value] : attributes.entries())
    object->set_attribute(require_text(key, "a name in a namespace").bytes(), value);
  return Value(object);
}

Value raise_exception_function(Evaluator& evaluator, const Arguments& arguments) {
  const BoundArguments bound("raise_exception()", arguments, {"message"});
  throw RequestError(to_text(evaluator.budget(), bound.required(0)).bytes());
}

Value strftime_now_function(Evaluator&, const Arguments& arguments) {
  const BoundArguments bound("strftime_now()", arguments, {"format"});
  const std::string format = require_text(bound.required(0), "strftime_now()'s format").bytes();
  if (format.size() > 256) fail("strftime_now()'s format is longer than 256 bytes");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[8192];
  std::string out(buffer, std::strftime(buffer, sizeof(buffer), format.c_str(), &local));
  if (find_invalid_utf8(out) != kValidUtf8) fail("strftime_now() made text that is not UTF-8");
  return Value(std::move(out));
}

// Empty at its first call, the separator after.
class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  const char* type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Evaluator&, const Arguments&) override { return std::exchange(used_, true) ? separator_ : Value(""); }
  void clear() override { separator_ = Value(); }

 private:
  Value separator_;
  bool used_ = false;
};

Value joiner_function(Evaluator& evaluator, const Arguments& arguments) {
  const BoundArguments bound("joiner()", arguments, {"sep"});
  return Value(evaluator.adopt(std::make_shared<Joiner>(bound[0] ? *bound[0] : Value(", "))));
}

constexpr Function kFunctions[] = {
    {"range", range_function},
    {"dict", dict_function},
    {"namespace", namespace_function},
    {"raise_exception", raise_exception_function},
    {"strftime_now", strftime_now_function},
    {"joiner", joiner_function},
};

class FunctionValue final : public Object {
 public:
  explicit FunctionValue(const Function& function) : function_(function) {}
  const char* type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Value call(Evaluator& evaluator, const Arguments& arguments) override { return function_.call(evaluator, arguments); }

 private:
  const Function& function_;
};

}  // namespace

const Function* find_function(std::string_view name) {
  for (const Function& function : kFunctions)
    if (function.name == name) return &function;
  return nullptr;
}

Value make_function_value(const Function& function) {
  return Value(std::shared_ptr<Object>(std::make_shared<FunctionValue>(function)));
}

}  // namespace trireme::jinja
