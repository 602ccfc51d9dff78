#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace trireme::jinja {
namespace {

constexpr int kMaxOpen = 256;       // open calls of the parser's rules; four are one pair of parentheses
constexpr int kMaxTreeDepth = 200;  // of a tree, chains of operators included

}  // namespace

class ExpressionParser::Nested {
 public:
  explicit Nested(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.depth_ > kMaxOpen) parser_.fail_here("expressions are nested too deep");
  }
  ~Nested() { --parser_.depth_; }

 private:
  ExpressionParser& parser_;
};

bool ExpressionParser::skip(TokenKind kind) {
  if (current().kind != kind) return false;
  next();
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) { return is_name(name) && (next(), true); }
bool ExpressionParser::skip_op(std::string_view op) { return is_op(op) && (next(), true); }

const Token& ExpressionParser::expect(TokenKind kind, const char* what) {
  if (current().kind != kind) fail_here(std::string("expected ") + what + (at_end() ? ", not the end of the template" : ""));
  return next();
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) fail_here("expected '" + std::string(op) + "'");
}

int ExpressionParser::line() {
  const size_t offset = std::min(current().offset, source_.size());
  if (offset < counted_to_) return lines_;
  lines_ += int(std::count(source_.begin() + std::ptrdiff_t(counted_to_), source_.begin() + std::ptrdiff_t(offset), '\n'));
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
  if (parent->depth > kMaxTreeDepth) fail_here("an expression has more than " + std::to_string(kMaxTreeDepth) + " levels");
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
    if (is_name("not") && at_ + 1 < tokens_.size() && tokens_[at_ + 1].kind == TokenKind::name && tokens_[at_ + 1].text == "in") {
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
ExpressionPtr ExpressionParser::parse_left_associative(std::initializer_list<std::string_view> operators, Next next_operand) {
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

ExpressionPtr ExpressionParser::parse_sum() { return parse_left_associative({"+", "-"}, &ExpressionParser::parse_concatenation); }
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

ExpressionPtr ExpressionParser::parse_primary() {
  if (current().kind == TokenKind::name) return parse_name();
  if (current().kind == TokenKind::integer || current().kind == TokenKind::real) return parse_number();
  if (current().kind == TokenKind::string) {
    auto node = make(ExpressionKind::constant);
    std::string text;
    while (current().kind == TokenKind::string) text += next().text;  // adjacent strings are one
    node->value = Value(std::move(text));
    return node;
  }
  if (skip_op("(")) {
    auto node = parse_tuple(true, true);
    expect_op(")");
    return node;
  }
  if (is_op("[")) return parse_list();
  if (is_op("{")) return parse_dict();
  fail_here(at_end() ? "unexpected end of the template" : "unexpected '" + current().text + "'");
}

ExpressionPtr ExpressionParser::parse_name() {
  auto node = make(ExpressionKind::constant);
  const std::string name = next().text;
  if (name == "true" || name == "True") node->value = Value(true);
  else if (name == "false" || name == "False") node->value = Value(false);
  else if (name == "none" || name == "None") node->value = Value(nullptr);
  else node->kind = ExpressionKind::name, node->name = name;
  if (signature_ && name == "varargs") signature_->uses_varargs = true;
  if (signature_ && name == "kwargs") signature_->uses_kwargs = true;
  return node;
}

ExpressionPtr ExpressionParser::parse_number() {
  auto node = make(ExpressionKind::constant);
  const std::string& text = current().text;
  if (current().kind == TokenKind::real) {
    node->value = Value(std::strtod(text.c_str(), nullptr));  // too large is infinite, as in Python
  } else {
    const char prefix = text.size() > 1 && text[0] == '0' ? char(text[1] | 32) : ' ';
    const int base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 10;
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data() + (base == 10 ? 0 : 2), text.data() + text.size(), number, base);
    if (error != std::errc() || end != text.data() + text.size()) fail_here("'" + text + "' is not a number this program can hold");
    node->value = Value(number);
  }
  next();
  return node;
}

ExpressionPtr ExpressionParser::parse_list() {
  auto node = make(ExpressionKind::list);
  expect_op("[");
  while (!is_op("]")) {
    if (!node->children.empty()) expect_op(",");
    if (is_op("]")) break;
    adopt(node, parse_expression());
  }
  expect_op("]");
  return node;
}

ExpressionPtr ExpressionParser::parse_dict() {
  auto node = make(ExpressionKind::dict);
  expect_op("{");
  while (!is_op("}")) {
    if (!node->children.empty()) expect_op(",");
    if (is_op("}")) break;
    adopt(node, parse_expression());
    expect_op(":");
    adopt(node, parse_expression());
  }
  expect_op("}");
  return node;
}

ExpressionPtr ExpressionParser::parse_postfix(ExpressionPtr node) {
  for (;;) {
    if (is_op(".") || is_op("[")) node = parse_subscript(std::move(node));
    else if (is_op("(")) node = parse_call(std::move(node));
    else return node;
  }
}

ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr node) {
  if (skip_op("[")) {
    node = parse_subscript_part(std::move(node));
    expect_op("]");
    return node;
  }
  expect_op(".");
  if (current().kind == TokenKind::integer) {
    auto item = make(ExpressionKind::item);
    adopt(item, std::move(node));
    adopt(item, parse_number());
    return item;
  }
  auto attribute = make(ExpressionKind::attribute);
  attribute->name = expect(TokenKind::name, "a name or a number after '.'").text;
  adopt(attribute, std::move(node));
  return attribute;
}

ExpressionPtr ExpressionParser::parse_subscript_part(ExpressionPtr node) {
  auto first = is_op(":") ? nullptr : parse_expression();
  if (!is_op(":")) {
    auto item = make(ExpressionKind::item);
    adopt(item, std::move(node));
    adopt(item, std::move(first));
    return item;
  }
  auto slice = make(ExpressionKind::slice);
  adopt(slice, std::move(node));
  adopt(slice, std::move(first));
  for (int part = 0; part < 2; ++part) adopt(slice, skip_op(":") && !is_op(":") && !is_op("]") ? parse_expression() : nullptr);
  return slice;
}

ExpressionPtr ExpressionParser::parse_call(ExpressionPtr callee) {
  auto call = make(ExpressionKind::call);
  adopt(call, std::move(callee));
  parse_arguments(call);
  return call;
}

// "(a, b, name=c, *d, **e)"
void ExpressionParser::parse_arguments(ExpressionPtr& node) {
  expect_op("(");
  for (bool first = true; !is_op(")"); first = false) {
    if (!first) expect_op(",");
    if (is_op(")")) break;
    const bool is_named = current().kind == TokenKind::name && tokens_[at_ + 1].kind == TokenKind::op && tokens_[at_ + 1].text == "=";
    if (is_named || is_op("**")) {
      std::string name = next().text;
      if (is_named) next();
      auto value = parse_expression();
      node->depth = std::max(node->depth, value->depth + 1);
      node->named.emplace_back(std::move(name), std::move(value));
    } else if (skip_op("*")) {
      auto spread = make(ExpressionKind::spread);
      adopt(spread, parse_expression());
      adopt(node, std::move(spread));
    } else {
      if (!node->named.empty()) fail_here("a positional argument follows a named one");
      adopt(node, parse_expression());
    }
  }
  expect_op(")");
}

ExpressionPtr ExpressionParser::parse_filters(ExpressionPtr head, bool bare_head) {
  while (bare_head || skip_op("|")) {
    bare_head = false;
    auto filter = make(ExpressionKind::filter);
    filter->name = expect(TokenKind::name, "a filter name").text;
    while (skip_op(".")) filter->name += "." + expect(TokenKind::name, "a filter name").text;
    adopt(filter, std::move(head));
    if (is_op("(")) parse_arguments(filter);
    head = std::move(filter);
  }
  return head;
}

ExpressionPtr ExpressionParser::parse_filters_and_tests(ExpressionPtr node) {
  for (;;) {
    if (is_op("|")) node = parse_filters(std::move(node));
    else if (is_name("is")) node = parse_test(std::move(node));
    else if (is_op("(")) node = parse_call(std::move(node));
    else return node;
  }
}

ExpressionPtr ExpressionParser::parse_test(ExpressionPtr node) {
  next();
  auto test = make(ExpressionKind::test);
  const bool negated = skip_name("not");
  test->name = expect(TokenKind::name, "the name of a test").text;
  while (skip_op(".")) test->name += "." + expect(TokenKind::name, "the name of a test").text;
  adopt(test, std::move(node));
  const TokenKind kind = current().kind;
  const bool has_operand = (kind == TokenKind::name && !is_name("else") && !is_name("or") && !is_name("and")) ||
                           kind == TokenKind::string || kind == TokenKind::integer || kind == TokenKind::real || is_op("[") || is_op("{");
  if (is_op("(")) {
    parse_arguments(test);
  } else if (has_operand && !is_name("if") && !is_name("in") && !is_name("recursive")) {
    if (is_name("is")) fail_here("tests cannot be chained with 'is'");
    const Nested nested(*this);
    adopt(test, parse_postfix(parse_primary()));
  }
  if (!negated) return test;
  auto inverted = make(ExpressionKind::logical_not);
  adopt(inverted, std::move(test));
  return inverted;
}

}  // namespace trireme::jinja
