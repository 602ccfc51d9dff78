#include "gateway/http/http_core.h"

#include <algorithm>
#include <random>

namespace trireme {
namespace {

// The address without the port, so that one host counts as one peer.
std::string host_of(const std::string& peer) { return peer.substr(0, peer.rfind(':')); }

uint64_t random_word() {
  thread_local std::random_device device;
  return uint64_t(device()) << 32 | device();
}

}  // namespace

HttpCounters LiveHttpCounters::copy() const {
  HttpCounters copy;
  copy.connections_open = connections_open;
  copy.connections_accepted = connections_accepted;
  copy.connections_refused = connections_refused;
  copy.requests_malformed = requests_malformed;
  copy.timeouts = timeouts;
  copy.hangups = hangups;
  copy.slow_readers_cut = slow_readers_cut;
  copy.bytes_in = bytes_in;
  copy.bytes_out = bytes_out;
  copy.buffered_body_bytes = buffered_body_bytes;
  for (size_t status = 0; status < answers.size(); ++status) {
    if (const uint64_t count = answers[status]) copy.answers[int(status)] = count;
  }
  return copy;
}

HttpCore::HttpCore(HttpServerOptions given, std::vector<Route> routes)
    : options(std::move(given)), cors(options.cors), router_(std::move(routes)),
      keys_(std::make_shared<ApiKeys>(options.keys)),
      tls_(options.tls.enabled() ? load_tls_context(options.tls) : nullptr) {}

std::optional<ReadyAnswer> HttpCore::judge(const HttpRequest& request, const Route*& route) const {
  const Router::Match match = router_.find(request.method, request.path);
  if (!match.route) {
    const bool answers_options = request.method == "OPTIONS" && (!match.allow.empty() || request.path == "*");
    return answers_options ? answer_options(request, match.allow) : refuse_route(request, match.allow);
  }
  std::shared_ptr<const ApiKeys> keys;
  {
    std::lock_guard lock(mutex_);
    keys = keys_;
  }
  if (!keys->allows(match.route->access, request.header("Authorization"))) {
    return ReadyAnswer{401, "a valid key is needed: send Authorization: Bearer KEY", {{"WWW-Authenticate", "Bearer"}}};
  }
  route = match.route;
  return std::nullopt;
}

ReadyAnswer HttpCore::answer_options(const HttpRequest& request, const std::string& allow) const {
  ReadyAnswer answer{204, "", {}};
  if (Cors::is_preflight(request)) answer.extra = cors.preflight_fields(request);
  answer.extra.push_back({"Allow", allow.empty() ? "GET, HEAD, POST, OPTIONS" : allow});
  return answer;
}

ReadyAnswer HttpCore::refuse_route(const HttpRequest& request, const std::string& allow) const {
  if (allow.empty()) return {404, "there is no path " + request.path.substr(0, 256) + " here", {}};
  return {405, request.method + " is not allowed on this path: use " + allow, {{"Allow", allow}}};
}

bool HttpCore::admit_connection(const std::string& peer) {
  const HttpLimits& limits = options.limits;
  if (counters.connections_open.fetch_add(1) >= int64_t(limits.max_connections)) {
    counters.connections_open.fetch_sub(1);
    return false;
  }
  if (limits.max_connections_per_peer == 0) return true;
  std::lock_guard lock(mutex_);
  size_t& count = connections_of_peer_[host_of(peer)];
  if (count < limits.max_connections_per_peer) {
    ++count;
    return true;
  }
  counters.connections_open.fetch_sub(1);
  return false;
}

void HttpCore::leave_connection(const std::string& peer) {
  counters.connections_open.fetch_sub(1);
  if (options.limits.max_connections_per_peer == 0) return;
  std::lock_guard lock(mutex_);
  const auto found = connections_of_peer_.find(host_of(peer));
  if (found != connections_of_peer_.end() && --found->second == 0) connections_of_peer_.erase(found);
}

std::unique_ptr<TlsSession> HttpCore::accept_tls() {
  std::shared_ptr<TlsContext> context;
  {
    std::lock_guard lock(mutex_);
    context = tls_;
  }
  return context ? context->accept() : nullptr;
}

void HttpCore::reload() {
  auto keys = std::make_shared<ApiKeys>(options.keys);
  auto tls = options.tls.enabled() ? load_tls_context(options.tls) : nullptr;
  std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
  tls_ = std::move(tls);
}

std::string make_request_id() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  for (const uint64_t word : {random_word(), random_word()}) {
    for (int shift = 60; shift >= 0; shift -= 4) id += kHex[word >> shift & 15];
  }
  return id;
}

bool is_request_id(std::string_view id) {
  const auto good = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.' || c == ':';
  };
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), good);
}

}  // namespace trireme
