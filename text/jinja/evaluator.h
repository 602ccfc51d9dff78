#pragma once
// Runs a parsed template once. One thread; the tree is shared and constant.

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace trireme::jinja {

// Variables of a block; blocks inside see them, and a macro keeps the scope it was defined in.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> variables;
  bool kept = false;  // some object refers to it; see Evaluator::keep

  void set(const std::string& name, Value value);
  // Here or in the scopes around; adds the variables it compared to `visited`.
  const Value* find(const std::string& name, size_t& visited) const;
};
using ScopePtr = std::shared_ptr<Scope>;

class Evaluator {
 public:
  explicit Evaluator(const Dict& variables);
  ~Evaluator();

  // `own`: names that are the template's from the start; see scope_analysis.h.
  Text render(const Body& body, const std::set<std::string>& own);

  // For filters, tests, methods and objects.
  Budget& budget() { return budget_; }
  Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& input, const Arguments& arguments);
  Value attribute_of(const Value& object, const std::string& name);  // object.name
  Value subscript_of(const Value& object, const Value& key);         // object[key]
  Value call(const Value& callee, const Arguments& arguments);
  // Objects may refer to each other in circles; each is emptied when the render ends.
  std::shared_ptr<Object> adopt(std::shared_ptr<Object> object);
  void keep(const ScopePtr& scope);

  // For macros and recursive loops: what a body writes, with `scope` as its innermost.
  Text render_body(const Body& body, const ScopePtr& scope);
  void bind_parameters(const Signature& signature, const std::string& name, const Arguments& arguments,
                       const ScopePtr& scope);
  Text render_loop(const Statement& loop, const Value& iterable, const ScopePtr& scope, int depth);

 private:
  enum class Flow { normal, break_loop, continue_loop };
  class DepthGuard;

  Flow run_body(const Body& body);
  Flow run(const Statement& statement);
  Flow run_branch(const Statement& statement);
  void run_loop(const Statement& statement, const Value& iterable, int depth);
  void run_set_block(const Statement& statement);
  void run_call_block(const Statement& statement);
  Flow run_with(const Statement& statement);
  Values filter_loop_items(const Statement& statement, Values items);
  void assign(const Expression& target, const Value& value);
  void write(const Text& text);
  Flow run_in(const Body& body, const ScopePtr& scope);
  Text capture(const Body& body, const ScopePtr& scope);
  ScopePtr inner_scope() const;

  Value evaluate(const Expression& expression);
  Value evaluate_name(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_logic(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_concatenate(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_conditional(const Expression& expression);
  Value evaluate_filter(const Expression& expression, const Value& input);
  Value evaluate_call(const Expression& expression);
  Values evaluate_all(const std::vector<ExpressionPtr>& expressions);
  Arguments evaluate_arguments(const Expression& expression, size_t first);

  Budget budget_;
  ScopePtr scope_;
  Text* output_ = nullptr;
  int depth_ = 0, call_depth_ = 0;
  std::vector<std::shared_ptr<Object>> objects_;
  std::vector<ScopePtr> kept_scopes_;
};

}  // namespace trireme::jinja
