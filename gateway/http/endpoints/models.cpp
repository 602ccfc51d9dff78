// GET /v1/models, /v1/models/{id}

#include <algorithm>

#include "gateway/api_error.h"
#include "gateway/http/endpoints/api.h"

namespace trireme {
namespace {

constexpr std::string_view kPrefix = "/v1/models/";

json::object model_json(const Api& api, const std::string& name) {
  return {{"id", name},
          {"object", "model"},
          {"created", api.created},
          {"owned_by", "trireme"},
          {"root", api.assets.checkpoint.name},
          {"parent", nullptr},
          {"max_model_len", api.job.facts()->max_model_len},
          {"permission", json::array{}}};
}

}  // namespace

void list_models(Api& api, const std::shared_ptr<Exchange>& exchange) {
  json::array list;
  for (const std::string& name : api.names) list.push_back(model_json(api, name));
  respond_json(*exchange, json::object{{"object", "list"}, {"data", std::move(list)}});
}

void show_model(Api& api, const std::shared_ptr<Exchange>& exchange) {
  const std::string& path = exchange->request().path;
  const std::string name = path.starts_with(kPrefix) ? path.substr(kPrefix.size()) : path;
  if (std::ranges::find(api.names, name) == api.names.end())
    throw ApiError(404, "the model \"" + name + "\" is not served here; this server has " + api.names.front(), "model");
  respond_json(*exchange, model_json(api, name));
}

}  // namespace trireme
