#include "text/jinja/operations.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/text_functions.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

[[noreturn]] void fail_operands(const std::string& op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b})
    if (value->is_undefined()) fail(value->undefined_reason());
  fail("unsupported operand type(s) for " + op + ": '" + a.type_name() + "' and '" + b.type_name() + "'");
}

[[noreturn]] void fail_overflow() { fail("a number is outside the range of 64 bits"); }

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) fail("integer division or modulo by zero");
  if (a == INT64_MIN && b == -1) fail_overflow();
  return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) fail_overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) fail_overflow();
  }
  return result;
}

Value integer_arithmetic(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+" && !__builtin_add_overflow(a, b, &result)) return result;
  if (op == "-" && !__builtin_sub_overflow(a, b, &result)) return result;
  if (op == "*" && !__builtin_mul_overflow(a, b, &result)) return result;
  if (op == "//") return floor_divide(a, b);
  if (op == "%") return b == -1 ? int64_t(0) : a - floor_divide(a, b) * b;
  if (op == "/") {
    if (b == 0) fail("division by zero");
    return double(a) / double(b);
  }
  if (op == "**" && b >= 0) return integer_power(a, b);
  if (op == "**") {
    if (a == 0) fail("0.0 cannot be raised to a negative power");
    return std::pow(double(a), double(b));
  }
  fail_overflow();
}

// Python's divmod of floats: the quotient belongs to the exact remainder, so 1.0 // 0.1 is 9.
Value real_division(const std::string& op, double a, double b) {
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder == 0) {
    remainder = std::copysign(0.0, b);
  } else if ((remainder < 0) != (b < 0)) {
    remainder += b;
    quotient -= 1;
  }
  if (op == "%") return remainder;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

Value real_power(double base, double exponent) {
  if (base == 0 && exponent < 0) fail("0.0 cannot be raised to a negative power");
  const double power = std::pow(base, exponent);
  if (std::isnan(power) && !std::isnan(base) && !std::isnan(exponent)) fail("a power would be a complex number");
  if (std::isinf(power) && std::isfinite(base) && std::isfinite(exponent)) fail_overflow();
  return power;
}

Value real_arithmetic(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return real_power(a, b);
  if (b == 0) fail("float division by zero");
  return op == "/" ? Value(a / b) : real_division(op, a, b);
}

Value concatenate_lists(Budget& budget, const List& a, const List& b) {
  budget.spend_items(a.items.size() + b.items.size());
  Values items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return Value::iterable(a.kind, std::move(items), a.name);
}

Text concatenate_texts(Budget& budget, const Text& a, const Text& b) {
  budget.check_text(a.size() + b.size());
  const bool markup = a.is_markup() || b.is_markup();
  const auto part = [&](const Text& text) { return markup && !text.is_markup() ? escape_html(budget, text) : text; };
  Text text = part(a);
  text.append(part(b));
  return text.as_markup(markup);
}

bool has_items(const Value& value) { return value.if_list() && value.if_list()->has_items(); }

bool is_list_or_tuple(const Value& value) {
  const List* list = value.if_list();
  return list && (list->kind == ListKind::list || list->is_tuple());
}

Value repeat(Budget& budget, const Value& sequence, int64_t times) {
  times = std::max<int64_t>(times, 0);
  if (const Text* text = sequence.if_text()) {
    if (text->size() > 0 && times > int64_t(kMaxTextBytes)) budget.check_text(kMaxTextBytes + 1);
    budget.check_text(text->size() * size_t(text->size() > 0 ? times : 0));
    Text result;
    for (int64_t i = 0; i < times && text->size() > 0; ++i) result.append(*text);
    return result.as_markup(text->is_markup());
  }
  const List& list = *sequence.if_list();
  if (list.items.empty()) return sequence;
  if (times > kMaxRange) fail("a list would be repeated more than " + std::to_string(kMaxRange) + " times");
  budget.spend_items(list.items.size() * size_t(times));
  Values items;
  for (int64_t i = 0; i < times; ++i) items.insert(items.end(), list.items.begin(), list.items.end());
  return Value::iterable(list.kind, std::move(items), list.name);
}

// Python's slice.indices: start, stop and step clipped to a sequence of this length.
struct SliceRange {
  int64_t start, stop, step;
  template <typename Visit>
  void visit(Visit visit) const {
    for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) visit(size_t(i));
  }
};

SliceRange resolve_slice(int64_t length, const Value& start, const Value& stop, const Value& step) {
  const int64_t stride = step.is_none() ? 1 : require_int(step, "a slice step");
  if (stride == 0) fail("slice step cannot be zero");
  const int64_t low = stride > 0 ? 0 : -1, high = stride > 0 ? length : length - 1;
  const auto clip = [&](const Value& bound, int64_t fallback) {
    if (bound.is_none()) return fallback;
    int64_t at = require_int(bound, "a slice bound");
    if (at < 0) at = at < -length ? low : at + length;
    return std::clamp(at, low, high);
  };
  const int64_t bounded = std::clamp(stride, -length - 1, length + 1);
  return {clip(start, stride > 0 ? low : high), clip(stop, stride > 0 ? high : low), bounded};
}

}  // namespace

