#pragma once
// A parsed template. Plain trees; their depth is limited by the parser, so recursion over them is bounded.

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace trireme::jinja {

struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<Expression>;
using Body = std::vector<Statement>;

enum class ExpressionKind {
  constant,     // value
  name,         // name
  list,         // children
  tuple,        // children
  dict,         // children: key, value, key, value ...
  attribute,    // children[0].name
  item,         // children[0][children[1]]
  slice,        // children[0][children[1]:children[2]:children[3]], null children are absent
  call,         // children[0](children[1..], named)
  spread,       // *children[0] among the arguments of a call
  filter,       // children[0] | name(children[1..], named); children[0] is null at the head of a filter block
  test,         // children[0] is name(children[1..], named)
  negative,     // - children[0]
  positive,     // + children[0]
  arithmetic,   // children[0] name children[1], name among + - * / // % **
  concatenate,  // children[0] ~ children[1] ~ ...
  compare,      // children[0] operators[0] children[1] operators[1] ...
  logical_and,
  logical_or,   // children
  logical_not,  // children[0]
  conditional,  // children[1] if children[0] else children[2], which may be null
};

struct Expression {
  ExpressionKind kind;
  int line = 0;
  int depth = 1;  // of the tree below and with this node
  std::string name;
  Value value;
  std::vector<ExpressionPtr> children;
  std::vector<std::pair<std::string, ExpressionPtr>> named;  // name "**": a dict of arguments
  std::vector<std::string> operators;
};

enum class StatementKind {
  data,          // text
  output,        // expressions[0]
  branch,        // if: expressions[i] guards bodies[i]; one more body is the else
  loop,          // for target in expressions[0] if expressions[1] (may be null): bodies[0], else bodies[1]
  set,           // target = expressions[0]
  set_block,     // target = bodies[0], through the filter expressions[0] (may be null)
  macro,         // text(signature): bodies[0]
  call_block,    // call(signature) expressions[0]: bodies[0] is the caller
  filter_block,  // expressions[0] over bodies[0]
  with,          // targets[i] = expressions[i] for bodies[0]
  scope,         // bodies[0] with variables of its own ({% generation %})
  break_loop,
  continue_loop,
};

struct Signature {
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;  // of the last parameters
  bool uses_varargs = false, uses_kwargs = false;
};

struct Statement {
  StatementKind kind;
  int line = 0;
  std::string text;
  ExpressionPtr target;
  std::vector<ExpressionPtr> targets;
  std::vector<ExpressionPtr> expressions;
  std::vector<Body> bodies;
  Signature signature;
  bool recursive = false;
};

// Every string constant.
void collect_literals(const Body& body, std::set<std::string>& literals);

}  // namespace trireme::jinja
