#pragma once
// The one shape of every error this server sends: OpenAI's, with the code as vLLM writes it (the status as a number).

#include <string>
#include <string_view>

namespace trireme {

std::string_view reason_phrase(int status);  // "Not Found"
std::string_view error_type(int status);     // "NotFoundError"

// {"error":{"message":...,"type":...,"param":null or a string,"code":status}}; an empty type: error_type(status).
std::string error_body(int status, std::string_view message, std::string_view type = {}, std::string_view param = {});

}  // namespace trireme
