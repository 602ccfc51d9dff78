// Expressions; statements are in evaluator_statements.cpp.
#include "text/jinja/evaluator.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/evaluator_guard.h"
#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/operations.h"

namespace trireme::jinja {

void Scope::set(const std::string& name, Value value) {
  for (auto& variable : variables)
    if (variable.first == name) return void(variable.second = std::move(value));
  variables.emplace_back(name, std::move(value));
}

const Value* Scope::find(const std::string& name, size_t& visited) const {
  for (const Scope* scope = this; scope; scope = scope->parent.get()) {
    visited += scope->variables.size();
    for (const auto& variable : scope->variables)
      if (variable.first == name) return &variable.second;
  }
  return nullptr;
}

Value Evaluator::evaluate(const Expression& expression) {
  const DepthGuard guard(*this);
  budget_.step();
  const auto child = [&](size_t index) { return evaluate(*expression.children[index]); };
  switch (expression.kind) {
    case ExpressionKind::constant:
      return expression.value;
    case ExpressionKind::name:
      return evaluate_name(expression);
    case ExpressionKind::list:
      return Value::list(evaluate_all(expression.children));
    case ExpressionKind::tuple:
      return Value::tuple(evaluate_all(expression.children));
    case ExpressionKind::dict:
      return evaluate_dict(expression);
    case ExpressionKind::attribute:
      return attribute_of(child(0), expression.name);
    case ExpressionKind::item:
      return subscript_of(child(0), child(1));
    case ExpressionKind::slice:
      return evaluate_slice(expression);
    case ExpressionKind::call:
      return evaluate_call(expression);
    case ExpressionKind::filter:
      return evaluate_filter(expression, child(0));
    case ExpressionKind::test:
      return apply_test(expression.name, child(0), evaluate_arguments(expression, 1));
    case ExpressionKind::negative:
      return negate(child(0));
    case ExpressionKind::positive:
      return negate(negate(child(0)));
    case ExpressionKind::concatenate:
      return evaluate_concatenate(expression);
    case ExpressionKind::compare:
      return evaluate_compare(expression);
    case ExpressionKind::logical_and:
    case ExpressionKind::logical_or:
      return evaluate_logic(expression);
    case ExpressionKind::logical_not:
      return !child(0).truthy();
    case ExpressionKind::conditional:
      return evaluate_conditional(expression);
    case ExpressionKind::arithmetic: {
      const Value left = child(0);
      return arithmetic(budget_, expression.name, left, child(1));
    }
    case ExpressionKind::spread:
      break;  // only among arguments
  }
  fail("an argument list stands where a value belongs");
}

Value Evaluator::evaluate_name(const Expression& expression) {
  size_t visited = 0;
  const Value* value = scope_->find(expression.name, visited);
  budget_.spend_look_up(visited);
  if (value) return *value;
  if (const Function* function = find_function(expression.name)) return make_function_value(*function);
  return Value::undefined("'" + expression.name + "' is undefined");
}

Value Evaluator::evaluate_dict(const Expression& expression) {
  Dict dict;
  for (size_t i = 0; i < expression.children.size(); i += 2) {
    const Value key = evaluate(*expression.children[i]);
    dict.set(key, evaluate(*expression.children[i + 1]));
  }
  return Value::dict(std::move(dict));
}

Value Evaluator::evaluate_logic(const Expression& expression) {
  const bool stop_at = expression.kind == ExpressionKind::logical_or;
  Value value;
  for (const auto& child : expression.children) {
    value = evaluate(*child);
    if (value.truthy() == stop_at) return value;
  }
  return value;
}

Value Evaluator::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.children[0]);
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    const std::string& op = expression.operators[i];
    Value right = evaluate(*expression.children[i + 1]);
    bool holds = false;
    if (op == "==")
      holds = equal(budget_, left, right);
    else if (op == "!=")
      holds = !equal(budget_, left, right);
    else if (op == "<")
      holds = less(budget_, left, right);
    else if (op == ">")
      holds = less(budget_, right, left);
    else if (op == "<=")
      holds = less(budget_, left, right) || equal(budget_, left, right);
    else if (op == ">=")
      holds = less(budget_, right, left) || equal(budget_, left, right);
    else if (op == "in")
      holds = contains(budget_, right, left);
    else
      holds = !contains(budget_, right, left);
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Evaluator::evaluate_concatenate(const Expression& expression) {
  Text result;
  for (const auto& child : expression.children) {
    result.append(to_text(budget_, evaluate(*child)));
    budget_.check_text(result.size());
  }
  return result;
}

Value Evaluator::evaluate_slice(const Expression& expression) {
  const Value container = evaluate(*expression.children[0]);
  Value bounds[3] = {nullptr, nullptr, nullptr};
  for (size_t i = 0; i < 3; ++i)
    if (expression.children[i + 1]) bounds[i] = evaluate(*expression.children[i + 1]);
  return slice_of(budget_, container, bounds[0], bounds[1], bounds[2]);
}

