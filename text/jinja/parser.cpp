// Statements; expressions are in expression_parser.cpp.
#include "text/jinja/parser.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/expression_parser.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

constexpr size_t kMaxSourceBytes = 1 << 20;
constexpr int kMaxBlockDepth = 64;

class TemplateParser : private ExpressionParser {
 public:
  explicit TemplateParser(const std::string& source) : ExpressionParser(source) {}

  Body run() {
    Body body = parse_body({});
    if (!at_end()) fail_here("unexpected end of a block");
    return body;
  }

 private:
  using Names = std::vector<std::string_view>;

  // Statements up to a tag with one of the names (left to be read after its "{%"), or the end of the source.
  Body parse_body(const Names& until) {
    if (++depth_ > kMaxBlockDepth) fail_here("blocks are nested more than " + std::to_string(kMaxBlockDepth) + " deep");
    Body body;
    while (!at_end()) {
      if (current().kind == TokenKind::data) {
        body.push_back(make(StatementKind::data));
        body.back().text = next().text;
      } else if (skip(TokenKind::variable_begin)) {
        body.push_back(make(StatementKind::output));
        body.back().expressions.push_back(parse_tuple(true));
        expect(TokenKind::variable_end, "}}");
      } else {
        expect(TokenKind::block_begin, "{%");
        if (std::any_of(until.begin(), until.end(), [&](auto name) { return is_name(name); })) break;
        parse_block(body);
      }
    }
    --depth_;
    return body;
  }

  Body parse_body_to_end(std::string_view end_name) {
    const size_t start = current().offset;
    expect(TokenKind::block_end, "%}");
    Body body = parse_body({end_name});
    finish_block(end_name, start);
    return body;
  }

  void finish_block(std::string_view end_name, size_t start) {
    if (!skip_name(end_name)) fail_at(start, "this block is never ended with {% " + std::string(end_name) + " %}");
    expect(TokenKind::block_end, "%}");
  }

  Statement make(StatementKind kind) {
    Statement statement{};
    statement.kind = kind;
    statement.line = line();
    return statement;
  }

  struct Tag {
    std::string_view name;
    void (TemplateParser::*parse)(Statement& statement);
    StatementKind kind;
  };

  void parse_block(Body& body) {
    static constexpr Tag kTags[] = {
        {"if", &TemplateParser::parse_if, StatementKind::branch},
        {"for", &TemplateParser::parse_for, StatementKind::loop},
        {"set", &TemplateParser::parse_set, StatementKind::set},
        {"macro", &TemplateParser::parse_macro, StatementKind::macro},
        {"call", &TemplateParser::parse_call_block, StatementKind::call_block},
        {"filter", &TemplateParser::parse_filter_block, StatementKind::filter_block},
        {"with", &TemplateParser::parse_with, StatementKind::with},
        {"generation", &TemplateParser::parse_generation, StatementKind::scope},
        {"break", &TemplateParser::parse_jump, StatementKind::break_loop},
        {"continue", &TemplateParser::parse_jump, StatementKind::continue_loop},
    };
    const Token& tag = current();
    for (const Tag& known : kTags) {
      if (tag.kind != TokenKind::name || tag.text != known.name) continue;
      Statement statement = make(known.kind);
      next();
      (this->*known.parse)(statement);
      body.push_back(std::move(statement));
      return;
    }
    fail_here("the tag '" + tag.text +
              "' is unknown or not supported; supported: if, for, set, macro, call, filter, with, "
              "generation, break, continue, raw");
  }

  void parse_if(Statement& statement) {
    const size_t start = current().offset;
    for (;;) {
      statement.expressions.push_back(parse_tuple(false));
      expect(TokenKind::block_end, "%}");
      statement.bodies.push_back(parse_body({"elif", "else", "endif"}));
      if (!skip_name("elif")) break;
    }
    if (skip_name("else")) {
      expect(TokenKind::block_end, "%}");
      statement.bodies.push_back(parse_body({"endif"}));
    }
    finish_block("endif", start);
  }

