#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/evaluator_guard.h"
#include "text/jinja/format.h"
#include "text/jinja/objects.h"
#include "text/jinja/operations.h"

namespace trireme::jinja {

Evaluator::Evaluator(const Dict& variables) : scope_(std::make_shared<Scope>()) {
  for (const auto& [name, value] : variables.entries()) scope_->set(name.if_text()->bytes(), value);
}

Evaluator::~Evaluator() {
  for (const auto& object : objects_) object->clear();
  for (const auto& scope : kept_scopes_) scope->variables.clear();
}

std::shared_ptr<Object> Evaluator::adopt(std::shared_ptr<Object> object) {
  objects_.push_back(object);
  return object;
}

void Evaluator::keep(const ScopePtr& scope) {
  if (!std::exchange(scope->kept, true)) kept_scopes_.push_back(scope);
}

Text Evaluator::render(const Body& body, const std::set<std::string>& own) {
  for (const std::string& name : own) scope_->set(name, Value::undefined("'" + name + "' is undefined"));
  Text out;
  output_ = &out;
  run_body(body);
  output_ = nullptr;
  return out;
}

ScopePtr Evaluator::inner_scope() const {
  auto scope = std::make_shared<Scope>();
  scope->parent = scope_;
  return scope;
}

Evaluator::Flow Evaluator::run_in(const Body& body, const ScopePtr& scope) {
  const ScopePtr outer = std::exchange(scope_, scope);
  const Flow flow = run_body(body);
  scope_ = outer;
  return flow;
}

Text Evaluator::capture(const Body& body, const ScopePtr& scope) {
  Text out;
  Text* const outer = std::exchange(output_, &out);
  run_in(body, scope);
  output_ = outer;
  return out;
}

Text Evaluator::render_body(const Body& body, const ScopePtr& scope) {
  if (++call_depth_ > kMaxCallDepth)
    fail("macros call each other more than " + std::to_string(kMaxCallDepth) + " deep");
  Text out = capture(body, scope);
  --call_depth_;
  return out;
}

Text Evaluator::render_loop(const Statement& loop, const Value& iterable, const ScopePtr& scope, int depth) {
  if (++call_depth_ > kMaxCallDepth) fail("a loop calls itself more than " + std::to_string(kMaxCallDepth) + " deep");
  Text out;
  Text* const outer_output = std::exchange(output_, &out);
  const ScopePtr outer_scope = std::exchange(scope_, scope);
  run_loop(loop, iterable, depth);
  scope_ = outer_scope;
  output_ = outer_output;
  --call_depth_;
  return out;
}

void Evaluator::write(const Text& text) {
  budget_.spend_bytes(text.size());
  if (output_->size() + text.size() > kMaxTextBytes)
    fail("the output is longer than " + std::to_string(kMaxTextBytes) + " bytes");
  output_->append(text);
}

Evaluator::Flow Evaluator::run_body(const Body& body) {
  for (const Statement& statement : body)
    if (const Flow flow = run(statement); flow != Flow::normal) return flow;
  return Flow::normal;
}

Evaluator::Flow Evaluator::run(const Statement& statement) {
  const DepthGuard guard(*this);
  budget_.step();
  const auto evaluated = [&](size_t index) { return evaluate(*statement.expressions[index]); };
  switch (statement.kind) {
    case StatementKind::data:
      write(Text(statement.text));
      break;
    case StatementKind::output:
      write(to_text(budget_, evaluated(0)));
      break;
    case StatementKind::branch:
      return run_branch(statement);
    case StatementKind::loop:
      run_loop(statement, evaluated(0), 0);
      break;
    case StatementKind::set:
      assign(*statement.target, evaluated(0));
      break;
    case StatementKind::set_block:
      run_set_block(statement);
      break;
    case StatementKind::macro:
      keep(scope_);
      scope_->set(statement.text,
                  adopt(std::make_shared<Macro>(statement.text, statement.signature, statement.bodies[0], scope_)));
      break;
    case StatementKind::call_block:
      run_call_block(statement);
      break;
    case StatementKind::filter_block:
      run_set_block(statement);
      break;
    case StatementKind::with:
      return run_with(statement);
    case StatementKind::scope:
      return run_in(statement.bodies[0], inner_scope());
    case StatementKind::break_loop:
      return Flow::break_loop;
    case StatementKind::continue_loop:
      return Flow::continue_loop;
  }
  return Flow::normal;
}

Evaluator::Flow Evaluator::run_branch(const Statement& statement) {
  for (size_t i = 0; i < statement.expressions.size(); ++i)
    if (evaluate(*statement.expressions[i]).truthy()) return run_body(statement.bodies[i]);
  return statement.bodies.size() > statement.expressions.size() ? run_body(statement.bodies.back()) : Flow::normal;
}

Values Evaluator::filter_loop_items(const Statement& statement, Values items) {
  if (!statement.expressions[1]) return items;
  Values kept;
  const ScopePtr outer = scope_;
  for (Value& item : items) {
    scope_ = outer;
    scope_ = inner_scope();
    assign(*statement.target, item);
    if (evaluate(*statement.expressions[1]).truthy()) kept.push_back(std::move(item));
  }
  scope_ = outer;
  return kept;
}

void Evaluator::run_loop(const Statement& statement, const Value& iterable, int depth) {
  const Values items = filter_loop_items(statement, items_of(budget_, iterable));
  if (items.empty()) return void(run_in(statement.bodies[1], inner_scope()));
  const ScopePtr outer = scope_;
  if (statement.recursive) keep(outer);
  const auto loop = std::make_shared<Loop>(statement, items, outer, depth);
  const Value loop_value(adopt(loop));
  bool completed = false;  // as Jinja has it, a loop of nothing but `continue` runs its else
  for (size_t i = 0; i < items.size(); ++i) {
    budget_.step();
    scope_ = outer;
    scope_ = inner_scope();
    loop->set_index(i);
    scope_->set("loop", loop_value);
    assign(*statement.target, items[i]);
    const Flow flow = run_body(statement.bodies[0]);
    if (flow == Flow::break_loop) break;
    completed |= flow == Flow::normal;
  }
  scope_ = outer;
  if (!completed) run_in(statement.bodies[1], inner_scope());
}

// Both {% set x | filters %}body{% endset %} and {% filter filters %}body{% endfilter %}.
void Evaluator::run_set_block(const Statement& statement) {
  Value value = capture(statement.bodies[0], inner_scope());
  std::vector<const Expression*> filters;  // the innermost is applied first
  for (const Expression* filter = statement.expressions[0].get(); filter; filter = filter->children[0].get())
    filters.push_back(filter);
  for (auto filter = filters.rbegin(); filter != filters.rend(); ++filter) value = evaluate_filter(**filter, value);
  if (statement.target)
    assign(*statement.target, value);
  else
    write(require_text(value, "what a filter block makes"));
}

void Evaluator::run_call_block(const Statement& statement) {
  keep(scope_);
  const Value caller(adopt(std::make_shared<Macro>("caller", statement.signature, statement.bodies[0], scope_)));
  const Expression& expression = *statement.expressions[0];
  const Value callee = evaluate(*expression.children[0]);
  Arguments arguments = evaluate_arguments(expression, 1);
  arguments.named.emplace_back("caller", caller);
  write(to_text(budget_, call(callee, arguments)));
}

Evaluator::Flow Evaluator::run_with(const Statement& statement) {
  const Values values = evaluate_all(statement.expressions);
  const ScopePtr outer = scope_;
  scope_ = inner_scope();
  for (size_t i = 0; i < values.size(); ++i) assign(*statement.targets[i], values[i]);
  const Flow flow = run_body(statement.bodies[0]);
  scope_ = outer;
  return flow;
}

void Evaluator::assign(const Expression& target, const Value& value) {
  if (target.kind == ExpressionKind::name) {
    budget_.spend_look_up(scope_->variables.size());
    return scope_->set(target.name, value);
  }
  if (target.kind == ExpressionKind::attribute) {
    const Value object = evaluate(*target.children[0]);
    if (object.is_undefined()) fail(object.undefined_reason());
    if (!object.if_object() || !object.if_object()->set_attribute(target.name, value))
      fail("cannot assign attribute '" + target.name + "': only a namespace can be assigned to");
    return;
  }
  const Values items = items_of(budget_, value);
  if (items.size() != target.children.size())
    fail("cannot unpack " + std::to_string(items.size()) + " values into " + std::to_string(target.children.size()) +
         " names");
  for (size_t i = 0; i < items.size(); ++i) assign(*target.children[i], items[i]);
}

void Evaluator::bind_parameters(const Signature& signature, const std::string& name, const Arguments& arguments,
                                const ScopePtr& scope) {
  const size_t count = signature.parameters.size(), first_default = count - signature.defaults.size();
  const ScopePtr outer = std::exchange(scope_, scope);
  const auto in_parameters = [&](const std::string& key) {
    return std::find(signature.parameters.begin(), signature.parameters.end(), key) != signature.parameters.end();
  };
  for (size_t i = 0; i < count; ++i) {
    const std::string& parameter = signature.parameters[i];
    budget_.spend_look_up(arguments.named.size() + scope->variables.size());
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& n) { return n.first == parameter; });
    if (i < arguments.positional.size())
      scope->set(parameter, arguments.positional[i]);
    else if (named != arguments.named.end())
      scope->set(parameter, named->second);
    else if (i >= first_default)
      scope->set(parameter, evaluate(*signature.defaults[i - first_default]));
    else
      scope->set(parameter, Value::undefined("parameter '" + parameter + "' was not provided"));
  }
  scope_ = outer;
  if (arguments.positional.size() > count && !signature.uses_varargs)
    fail("macro '" + name + "' takes not more than " + std::to_string(count) + " argument(s)");
  Values varargs(arguments.positional.begin() + std::ptrdiff_t(std::min(count, arguments.positional.size())),
                 arguments.positional.end());
  Dict kwargs;
  for (const auto& [key, value] : arguments.named) {
    budget_.spend_look_up(count);
    if (key == "caller")
      scope->set(key, value);
    else if (!in_parameters(key) && !signature.uses_kwargs)
      fail("macro '" + name + "' takes no keyword argument '" + key + "'");
    else if (!in_parameters(key))
      kwargs.set(Value(key), value);
  }
  if (signature.uses_varargs) scope->set("varargs", Value::tuple(std::move(varargs)));
  if (signature.uses_kwargs) scope->set("kwargs", Value::dict(std::move(kwargs)));
}

}  // namespace trireme::jinja
