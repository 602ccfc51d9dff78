#include "text/jinja/scope_analysis.h"

#include <map>

namespace trireme::jinja {
namespace {

struct Symbols {
  std::map<std::string, bool> names;  // seen so far -> is set first, on every way to here
  std::set<std::string> stored;

  void load(const std::string& name) { names.try_emplace(name, false); }
  void store(const std::string& name) {
    stored.insert(name);
    names.try_emplace(name, true);
  }
};

void load_all(Symbols& symbols, const Expression* expression) {
  if (!expression) return;
  if (expression->kind == ExpressionKind::name) symbols.load(expression->name);
  for (const auto& child : expression->children) load_all(symbols, child.get());
  for (const auto& argument : expression->named) load_all(symbols, argument.second.get());
}

void store_target(Symbols& symbols, const Expression& target) {
  if (target.kind == ExpressionKind::name) return symbols.store(target.name);
  if (target.kind == ExpressionKind::attribute) return load_all(symbols, &target);
  for (const auto& child : target.children) store_target(symbols, *child);
}

// What only some of three branches (then, elif, else) set may come from outside.
void merge(Symbols& symbols, const Symbols& then, const Symbols& elif, const Symbols& other) {
  std::map<std::string, int> branches;
  for (const Symbols* branch : {&then, &elif, &other})
    for (const std::string& name : branch->stored)
      if (symbols.stored.count(name) == 0) ++branches[name];
  for (const Symbols* branch : {&then, &elif, &other}) {
    for (const auto& [name, set_first] : branch->names) symbols.names[name] = set_first;
    symbols.stored.insert(branch->stored.begin(), branch->stored.end());
  }
  for (const auto& [name, count] : branches)
    if (count < 3) symbols.names[name] = false;
}

void visit(Symbols& symbols, const Body& body);

void visit_branch(Symbols& symbols, const Statement& statement) {
  load_all(symbols, statement.expressions[0].get());
  const Symbols before = symbols;
  Symbols then = before, elif = before, other = before;
  visit(then, statement.bodies[0]);
  for (size_t i = 1; i < statement.expressions.size(); ++i) {
    load_all(elif, statement.expressions[i].get());
    Symbols inner = elif;
    const Symbols absent = elif;
    visit(inner, statement.bodies[i]);
    merge(elif, inner, absent, absent);
  }
  if (statement.bodies.size() > statement.expressions.size()) visit(other, statement.bodies.back());
  merge(symbols, then, elif, other);
}

void visit(Symbols& symbols, const Body& body) {
  for (const Statement& statement : body) {
    switch (statement.kind) {
      case StatementKind::branch:
        visit_branch(symbols, statement);
        break;
      case StatementKind::loop:
        load_all(symbols, statement.expressions[0].get());  // its test belongs to the loop
        break;
      case StatementKind::macro:
        symbols.store(statement.text);
        break;
      case StatementKind::set:
        load_all(symbols, statement.expressions[0].get());
        store_target(symbols, *statement.target);
        break;
      case StatementKind::set_block:
        store_target(symbols, *statement.target);
        break;
      default:
        for (const auto& expression : statement.expressions) load_all(symbols, expression.get());
    }
  }
}

}  // namespace

std::set<std::string> names_set_before_read(const Body& body) {
  Symbols symbols;
  visit(symbols, body);
  std::set<std::string> names;
  for (const auto& [name, set_first] : symbols.names)
    if (set_first) names.insert(name);
  return names;
}

}  // namespace trireme::jinja
