// GET /health, /health/live, /health/ready, /ping, /version, /load

#include "gateway/http/endpoints/api.h"

namespace trireme {
namespace {

json::object status_json(const ServeStatus& status) {
  json::object object{{"status", serve_phase_name(status.phase)}};
  if (status.phase == ServePhase::loading) object["progress"] = status.progress;
  return object;
}

}  // namespace

// This process lives; an engine that cannot come back ends it.
void health(Api& api, const std::shared_ptr<Exchange>& exchange) {
  respond_json(*exchange, status_json(api.job.status()));
}

void ready(Api& api, const std::shared_ptr<Exchange>& exchange) {
  const ServeStatus status = api.job.status();
  if (status.phase == ServePhase::ready) return respond_json(*exchange, status_json(status));
  exchange->respond(503, "application/json", json::serialize(status_json(status)), {{"Retry-After", "5"}});
}

void show_version(Api& api, const std::shared_ptr<Exchange>& exchange) {
  respond_json(*exchange, json::object{{"version", api.options.version}});
}

void show_load(Api& api, const std::shared_ptr<Exchange>& exchange) {
  respond_json(*exchange, json::object{{"server_load", api.job.status().open_requests}});
}

}  // namespace trireme
