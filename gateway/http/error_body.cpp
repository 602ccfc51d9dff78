#include "gateway/http/error_body.h"

#include "base/json.h"

namespace trireme {
namespace {

struct Status {
  int code;
  std::string_view phrase, type;
};

constexpr Status kStatuses[] = {
    {200, "OK", ""},
    {201, "Created", ""},
    {202, "Accepted", ""},
    {204, "No Content", ""},
    {400, "Bad Request", "BadRequestError"},
    {401, "Unauthorized", "AuthenticationError"},
    {403, "Forbidden", "PermissionDeniedError"},
    {404, "Not Found", "NotFoundError"},
    {405, "Method Not Allowed", "MethodNotAllowedError"},
    {408, "Request Timeout", "RequestTimeoutError"},
    {409, "Conflict", "ConflictError"},
    {413, "Content Too Large", "RequestTooLargeError"},
    {414, "URI Too Long", "BadRequestError"},
    {415, "Unsupported Media Type", "BadRequestError"},
    {417, "Expectation Failed", "BadRequestError"},
    {422, "Unprocessable Content", "UnprocessableEntityError"},
    {429, "Too Many Requests", "RateLimitError"},
    {431, "Request Header Fields Too Large", "BadRequestError"},
    {499, "Client Closed Request", "ClientClosedError"},
    {500, "Internal Server Error", "InternalServerError"},
    {501, "Not Implemented", "NotImplementedError"},
    {503, "Service Unavailable", "ServiceUnavailableError"},
    {504, "Gateway Timeout", "GatewayTimeoutError"},
    {505, "HTTP Version Not Supported", "BadRequestError"},
};

const Status* find_status(int code) {
  for (const Status& status : kStatuses) {
    if (status.code == code) return &status;
  }
  return nullptr;
}

}  // namespace

std::string_view reason_phrase(int status) {
  const Status* known = find_status(status);
  return known ? known->phrase : "Status";
}

std::string_view error_type(int status) {
  const Status* known = find_status(status);
  if (known && !known->type.empty()) return known->type;
  return status < 500 ? "BadRequestError" : "InternalServerError";
}

std::string error_body(int status, std::string_view message, std::string_view type, std::string_view param) {
  json::object error;
  error["message"] = message;
  error["type"] = type.empty() ? error_type(status) : type;
  if (param.empty()) {
    error["param"] = nullptr;
  } else {
    error["param"] = param;
  }
  error["code"] = status;
  return json::serialize(json::object{{"error", std::move(error)}});
}

}  // namespace trireme