  void parse_for(Statement& statement) {
    const size_t start = current().offset;
    statement.target = parse_target(false);
    if (!skip_name("in")) fail_here("expected 'in'");
    statement.expressions.push_back(parse_tuple(false));
    statement.expressions.push_back(skip_name("if") ? parse_expression() : nullptr);
    statement.recursive = skip_name("recursive");
    expect(TokenKind::block_end, "%}");
    ++loop_depth_;
    statement.bodies.push_back(parse_body({"else", "endfor"}));
    --loop_depth_;
    statement.bodies.emplace_back();
    if (skip_name("else")) {
      expect(TokenKind::block_end, "%}");
      statement.bodies.back() = parse_body({"endfor"});
    }
    finish_block("endfor", start);
  }

  void parse_set(Statement& statement) {
    statement.target = parse_target(true);
    if (skip_op("=")) {
      statement.expressions.push_back(parse_tuple(true));
      expect(TokenKind::block_end, "%}");
      return;
    }
    statement.kind = StatementKind::set_block;
    statement.expressions.push_back(is_op("|") ? parse_filters(nullptr) : nullptr);
    statement.bodies.push_back(parse_body_to_end("endset"));
  }

  void parse_signature(Signature& signature) {
    expect_op("(");
    while (!is_op(")")) {
      if (!signature.parameters.empty()) expect_op(",");
      signature.parameters.push_back(expect(TokenKind::name, "a parameter name").text);
      if (skip_op("="))
        signature.defaults.push_back(parse_expression());
      else if (!signature.defaults.empty())
        fail_here("a parameter without a default follows one that has a default");
    }
    expect_op(")");
  }

  // A body that is called: break and continue do not reach a loop around it.
  void parse_callable_body(Statement& statement, std::string_view end_name) {
    const int loops = std::exchange(loop_depth_, 0);
    Signature* const outer = std::exchange(signature_, &statement.signature);
    statement.bodies.push_back(parse_body_to_end(end_name));
    signature_ = outer;
    loop_depth_ = loops;
  }

  void parse_macro(Statement& statement) {
    statement.text = expect(TokenKind::name, "a macro name").text;
    parse_signature(statement.signature);
    parse_callable_body(statement, "endmacro");
  }

  void parse_call_block(Statement& statement) {
    if (is_op("(")) parse_signature(statement.signature);
    statement.expressions.push_back(parse_expression());
    if (statement.expressions[0]->kind != ExpressionKind::call) fail_here("expected a call");
    parse_callable_body(statement, "endcall");
  }

  void parse_filter_block(Statement& statement) {
    statement.expressions.push_back(parse_filters(nullptr, true));
    statement.bodies.push_back(parse_body_to_end("endfilter"));
  }

  void parse_with(Statement& statement) {
    while (current().kind != TokenKind::block_end) {
      if (!statement.targets.empty()) expect_op(",");
      statement.targets.push_back(parse_target(false));
      expect_op("=");
      statement.expressions.push_back(parse_expression());
    }
    statement.bodies.push_back(parse_body_to_end("endwith"));
  }

  void parse_generation(Statement& statement) { statement.bodies.push_back(parse_body_to_end("endgeneration")); }

  void parse_jump(Statement&) {
    if (loop_depth_ == 0) fail_here("break and continue belong inside a loop");
    expect(TokenKind::block_end, "%}");
  }

  int depth_ = 0;
  int loop_depth_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) {
  if (source.size() > kMaxSourceBytes)
    throw CheckpointError("the chat template has " + std::to_string(source.size()) + " bytes, at most " +
                          std::to_string(kMaxSourceBytes) + " are accepted");
  if (const size_t at = find_invalid_utf8(source); at != kValidUtf8)
    throw CheckpointError("the chat template is not valid UTF-8 at byte " + std::to_string(at));
  const std::string normalized = normalize_newlines(source);
  return TemplateParser(normalized).run();
}

}  // namespace trireme::jinja
