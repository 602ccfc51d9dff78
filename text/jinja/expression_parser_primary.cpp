// The innermost rules: literals, names, attributes, subscripts, calls, filters and tests.
#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "text/jinja/expression_parser.h"

namespace trireme::jinja {

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
  if (name == "true" || name == "True")
    node->value = Value(true);
  else if (name == "false" || name == "False")
    node->value = Value(false);
  else if (name == "none" || name == "None")
    node->value = Value(nullptr);
  else
    node->kind = ExpressionKind::name, node->name = name;
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
    const auto [end, error] =
        std::from_chars(text.data() + (base == 10 ? 0 : 2), text.data() + text.size(), number, base);
    if (error != std::errc() || end != text.data() + text.size())
      fail_here("'" + text + "' is not a number this program can hold");
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
    if (is_op(".") || is_op("["))
      node = parse_subscript(std::move(node));
    else if (is_op("("))
      node = parse_call(std::move(node));
    else
      return node;
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
  for (int part = 0; part < 2; ++part)
    adopt(slice, skip_op(":") && !is_op(":") && !is_op("]") ? parse_expression() : nullptr);
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
    const bool is_named =
        current().kind == TokenKind::name && tokens_[at_ + 1].kind == TokenKind::op && tokens_[at_ + 1].text == "=";
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
    if (is_op("|"))
      node = parse_filters(std::move(node));
    else if (is_name("is"))
      node = parse_test(std::move(node));
    else if (is_op("("))
      node = parse_call(std::move(node));
    else
      return node;
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
                           kind == TokenKind::string || kind == TokenKind::integer || kind == TokenKind::real ||
                           is_op("[") || is_op("{");
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
