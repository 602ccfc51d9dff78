#pragma once
// Ids -> text as they arrive. What add() returns is final and always valid UTF-8: bytes of an unfinished
// character are held back; bytes that can never become one are U+FFFD, as tokenizer.decode makes them.
// The concatenation of all add() and finish() equals decode(ids, skip_special).

#include <cstdint>
#include <string>

#include "text/tokenizer.h"
#include "text/unicode.h"

namespace trireme {

class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true);
  std::string add(int32_t id);
  std::string finish();  // flushes what is held back

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  bool first_ = true;
  Utf8Repair repair_;
};

}  // namespace trireme
