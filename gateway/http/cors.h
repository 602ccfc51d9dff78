#pragma once
// Cross-origin rules (the fetch standard): which fields an answer to a browser's page of another origin carries.

#include <string>
#include <vector>

#include "gateway/http/exchange.h"
#include "gateway/http/http_options.h"

namespace trireme {

class Cors {
 public:
  explicit Cors(CorsOptions options) : options_(std::move(options)) {}

  static bool is_preflight(const HttpRequest& request);
  std::vector<HttpHeader> fields_for(const HttpRequest& request) const;       // of a plain answer; empty if CORS is off
  std::vector<HttpHeader> preflight_fields(const HttpRequest& request) const;  // empty: the origin is not allowed

 private:
  bool allows(const std::string& origin) const;
  CorsOptions options_;
};

}  // namespace trireme
