#include "gateway/http/router.h"

#include <algorithm>

#include "base/error.h"

namespace trireme {
namespace {

bool matches(std::string_view pattern, std::string_view path) {
  for (;;) {
    if (pattern == "*") return !path.empty();
    const size_t pattern_end = std::min(pattern.find('/'), pattern.size());
    const size_t path_end = std::min(path.find('/'), path.size());
    const std::string_view wanted = pattern.substr(0, pattern_end), segment = path.substr(0, path_end);
    if (wanted == "*" ? segment.empty() : wanted != segment) return false;
    if (pattern_end == pattern.size() || path_end == path.size()) {
      return pattern_end == pattern.size() && path_end == path.size();
    }
    pattern.remove_prefix(pattern_end + 1);
    path.remove_prefix(path_end + 1);
  }
}

void add_route(std::vector<const Route*>& routes, const Route& route) {
  for (const Route* known : routes) {
    if (known->method == route.method) throw ConfigError("two routes for " + route.method + " " + route.path);
  }
  routes.push_back(&route);
}

std::string allowed_methods(const std::vector<const Route*>& routes) {
  std::string allow;
  bool has_get = false, has_head = false, has_options = false;
  for (const Route* route : routes) {
    allow += route->method + ", ";
    has_get |= route->method == "GET";
    has_head |= route->method == "HEAD";
    has_options |= route->method == "OPTIONS";
  }
  if (has_get && !has_head) allow += "HEAD, ";
  if (!has_options) allow += "OPTIONS, ";
  allow.resize(allow.size() - 2);
  return allow;
}

}  // namespace

Router::Router(std::vector<Route> routes) : routes_(std::move(routes)) {
  for (const Route& route : routes_) {
    if (route.path.find('*') == std::string::npos) {
      add_route(exact_[route.path], route);
      continue;
    }
    auto known = std::find_if(patterns_.begin(), patterns_.end(), [&](const auto& p) { return p.first == route.path; });
    if (known == patterns_.end()) known = patterns_.insert(patterns_.end(), {route.path, {}});
    add_route(known->second, route);
  }
}

const std::vector<const Route*>* Router::routes_of(const std::string& path) const {
  if (const auto found = exact_.find(path); found != exact_.end()) return &found->second;
  for (const auto& [pattern, routes] : patterns_) {
    if (matches(pattern, path)) return &routes;
  }
  return nullptr;
}

Router::Match Router::find(std::string_view method, const std::string& path) const {
  const std::vector<const Route*>* routes = routes_of(path);
  if (!routes) return {};
  Match match{nullptr, allowed_methods(*routes)};
  for (const std::string_view wanted : {method, method == "HEAD" ? std::string_view("GET") : method}) {
    for (const Route* route : *routes) {
      if (!match.route && route->method == wanted) match.route = route;
    }
  }
  return match;
}

}  // namespace trireme
