#include "text/jinja/number_format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "text/jinja/format.h"

namespace trireme::jinja {
namespace {

std::string sign_text(bool negative, char style) {
  if (negative) return "-";
  return style == '-' ? "" : std::string(1, style);
}

// Separators count from the point leftwards; exponents and fractions have none.
std::string group(std::string digits, char separator, size_t size) {
  if (separator == 0) return digits;
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  for (size_t at = whole; at > size; at -= size) digits.insert(at - size, 1, separator);
  return digits;
}

std::string with_c_format(double value, const NumberStyle& style, char type, int precision) {
  char buffer[1024];
  const std::string format = std::string(style.alternate ? "%#" : "%") + ".*" + type;
  const int length = std::snprintf(buffer, sizeof(buffer), format.c_str(), std::min(precision, kMaxPrecision), value);
  return std::string(buffer, size_t(std::clamp(length, 0, int(sizeof(buffer)) - 1)));
}

// Like %g, but a number without exponent keeps a digit after its point.
std::string general_real(double magnitude, int precision) {
  std::string scientific = with_c_format(magnitude, {}, 'e', precision - 1);
  const size_t e = scientific.find('e');
  if (std::atoi(scientific.c_str() + e + 1) < precision - 1) {
    const std::string plain = with_c_format(magnitude, {}, 'g', precision);
    return plain.find_first_of(".e") == std::string::npos ? plain + ".0" : plain;
  }
  size_t end = e;
  if (scientific.find('.') < e) {
    while (scientific[end - 1] == '0') --end;
    if (scientific[end - 1] == '.') --end;
  }
  return scientific.erase(end, e - end);
}

}  // namespace

FormattedNumber format_integer(int64_t value, const NumberStyle& style) {
  const char type = char(style.type | 32);
  const unsigned base = type == 'x' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  uint64_t magnitude = value < 0 ? uint64_t(0) - uint64_t(value) : uint64_t(value);
  std::string digits;
  do digits += (style.type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[magnitude % base];
  while (magnitude /= base);
  while (int(digits.size()) < std::min(style.precision, kMaxPrecision)) digits += '0';
  std::reverse(digits.begin(), digits.end());
  const std::string prefix = style.alternate && base != 10 ? std::string("0") + style.type : "";
  return {sign_text(value < 0, style.sign), prefix, group(std::move(digits), style.grouping, base == 10 ? 3 : 4)};
}

FormattedNumber format_real(double value, const NumberStyle& style) {
  FormattedNumber out{sign_text(std::signbit(value) && !std::isnan(value), style.sign), "", ""};
  const double magnitude = std::fabs(value);
  const bool upper = style.type == 'E' || style.type == 'F' || style.type == 'G';
  if (!std::isfinite(value)) {
    out.digits = std::isnan(value) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf";
    if (style.type == '%') out.digits += '%';
    return out;
  }
  const int precision = style.precision < 0 ? 6 : style.precision;
  if (style.type == '%') {
    out.digits = with_c_format(magnitude * 100, style, 'f', precision) + "%";
  } else if (style.type != 'r') {
    out.digits = with_c_format(magnitude, style, style.type, precision);
  } else if (style.precision < 0) {
    out.digits = real_repr(magnitude);
  } else {
    out.digits = general_real(magnitude, std::max(precision, 1));
  }
  out.digits = group(std::move(out.digits), style.grouping, 3);
  return out;
}

}  // namespace trireme::jinja
