#pragma once
// Numbers written as Python's % and format() write them.

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme::jinja {

struct NumberStyle {
  char sign = '-';  // '-': only of negative numbers, '+': always, ' ': a blank for the others
  bool alternate = false;
  char grouping = 0;   // ',' or '_' between groups
  int precision = -1;  // -1: the type's own
  char type = 'd';     // d b o x X, e E f F g G %, or 'r' for the shortest that reads back
};

struct FormattedNumber {
  std::string sign, prefix, digits;
};

inline constexpr int kMaxPrecision = 500;

FormattedNumber format_integer(int64_t value, const NumberStyle& style);
FormattedNumber format_real(double value, const NumberStyle& style);

}  // namespace trireme::jinja
