#include "text/jinja/ast.h"

namespace trireme::jinja {
namespace {

void collect(const Expression* expression, std::set<std::string>& literals) {
  if (!expression) return;
  if (const Text* text = expression->value.if_text()) literals.insert(text->bytes());
  for (const auto& child : expression->children) collect(child.get(), literals);
  for (const auto& argument : expression->named) collect(argument.second.get(), literals);
}

}  // namespace

void collect_literals(const Body& body, std::set<std::string>& literals) {
  for (const Statement& statement : body) {
    for (const auto& expression : statement.expressions) collect(expression.get(), literals);
    for (const auto& fallback : statement.signature.defaults) collect(fallback.get(), literals);
    for (const Body& inner : statement.bodies) collect_literals(inner, literals);
  }
}

}  // namespace trireme::jinja
