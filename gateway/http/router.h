#pragma once
// Which route a request takes. In a Route's path a segment "*" stands for one segment, and as the last one for all the
// rest of the path: "/v1/files/*/content", "/v1/models/*". Exact paths are looked up first, then patterns in their order.
// HEAD is served by a GET route where there is no HEAD route.

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gateway/http/exchange.h"

namespace trireme {

class Router {
 public:
  explicit Router(std::vector<Route> routes);  // throws ConfigError: two routes for one method and path

  struct Match {
    const Route* route = nullptr;
    std::string allow;  // methods of this path, "GET, HEAD, OPTIONS"; empty: no such path
  };
  Match find(std::string_view method, const std::string& path) const;

 private:
  const std::vector<const Route*>* routes_of(const std::string& path) const;

  std::vector<Route> routes_;
  std::unordered_map<std::string, std::vector<const Route*>> exact_;
  std::vector<std::pair<std::string, std::vector<const Route*>>> patterns_;
};

}  // namespace trireme
