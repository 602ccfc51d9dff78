#pragma once
#include <set>
#include <string>

#include "text/jinja/ast.h"

namespace trireme::jinja {

// Jinja decides when it compiles where a name comes from. One that the template itself (outside of loops, macros and
// blocks) sets before it reads it is the template's own from the start: until then it is undefined inside loops and
// macros, too, even where a variable of that name was given. Returns those names.
std::set<std::string> names_set_before_read(const Body& body);

}  // namespace trireme::jinja
