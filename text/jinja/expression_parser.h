#pragma once
// Expressions by recursive descent, in Jinja's order of precedence: operators in expression_parser.cpp, what they
// stand between in expression_parser_primary.cpp.

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace trireme::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(const std::string& source) : source_(source), tokens_(tokenize(source)) {}

 protected:
  ExpressionPtr parse_expression() { return parse_conditional(); }
  // One expression, or several with commas between: a tuple.
  ExpressionPtr parse_tuple(bool with_conditional, bool in_parentheses = false);
  // What can be assigned to: a name, names with commas, or with `attributes` also "namespace.name".
  ExpressionPtr parse_target(bool attributes);
  // "| name(arguments)" as often as it stands there; `bare_head`: the first without its bar.
  ExpressionPtr parse_filters(ExpressionPtr head, bool bare_head = false);

  const Token& current() const { return tokens_[at_]; }
  const Token& next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool at_end() const { return current().kind == TokenKind::end; }
  bool is_name(std::string_view name) const { return current().kind == TokenKind::name && current().text == name; }
  bool is_op(std::string_view op) const { return current().kind == TokenKind::op && current().text == op; }
  bool skip(TokenKind kind);
  bool skip_name(std::string_view name);
  bool skip_op(std::string_view op);
  const Token& expect(TokenKind kind, const char* what);
  void expect_op(std::string_view op);
  int line();
  [[noreturn]] void fail_here(const std::string& problem) const { fail_syntax(source_, current().offset, problem); }
  [[noreturn]] void fail_at(size_t offset, const std::string& problem) const { fail_syntax(source_, offset, problem); }

  Signature* signature_ = nullptr;  // of the macro being parsed

 private:
  // Counts the rules that are open: what bounds the recursion.
  class Nested {
   public:
    explicit Nested(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMaxOpen) parser_.fail_here("expressions are nested too deep");
    }
    ~Nested() { --parser_.depth_; }

   private:
    ExpressionParser& parser_;
  };
  static constexpr int kMaxOpen = 256;  // four are one pair of parentheses

  ExpressionPtr make(ExpressionKind kind);
  void adopt(ExpressionPtr& parent, ExpressionPtr child);  // child may be null
  ExpressionPtr parse_conditional();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concatenation();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters = true);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_number();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_postfix(ExpressionPtr node);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr node);
  ExpressionPtr parse_test(ExpressionPtr node);
  ExpressionPtr parse_subscript(ExpressionPtr node);
  ExpressionPtr parse_subscript_part(ExpressionPtr node);
  ExpressionPtr parse_call(ExpressionPtr callee);
  void parse_arguments(ExpressionPtr& node);
  template <typename Next>
  ExpressionPtr parse_left_associative(std::initializer_list<std::string_view> operators, Next next);

  const std::string& source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  size_t counted_to_ = 0;  // line() has counted the newlines before this offset
  int lines_ = 1;
};

}  // namespace trireme::jinja