std::optional<int64_t> as_int(const Value& value) {
  if (const int64_t* number = value.if_int()) return *number;
  if (const bool* flag = value.if_bool()) return int64_t(*flag);
  return std::nullopt;
}

std::optional<double> as_real(const Value& value) {
  if (const double* real = value.if_real()) return *real;
  if (const auto number = as_int(value)) return double(*number);
  return std::nullopt;
}

int64_t require_int(const Value& value, const char* what) {
  if (value.is_undefined()) fail(value.undefined_reason());
  const auto number = as_int(value);
  if (!number) fail(std::string(what) + " must be an integer, not '" + value.type_name() + "'");
  return *number;
}

const Text& require_text(const Value& value, const char* what) {
  if (value.is_undefined()) fail(value.undefined_reason());
  const Text* text = value.if_text();
  if (!text) fail(std::string(what) + " must be a string, not '" + value.type_name() + "'");
  return *text;
}

bool equal(Budget& budget, const Value& a, const Value& b) {
  budget.step();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (const auto x = as_int(a), y = as_int(b); x && y) return *x == *y;
  if (const auto x = as_real(a), y = as_real(b); x && y) return *x == *y;
  if (const Text* x = a.if_text(), *y = b.if_text(); x && y) {
    if (x->size() != y->size()) return false;
    budget.spend_bytes(x->size());
    return x->bytes() == y->bytes();
  }
  if (const List* x = a.if_list(), *y = b.if_list(); x && y) {
    if (x->kind == ListKind::generator || y->kind == ListKind::generator) return x == y;
    return x->kind == y->kind && std::equal(x->items.begin(), x->items.end(), y->items.begin(), y->items.end(),
                                            [&](const Value& p, const Value& q) { return equal(budget, p, q); });
  }
  if (const Dict* x = a.if_dict(), *y = b.if_dict(); x && y) {
    return x->size() == y->size() &&
           std::all_of(x->entries().begin(), x->entries().end(), [&](const Dict::Entry& entry) {
             const Value* other = y->find(entry.first);
             return other && equal(budget, entry.second, *other);
           });
  }
  return a.if_object() && a.if_object() == b.if_object();
}

bool less(Budget& budget, const Value& a, const Value& b) {
  budget.step();
  if (const auto x = as_int(a), y = as_int(b); x && y) return *x < *y;
  if (const auto x = as_real(a), y = as_real(b); x && y) return *x < *y;
  if (const Text* x = a.if_text(), *y = b.if_text(); x && y) {
    budget.spend_bytes(std::min(x->size(), y->size()));
    return x->bytes() < y->bytes();  // UTF-8 sorts as code points do
  }
  if (const List* x = a.if_list(), *y = b.if_list(); x && y && is_list_or_tuple(a) && x->kind == y->kind) {
    for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i)
      if (!equal(budget, x->items[i], y->items[i])) return less(budget, x->items[i], y->items[i]);
    return x->items.size() < y->items.size();
  }
  for (const Value* value : {&a, &b})
    if (value->is_undefined()) fail(value->undefined_reason());
  fail(std::string("'<' not supported between instances of '") + a.type_name() + "' and '" + b.type_name() + "'");
}

bool contains(Budget& budget, const Value& container, const Value& item) {
  budget.step();
  if (container.is_undefined()) return false;
  if (const Text* text = container.if_text()) {
    const Text* wanted = item.if_text();
    if (!wanted) fail(std::string("'in <string>' requires string as left operand, not ") + item.type_name());
    budget.spend_bytes(text->size());
    return find_bytes(text->bytes(), wanted->bytes()) != std::string::npos;
  }
  if (const Dict* dict = container.if_dict()) {
    if ((item.if_list() && item.if_list()->kind == ListKind::list) || item.if_dict())
      fail(std::string("unhashable type: '") + item.type_name() + "'");
    return dict->find(item) != nullptr;
  }
  if (const List* list = container.if_list()) {
    const auto found = std::find_if(list->items.begin() + std::ptrdiff_t(list->consumed), list->items.end(),
                                    [&](const Value& v) { return equal(budget, v, item); });
    const bool is_found = found != list->items.end();
    if (!list->has_length()) list->consumed = size_t(found - list->items.begin()) + is_found;
    return is_found;
  }
  fail(std::string("argument of type '") + container.type_name() + "' is not iterable");
}