Value Evaluator::evaluate_conditional(const Expression& expression) {
  if (evaluate(*expression.children[0]).truthy()) return evaluate(*expression.children[1]);
  if (expression.children[2]) return evaluate(*expression.children[2]);
  return Value::undefined("the inline if-expression evaluated to false and no else section was defined");
}

Value Evaluator::evaluate_filter(const Expression& expression, const Value& input) {
  return apply_filter(expression.name, input, evaluate_arguments(expression, 1));
}

// A method is called without making an object of it first.
Value Evaluator::evaluate_call(const Expression& expression) {
  const Expression& callee = *expression.children[0];
  if (callee.kind == ExpressionKind::attribute) {
    const Value self = evaluate(*callee.children[0]);
    const Method* method = find_method(self, callee.name);
    const Arguments arguments = evaluate_arguments(expression, 1);
    if (!method) return call(attribute_of(self, callee.name), arguments);
    if (const Text* text = self.if_text()) budget_.spend_bytes(text->size());
    return method->call(*this, self, arguments);
  }
  const Value function = evaluate(callee);
  return call(function, evaluate_arguments(expression, 1));
}

Values Evaluator::evaluate_all(const std::vector<ExpressionPtr>& expressions) {
  Values values;
  values.reserve(expressions.size());
  for (const auto& expression : expressions) values.push_back(evaluate(*expression));
  return values;
}

Arguments Evaluator::evaluate_arguments(const Expression& expression, size_t first) {
  Arguments arguments;
  for (size_t i = first; i < expression.children.size(); ++i) {
    const Expression& child = *expression.children[i];
    if (child.kind == ExpressionKind::spread) {
      for (Value& value : items_of(budget_, evaluate(*child.children[0])))
        arguments.positional.push_back(std::move(value));
    } else {
      arguments.positional.push_back(evaluate(child));
    }
  }
  for (const auto& [name, child] : expression.named) {
    const Value value = evaluate(*child);
    if (name != "**") {
      arguments.named.emplace_back(name, value);
      continue;
    }
    if (!value.if_dict()) fail(std::string("argument after ** must be a mapping, not ") + value.type_name());
    for (const auto& [key, item] : value.if_dict()->entries())
      arguments.named.emplace_back(require_text(key, "an argument name").bytes(), item);
  }
  return arguments;
}

Value Evaluator::apply_filter(const std::string& name, const Value& input, const Arguments& arguments) {
  const Filter* filter = find_filter(name);
  if (!filter) fail("the filter '" + name + "' is unknown or not supported");
  budget_.step();
  if (const Text* text = input.if_text()) budget_.spend_bytes(text->size());
  return filter->apply(*this, input, arguments);
}

bool Evaluator::apply_test(const std::string& name, const Value& input, const Arguments& arguments) {
  const Test* test = find_test(name);
  if (!test) fail("the test '" + name + "' is unknown or not supported");
  budget_.step();
  return test->holds(*this, input, arguments);
}

Value Evaluator::attribute_of(const Value& object, const std::string& name) {
  if (object.is_undefined()) fail(object.undefined_reason());
  if (Object* own = object.if_object()) return own->attribute(name);
  if (const List* list = object.if_list(); list && list->is_tuple() && list->name == "group")
    if (name == "grouper" || name == "list") return list->items[name == "list"];
  if (const Method* method = find_method(object, name)) return make_method_value(object, *method);
  if (is_refused_method(object, name))
    return Value::undefined("access to attribute '" + name + "' of '" + object.type_name() + "' object is unsafe");
  if (const Dict* dict = object.if_dict())
    if (const Value* found = dict->find(std::string_view(name))) return *found;
  return Value::undefined(std::string("'") + object.type_name() + " object' has no attribute '" + name + "'");
}

Value Evaluator::subscript_of(const Value& object, const Value& key) {
  if (object.if_text() || object.if_list()) budget_.spend_bytes(object.if_text() ? object.if_text()->size() : 0);
  Value item = object.if_object() ? Value() : item_of(object, key);
  if (item.is_undefined() && key.if_text() && !(object.if_dict() && object.if_dict()->find(key)))
    return attribute_of(object, key.if_text()->bytes());
  return item;
}

Value Evaluator::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) fail(callee.undefined_reason());
  Object* object = callee.if_object();
  if (!object || !object->callable()) fail(std::string("'") + callee.type_name() + "' object is not callable");
  const DepthGuard guard(*this);
  const std::shared_ptr<Object> alive = callee.object();
  return alive->call(*this, arguments);
}

}  // namespace trireme::jinja
