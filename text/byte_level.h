#pragma once
// The GPT-2 alphabet: every byte as one printable character ("Ġ" is the space), and back.

#include <string>
#include <string_view>

namespace trireme {

void append_byte_level(std::string& out, std::string_view bytes);

bool is_byte_level(std::string_view token);  // every character is of the alphabet

// The bytes that a token spelled in the alphabet stands for; a token with any other character stands for its
// own UTF-8 bytes.
std::string byte_level_bytes(std::string_view token);

}  // namespace trireme
