#include "text/jinja/expression_parser.h"

#include <algorithm>

namespace trireme::jinja {
namespace {

constexpr int kMaxTreeDepth = 200;  // of a tree, chains of operators included

}  // namespace

bool ExpressionParser::skip(TokenKind kind) {
  if (current().kind != kind) return false;
  next();
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) { return is_name(name) && (next(), true); }
bool ExpressionParser::skip_op(std::string_view op) { return is_op(op) && (next(), true); }

const Token& ExpressionParser::expect(TokenKind kind, const char* what) {
  if (current().kind != kind)
    fail_here(std::string("expected ") + what + (at_end() ? ", not the end of the template" : ""));
  return next();
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) fail_here("expected '" + std::string(op) + "'");
}

int ExpressionParser::line() {
  const size_t offset = std::min(current().offset, source_.size());
  if (offset < counted_to_) return lines_;
  lines_ +=
      int(std::count(source_.begin() + std::ptrdiff_t(counted_to_), source_.begin() + std::ptrdiff_t(offset), '\n'));
  counted_to_ = offset;
  return lines_;
}

ExpressionPtr ExpressionParser::make(ExpressionKind kind) {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line();
  return node;
}

void ExpressionParser::adopt(ExpressionPtr& parent, ExpressionPtr child) {
  if (child) parent->depth = std::max(parent->depth, child->depth + 1);
  if (parent->depth > kMaxTreeDepth)
    fail_here("an expression has more than " + std::to_string(kMaxTreeDepth) + " levels");
  parent->children.push_back(std::move(child));
}

ExpressionPtr ExpressionParser::parse_tuple(bool with_conditional, bool in_parentheses) {
  const Nested nested(*this);
  const auto at_tuple_end = [&] {
    const TokenKind kind = current().kind;
    return kind == TokenKind::variable_end || kind == TokenKind::block_end || kind == TokenKind::end || is_op(")");
  };
  auto tuple = make(ExpressionKind::tuple);
  bool has_comma = false;
  while (!at_tuple_end()) {
    adopt(tuple, with_conditional ? parse_expression() : parse_or());
    if (!skip_op(",")) break;
    has_comma = true;
  }
  if (has_comma || (in_parentheses && tuple->children.empty())) return tuple;
  if (tuple->children.empty()) fail_here("expected an expression");
  return std::move(tuple->children[0]);
}

ExpressionPtr ExpressionParser::parse_target(bool attributes) {
  const bool parenthesized = skip_op("(");
  auto tuple = make(ExpressionKind::tuple);
  bool has_comma = false;
  do {
    if (!tuple->children.empty() && current().kind != TokenKind::name) break;
    auto name = make(ExpressionKind::name);
    name->name = expect(TokenKind::name, "a name to assign to").text;
    if (name->name == "loop" || name->name == "true" || name->name == "false" || name->name == "none")
      fail_here("cannot assign to '" + name->name + "'");
    if (attributes && is_op(".")) {
      next();
      auto attribute = make(ExpressionKind::attribute);
      attribute->name = expect(TokenKind::name, "an attribute name").text;
      adopt(attribute, std::move(name));
      name = std::move(attribute);
    }
    adopt(tuple, std::move(name));
  } while (skip_op(",") && (has_comma = true));
  if (parenthesized) expect_op(")");
  return has_comma ? std::move(tuple) : std::move(tuple->children[0]);
}

ExpressionPtr ExpressionParser::parse_conditional() {
  const Nested nested(*this);
  auto value = parse_or();
  while (skip_name("if")) {
    auto node = make(ExpressionKind::conditional);
    adopt(node, parse_or());
    adopt(node, std::move(value));
    adopt(node, skip_name("else") ? parse_conditional() : nullptr);
    value = std::move(node);
  }
  return value;
}

ExpressionPtr ExpressionParser::parse_or() {
  auto left = parse_and();
  if (!is_name("or")) return left;
  auto node = make(ExpressionKind::logical_or);
  adopt(node, std::move(left));
  while (skip_name("or")) adopt(node, parse_and());
  return node;
}

ExpressionPtr ExpressionParser::parse_and() {
  auto left = parse_not();
  if (!is_name("and")) return left;
  auto node = make(ExpressionKind::logical_and);
  adopt(node, std::move(left));
  while (skip_name("and")) adopt(node, parse_not());
  return node;
}

ExpressionPtr ExpressionParser::parse_not() {
  const Nested nested(*this);
  if (!is_name("not")) return parse_compare();
  auto node = make(ExpressionKind::logical_not);
  next();
  adopt(node, parse_not());
  return node;
}

ExpressionPtr ExpressionParser::parse_compare() {
  auto left = parse_sum();
  auto node = make(ExpressionKind::compare);
  for (;;) {
    std::string op;
    for (const auto known : {"==", "!=", "<", "<=", ">", ">="})
      if (is_op(known)) op = known;
    if (is_name("in")) op = "in";
    if (is_name("not") && at_ + 1 < tokens_.size() && tokens_[at_ + 1].kind == TokenKind::name &&
        tokens_[at_ + 1].text == "in") {
      op = "not in";
      next();
    }
    if (op.empty()) break;
    next();
    if (node->children.empty()) adopt(node, std::move(left));
    node->operators.push_back(op);
    adopt(node, parse_sum());
  }
  return node->children.empty() ? std::move(left) : std::move(node);
}

template <typename Next>
ExpressionPtr ExpressionParser::parse_left_associative(std::initializer_list<std::string_view> operators,
                                                       Next next_operand) {
  auto left = (this->*next_operand)();
  for (;;) {
    const auto op = std::find_if(operators.begin(), operators.end(), [&](auto o) { return is_op(o); });
    if (op == operators.end()) return left;
    auto node = make(ExpressionKind::arithmetic);
    node->name = *op;
    next();
    adopt(node, std::move(left));
    adopt(node, (this->*next_operand)());
    left = std::move(node);
  }
}

ExpressionPtr ExpressionParser::parse_sum() {
  return parse_left_associative({"+", "-"}, &ExpressionParser::parse_concatenation);
}
ExpressionPtr ExpressionParser::parse_product() {
  return parse_left_associative({"*", "/", "//", "%"}, &ExpressionParser::parse_power);
}

ExpressionPtr ExpressionParser::parse_concatenation() {
  auto left = parse_product();
  if (!is_op("~")) return left;
  auto node = make(ExpressionKind::concatenate);
  adopt(node, std::move(left));
  while (skip_op("~")) adopt(node, parse_product());
  return node;
}

ExpressionPtr ExpressionParser::parse_power() {
  auto left = parse_unary();
  while (is_op("**")) {
    auto node = make(ExpressionKind::arithmetic);
    node->name = next().text;
    adopt(node, std::move(left));
    adopt(node, parse_unary());
    left = std::move(node);
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_unary(bool with_filters) {
  const Nested nested(*this);
  ExpressionPtr node;
  if (is_op("-") || is_op("+")) {
    node = make(is_op("-") ? ExpressionKind::negative : ExpressionKind::positive);
    next();
    adopt(node, parse_unary(false));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filters ? parse_filters_and_tests(std::move(node)) : std::move(node);
}

}  // namespace trireme::jinja
