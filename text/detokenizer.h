#pragma once
// Ids -> text as they arrive. What add() returns is final and always valid UTF-8: bytes of an unfinished
// character are held back; bytes that can never become one are U+FFFD, as tokenizer.decode makes them.
// The concatenation of all add() and finish() equals decode(ids, skip_special).

#include <cstdint>
#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace trireme {

class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true)
      : stream_(tokenizer.start_decoding(skip_special)) {}
  std::string add(int32_t id) { return stream_->add(id); }
  std::string finish() { return stream_->finish(); }  // flushes what is held back

 private:
  std::unique_ptr<DecodeStream> stream_;
};

}  // namespace trireme
