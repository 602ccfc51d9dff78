#pragma once
// The limits of one render. Templates come with models and texts from clients, so neither is trusted.

#include <cstddef>
#include <cstdint>

#include "text/jinja/value.h"

namespace trireme::jinja {

inline constexpr size_t kMaxTextBytes = 8u << 20;  // of the output and of any one string
inline constexpr int64_t kMaxSteps = 4'000'000;    // nodes evaluated, plus work on long values
inline constexpr int kMaxCallDepth = 64;           // macros, call blocks, recursive loops
inline constexpr int kMaxDepth = 1000;             // nested evaluation altogether: bounds the stack
inline constexpr int64_t kMaxRange = 100'000;      // items of range()

class Budget {
 public:
  void step() {
    if (++steps_ > kMaxSteps) fail("took more than " + std::to_string(kMaxSteps) + " steps");
  }
  // Work that grows with a value: 32 bytes of text copied, 4 bytes taken apart into
  // characters, or one item are a step.
  void spend_bytes(size_t bytes) { spend(int64_t(bytes / 32)); }
  void spend_items(size_t items) { spend(int64_t(items)); }
  void spend_chars(size_t bytes) { spend(int64_t(bytes / 4)); }
  // Variables compared by name to find one.
  void spend_look_up(size_t variables) { spend(int64_t(variables / 16)); }
  // A string about to be made.
  void check_text(size_t bytes) {
    if (bytes > kMaxTextBytes) fail("a text would be longer than " + std::to_string(kMaxTextBytes) + " bytes");
    spend_bytes(bytes);
  }
  // Reading the whole of a value once.
  void spend_value(const Value& value) {
    if (const Text* text = value.if_text()) spend_bytes(text->size());
    if (const List* list = value.if_list()) spend_items(list->items.size());
    if (const Dict* dict = value.if_dict()) spend_items(dict->size());
  }

 private:
  void spend(int64_t steps) {
    steps_ += steps;
    if (steps_ > kMaxSteps) fail("took more than " + std::to_string(kMaxSteps) + " steps");
  }
  int64_t steps_ = 0;
};

}  // namespace trireme::jinja