Value arithmetic(Budget& budget, const std::string& op, const Value& a, const Value& b) {
  if (op == "%" && a.if_text()) return percent_format(budget, *a.if_text(), b);
  if (const auto x = as_int(a), y = as_int(b); x && y) return integer_arithmetic(op, *x, *y);
  if (const auto x = as_real(a), y = as_real(b); x && y) return real_arithmetic(op, *x, *y);
  if (op == "+") {
    if (a.if_text() && b.if_text()) return concatenate_texts(budget, *a.if_text(), *b.if_text());
    if (is_list_or_tuple(a) && b.if_list() && a.if_list()->kind == b.if_list()->kind)
      return concatenate_lists(budget, *a.if_list(), *b.if_list());
  }
  if (op == "*") {
    if ((a.if_text() || is_list_or_tuple(a)) && as_int(b)) return repeat(budget, a, *as_int(b));
    if ((b.if_text() || is_list_or_tuple(b)) && as_int(a)) return repeat(budget, b, *as_int(a));
  }
  fail_operands(op, a, b);
}

Value negate(const Value& value) {
  if (const auto number = as_int(value)) return integer_arithmetic("-", 0, *number);
  if (const double* real = value.if_real()) return -*real;
  if (value.is_undefined()) fail(value.undefined_reason());
  fail(std::string("bad operand type for unary -: '") + value.type_name() + "'");
}

Values items_of(Budget& budget, const Value& value) {
  budget.spend_value(value);
  if (value.is_undefined()) return {};
  if (const List* list = value.if_list()) {
    if (list->has_length()) return list->items;
    const size_t from = std::exchange(list->consumed, list->items.size());
    return Values(list->items.begin() + std::ptrdiff_t(from), list->items.end());
  }
  Values items;
  if (const Dict* dict = value.if_dict()) {
    for (const auto& entry : dict->entries()) items.push_back(entry.first);
  } else if (const Text* text = value.if_text()) {
    budget.spend_items(text->size() * 2);  // each becomes a value
    for (size_t at = 0; at < text->size();) {
      const size_t end = at + decode_char(text->bytes(), at).bytes;
      items.emplace_back(text->slice(at, end).as_markup(false));
      at = end;
    }
  } else {
    fail(std::string("'") + value.type_name() + "' object is not iterable");
  }
  return items;
}

std::optional<int64_t> length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (const Text* text = value.if_text()) return int64_t(count_chars(text->bytes()));
  if (const List* list = value.if_list(); list && list->has_length()) return int64_t(list->items.size());
  if (const Dict* dict = value.if_dict()) return int64_t(dict->size());
  return std::nullopt;
}

Value item_of(const Value& container, const Value& key) {
  if (container.is_undefined()) fail(container.undefined_reason());
  if (const Dict* dict = container.if_dict()) {
    if (const Value* found = dict->find(key)) return *found;
  } else if (const auto index = as_int(key); index && (has_items(container) || container.if_text())) {
    const int64_t length = *length_of(container);
    const int64_t at = *index < 0 ? *index + length : *index;
    if (at >= 0 && at < length) {
      if (const List* list = container.if_list()) return list->items[size_t(at)];
      const std::string& bytes = container.if_text()->bytes();
      const size_t begin = char_offset(bytes, size_t(at));
      return container.if_text()->slice(begin, begin + decode_char(bytes, begin).bytes);
    }
  }
  return Value::undefined(std::string("'") + container.type_name() + " object' has no element " + short_repr(key));
}

Value slice_of(Budget& budget, const Value& container, const Value& start, const Value& stop, const Value& step) {
  if (container.is_undefined()) fail(container.undefined_reason());
  budget.spend_value(container);
  if (const Text* text = container.if_text()) {
    const bool ascii = std::none_of(text->bytes().begin(), text->bytes().end(), [](char c) { return c < 0; });
    std::vector<size_t> offsets;  // of every character, when they differ from the index
    for (size_t at = 0; !ascii && at < text->size(); at += decode_char(text->bytes(), at).bytes) offsets.push_back(at);
    const size_t length = ascii ? text->size() : offsets.size();
    if (!ascii) offsets.push_back(text->size());
    const auto offset = [&](size_t index) { return ascii ? index : offsets[index]; };
    const SliceRange range = resolve_slice(int64_t(length), start, stop, step);
    if (range.step == 1)
      return text->slice(offset(size_t(range.start)), offset(size_t(std::max(range.start, range.stop))));
    Text result;
    budget.spend_chars(text->size());
    range.visit([&](size_t i) { result.append(text->slice(offset(i), offset(i + 1))); });
    return result.as_markup(text->is_markup());
  }
  const List* list = container.if_list();
  if (!has_items(container)) fail(std::string("'") + container.type_name() + "' object is not subscriptable");
  Values items;
  resolve_slice(int64_t(list->items.size()), start, stop, step).visit([&](size_t i) {
    items.push_back(list->items[i]);
  });
  return Value::iterable(list->kind, std::move(items), list->name);
}

}  // namespace trireme::jinja
