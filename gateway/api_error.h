#pragma once
// An error a client is answered with: an HTTP status, and OpenAI's words for it.

#include "base/error.h"

namespace trireme {

class ApiError : public Error {
 public:
  ApiError(int http_status, const std::string& message, std::string parameter = "")
      : Error(message), status(http_status), param(std::move(parameter)) {}
  int status;
  std::string param;         // the field of the request that is to blame; "": none
  int retry_after_seconds = 0;  // 0: not said
};

}  // namespace trireme
