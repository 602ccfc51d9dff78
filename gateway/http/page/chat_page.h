#pragma once
// The page that the server answers at "/": one file without outside resources, compiled in.

#include <string_view>

namespace trireme {

std::string_view chat_page();  // HTML, UTF-8

// For the page's answer: its own script and style, this server only, no frames.
inline constexpr const char* kChatPagePolicy =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

}  // namespace trireme
