#pragma once
// CHECK(condition) << "context";   CHECK_EQ(a, b) << "rms_norm: columns";   in release builds too.
// A failed check throws InternalError with file, line, expression and both values. User input must never
// reach one: validate it first and throw a base/error.h type.

#include <sstream>
#include <string>

#include "base/error.h"

namespace trireme::detail {

class CheckMessage {
 public:
  CheckMessage(const char* file, int line, const char* expression) {
    text_ << file << ':' << line << ": check failed: " << expression;
  }
  template <typename T>
  CheckMessage&& operator<<(const T& value) && {
    text_ << (first_ ? " " : "") << value;
    first_ = false;
    return static_cast<CheckMessage&&>(*this);
  }
  template <typename A, typename B>
  CheckMessage&& values(const A& a, const B& b) && {
    text_ << " (" << a << " vs " << b << ")";
    return static_cast<CheckMessage&&>(*this);
  }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  bool first_ = true;
};

// operator& binds looser than <<, so the whole message is built before this throws.
struct CheckThrower {
  [[noreturn]] void operator&(CheckMessage&& message) const { throw InternalError(message.text()); }
};

}  // namespace trireme::detail

#define CHECK(condition) \
  if (condition) [[likely]] {} else ::trireme::detail::CheckThrower() & ::trireme::detail::CheckMessage(__FILE__, __LINE__, #condition)

#define TRIREME_CHECK_OP(a, op, b)                                                                                 \
  if ((a)op(b)) [[likely]] {} else ::trireme::detail::CheckThrower() &                                             \
      ::trireme::detail::CheckMessage(__FILE__, __LINE__, #a " " #op " " #b).values((a), (b))

#define CHECK_EQ(a, b) TRIREME_CHECK_OP(a, ==, b)
#define CHECK_NE(a, b) TRIREME_CHECK_OP(a, !=, b)
#define CHECK_LT(a, b) TRIREME_CHECK_OP(a, <, b)
#define CHECK_LE(a, b) TRIREME_CHECK_OP(a, <=, b)
#define CHECK_GT(a, b) TRIREME_CHECK_OP(a, >, b)
#define CHECK_GE(a, b) TRIREME_CHECK_OP(a, >=, b)
