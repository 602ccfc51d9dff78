// What can stand after "is".
#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/operations.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

const Value& operand(const Arguments& arguments) {
  if (arguments.positional.size() != 1) fail("this test takes one operand");
  return arguments.positional[0];
}

bool is_defined(Evaluator&, const Value& v, const Arguments&) { return !v.is_undefined(); }
bool is_undefined(Evaluator&, const Value& v, const Arguments&) { return v.is_undefined(); }
bool is_none(Evaluator&, const Value& v, const Arguments&) { return v.is_none(); }
bool is_true(Evaluator&, const Value& v, const Arguments&) { return v.if_bool() && *v.if_bool(); }
bool is_false(Evaluator&, const Value& v, const Arguments&) { return v.if_bool() && !*v.if_bool(); }
bool is_boolean(Evaluator&, const Value& v, const Arguments&) { return v.if_bool(); }
bool is_string(Evaluator&, const Value& v, const Arguments&) { return v.if_text(); }
bool is_integer(Evaluator&, const Value& v, const Arguments&) { return v.if_int(); }
bool is_float(Evaluator&, const Value& v, const Arguments&) { return v.if_real(); }
bool is_any_number(Evaluator&, const Value& v, const Arguments&) { return v.if_int() || v.if_real() || v.if_bool(); }
bool is_mapping(Evaluator&, const Value& v, const Arguments&) { return v.if_dict(); }
bool is_iterable(Evaluator&, const Value& v, const Arguments&) {
  return v.is_undefined() || v.if_text() || v.if_list() || v.if_dict();
}
bool is_sequence(Evaluator&, const Value& v, const Arguments&) {
  return v.if_text() || v.if_dict() || (v.if_list() && v.if_list()->has_items()) || v.is_undefined();
}
bool is_escaped(Evaluator&, const Value& v, const Arguments&) { return v.if_text() && v.if_text()->is_markup(); }
bool is_callable(Evaluator&, const Value& v, const Arguments&) {
  return v.is_undefined() || (v.if_object() && v.if_object()->callable());  // calling what is undefined only fails
}
void check_name(const Value& v) {
  const List* list = v.if_list();
  const bool hashable_list =
      !list || (list->kind != ListKind::list && (list->kind != ListKind::view || list->name == "dict_values"));
  if (!hashable_list || (list && list->is_tuple() && list->nesting > 1) || v.if_dict())
    fail(std::string("unhashable type: '") + v.type_name() + "'");
}
bool is_filter(Evaluator&, const Value& v, const Arguments&) {
  check_name(v);
  return v.if_text() && find_filter(v.if_text()->bytes());
}
bool is_test(Evaluator&, const Value& v, const Arguments&) {
  check_name(v);
  return v.if_text() && find_test(v.if_text()->bytes());
}

bool has_remainder(Evaluator& evaluator, const Value& v, const Value& divisor, int64_t remainder) {
  return equal(evaluator.budget(), arithmetic(evaluator.budget(), "%", v, divisor), remainder);
}
bool is_odd(Evaluator& e, const Value& v, const Arguments&) { return has_remainder(e, v, int64_t(2), 1); }
bool is_even(Evaluator& e, const Value& v, const Arguments&) { return has_remainder(e, v, int64_t(2), 0); }
bool is_divisible(Evaluator& evaluator, const Value& v, const Arguments& arguments) {
  return has_remainder(evaluator, v, operand(arguments), 0);
}

template <std::string (*own)(std::string_view), std::string (*other)(std::string_view)>
bool has_case(Evaluator& evaluator, const Value& v, const Arguments&) {
  const std::string text = to_text(evaluator.budget(), v).bytes();
  evaluator.budget().spend_chars(text.size() * 2);
  return own(text) == text && other(text) != text;
}

bool is_equal(Evaluator& e, const Value& v, const Arguments& a) { return equal(e.budget(), v, operand(a)); }
bool is_unequal(Evaluator& e, const Value& v, const Arguments& a) { return !equal(e.budget(), v, operand(a)); }
bool is_less(Evaluator& e, const Value& v, const Arguments& a) { return less(e.budget(), v, operand(a)); }
bool is_greater(Evaluator& e, const Value& v, const Arguments& a) { return less(e.budget(), operand(a), v); }
bool is_less_or_equal(Evaluator& e, const Value& v, const Arguments& a) {
  return is_less(e, v, a) || is_equal(e, v, a);
}
bool is_greater_or_equal(Evaluator& e, const Value& v, const Arguments& a) {
  return is_greater(e, v, a) || is_equal(e, v, a);
}
bool is_in(Evaluator& e, const Value& v, const Arguments& a) { return contains(e.budget(), operand(a), v); }

// Identity; values that cannot change are the same when they are equal and of one type.
bool is_same(Evaluator& e, const Value& v, const Arguments& a) {
  return std::string_view(v.type_name()) == operand(a).type_name() && equal(e.budget(), v, operand(a));
}

constexpr Test kTests[] = {
    {"defined", is_defined},
    {"undefined", is_undefined},
    {"none", is_none},
    {"true", is_true},
    {"false", is_false},
    {"boolean", is_boolean},
    {"string", is_string},
    {"integer", is_integer},
    {"float", is_float},
    {"number", is_any_number},
    {"mapping", is_mapping},
    {"iterable", is_iterable},
    {"sequence", is_sequence},
    {"escaped", is_escaped},
    {"callable", is_callable},
    {"filter", is_filter},
    {"test", is_test},
    {"odd", is_odd},
    {"even", is_even},
    {"divisibleby", is_divisible},
    {"lower", has_case<to_lower, to_upper>},
    {"upper", has_case<to_upper, to_lower>},
    {"eq", is_equal},
    {"equalto", is_equal},
    {"==", is_equal},
    {"ne", is_unequal},
    {"!=", is_unequal},
    {"lt", is_less},
    {"lessthan", is_less},
    {"<", is_less},
    {"gt", is_greater},
    {"greaterthan", is_greater},
    {">", is_greater},
    {"le", is_less_or_equal},
    {"<=", is_less_or_equal},
    {"ge", is_greater_or_equal},
    {">=", is_greater_or_equal},
    {"in", is_in},
    {"sameas", is_same},
};

}  // namespace

const Test* find_test(std::string_view name) {
  for (const Test& test : kTests)
    if (test.name == name) return &test;
  return nullptr;
}

}  // namespace trireme::jinja
