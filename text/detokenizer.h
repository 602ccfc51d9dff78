#pragma once
// Ids -> text as they arrive. What add() returns is final and always valid UTF-8: bytes of an unfinished
// character are held back; bytes that can never become one are U+FFFD, as tokenizer.decode makes them.
// The concatenation of all add() and finish() equals decode(ids, skip_special).

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace trireme {

class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true);
  std::string add(int32_t id);
  std::string finish();                    // flushes what is held back

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  bool first_ = true;
  std::string pending_;                    // < 4 bytes: the beginning of a character
};

}  // namespace trireme
