#include "gateway/http/cors.h"

#include <algorithm>

namespace trireme {
namespace {

bool has(const std::vector<std::string>& list, std::string_view value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

std::string joined(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& item : list) text += (text.empty() ? "" : ", ") + item;
  return text;
}

}  // namespace

bool Cors::is_preflight(const HttpRequest& request) {
  return request.method == "OPTIONS" && request.header("Origin") && request.header("Access-Control-Request-Method");
}

bool Cors::allows(const std::string& origin) const {
  return has(options_.allowed_origins, "*") || has(options_.allowed_origins, origin);
}

std::vector<HttpHeader> Cors::fields_for(const HttpRequest& request) const {
  if (options_.allowed_origins.empty()) return {};
  // Credentials forbid "*" in the answer, so the origin is repeated then.
  const bool any = has(options_.allowed_origins, "*") && !options_.allow_credentials;
  std::vector<HttpHeader> fields;
  if (!any) fields.push_back({"Vary", "Origin"});
  const std::string* origin = request.header("Origin");
  if (!origin || !allows(*origin)) return fields;
  fields.push_back({"Access-Control-Allow-Origin", any ? "*" : *origin});
  fields.push_back({"Access-Control-Expose-Headers", "X-Request-Id, Retry-After"});
  if (options_.allow_credentials) fields.push_back({"Access-Control-Allow-Credentials", "true"});
  return fields;
}

std::vector<HttpHeader> Cors::preflight_fields(const HttpRequest& request) const {
  const std::string* origin = request.header("Origin");
  if (!origin || !allows(*origin)) return {};
  // "*" does not cover Authorization, so what was asked for is repeated instead.
  const std::string* methods = request.header("Access-Control-Request-Method");
  const std::string* headers = request.header("Access-Control-Request-Headers");
  std::vector<HttpHeader> fields;
  fields.push_back({"Access-Control-Allow-Methods",
                    has(options_.allowed_methods, "*") && methods ? *methods : joined(options_.allowed_methods)});
  if (has(options_.allowed_headers, "*")) {
    if (headers) fields.push_back({"Access-Control-Allow-Headers", *headers});
  } else {
    fields.push_back({"Access-Control-Allow-Headers", joined(options_.allowed_headers)});
  }
  fields.push_back({"Access-Control-Max-Age", "600"});
  return fields;
}

}  // namespace trireme
