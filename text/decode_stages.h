#pragma once
// The stages that decoders are made of. The references they take must outlive them.

#include <memory>
#include <string>
#include <string_view>

#include "text/decoder.h"

namespace trireme {

class Pattern;

// Tokens spelled in the GPT-2 alphabet -> one text; bytes that are no UTF-8 become U+FFFD.
std::unique_ptr<DecodeStage> make_byte_level_stage();
// Runs of "<0x0A>" -> characters, or one U+FFFD for each byte of a run that is not UTF-8 as a whole. A run is held
// back until it ends.
std::unique_ptr<DecodeStage> make_byte_fallback_stage();
int fallback_byte(std::string_view token);  // 0 .. 255, or -1
// All tokens -> one.
std::unique_ptr<DecodeStage> make_fuse_stage();
std::unique_ptr<DecodeStage> make_joining_stage();
// `replacement` -> space; in the first token it disappears if `drops_first`.
std::unique_ptr<DecodeStage> make_metaspace_stage(std::string replacement, bool drops_first);
// Every match in a token -> `content`; needs the whole token.
std::unique_ptr<DecodeStage> make_replace_stage(const Pattern& pattern, std::string content);
std::unique_ptr<DecodeStage> make_literal_replace_stage(std::string literal, std::string content);
// Up to `start` times the character `content` at the beginning of a token and `stop` times at its end disappear.
std::unique_ptr<DecodeStage> make_strip_stage(std::string content, size_t start, size_t stop);
// `suffix` -> space, in the last token -> nothing.
std::unique_ptr<DecodeStage> make_suffix_stage(std::string suffix);

std::string replace_all(std::string_view text, std::string_view literal, std::string_view content);
std::string replace_matches(std::string_view text, const Pattern& pattern, std::string_view content);

}  // namespace trireme
