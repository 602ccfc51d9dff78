#include "gateway/http/endpoints/api.h"

#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "gateway/api_error.h"

namespace trireme {
namespace {

constexpr size_t kMaxJsonValues = 1'000'000, kMaxLoggedNames = 256;
constexpr const char* kJson = "application/json";

struct Row {
  const char* method;
  const char* path;
  Access access;
  Endpoint endpoint;
  bool on_pool;  // it parses or tokenizes
  ErrorBody error = openai_error;  // the form of its errors
};

constexpr Row kRows[] = {
    {"POST", "/v1/completions", Access::api_key, completions, true},
    {"POST", "/v1/chat/completions", Access::api_key, chat_completions, true},
    {"GET", "/v1/models", Access::api_key, list_models, false},
    {"GET", "/v1/models/*", Access::api_key, show_model, false},
    {"POST", "/tokenize", Access::api_key, tokenize, true},
    {"POST", "/detokenize", Access::api_key, detokenize, true},
    {"GET", "/health", Access::open, health, false},
    {"GET", "/health/live", Access::open, health, false},
    {"GET", "/health/ready", Access::open, ready, false},
    {"GET", "/ping", Access::open, health, false},
    {"POST", "/ping", Access::open, health, false},
    {"GET", "/version", Access::api_key, show_version, false},
    {"GET", "/load", Access::api_key, show_load, false},
    {"POST", "/generate", Access::api_key, tgi_generate, true, tgi_error},
    {"POST", "/generate_stream", Access::api_key, tgi_generate_stream, true, tgi_error},
    {"GET", "/info", Access::api_key, tgi_info, false, tgi_error},
};

// The name an error begins with, where it is one a client writes: "top_p must be in (0, 1]".
std::string leading_name(std::string_view message) {
  const auto is_name = [](char c) { return (c >= 'a' && c <= 'z') || c == '_' || (c >= '0' && c <= '9'); };
  const size_t length = size_t(std::ranges::find_if_not(message, is_name) - message.begin());
  const std::string_view name = message.substr(0, length);
  const bool is_field = name.find('_') != std::string_view::npos || name == "n" || name == "stop" || name == "prompt" ||
                        name == "temperature" || name == "logprobs" || name == "seed" || name == "messages" ||
                        name == "tools" || name == "echo" || name == "stream" || name == "model";
  return is_field ? std::string(name) : std::string();
}

void answer_error(Exchange& exchange, ErrorBody body, const ApiError& error) {
  std::vector<HttpHeader> headers;
  if (error.retry_after_seconds > 0) headers.push_back({"Retry-After", std::to_string(error.retry_after_seconds)});
  exchange.respond(error.status, kJson, body(error.status, error.what(), error.param), std::move(headers));
}

void run(Api& api, const Row& row, const std::shared_ptr<Exchange>& exchange) {
  try {
    row.endpoint(api, exchange);
  } catch (const ApiError& error) {
    answer_error(*exchange, row.error, error);
  } catch (const RequestError& error) {
    answer_error(*exchange, row.error, ApiError(400, error.what(), leading_name(error.what())));
  } catch (const std::exception& error) {
    log_error("{} {}: {}", row.method, row.path, error.what());
    answer_error(*exchange, row.error, ApiError(500, "an error of the server's, not of the request: see its log"));
  }
}

const char* error_type(int status) {
  switch (status) {
    case 400:
      return "BadRequestError";
    case 401:
      return "AuthenticationError";
    case 404:
      return "NotFoundError";
    case 429:
      return "RateLimitError";
    case 503:
      return "ServiceUnavailableError";
    default:
      return "InternalServerError";
  }
}

// Values in a JSON text, without making them: a small body can stand for very many.
size_t count_values(const std::string& text) {
  size_t count = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
      continue;
    }
    if (c == '"') in_string = !in_string;
    count += !in_string && (c == ',' || c == '[' || c == '{');
  }
  return count;
}

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::vector<std::string> served_names(const ModelAssets& assets, const ApiOptions& options) {
  return options.served_model_names.empty() ? std::vector<std::string>{assets.checkpoint.name}
                                            : options.served_model_names;
}

}  // namespace

std::string openai_error(int status, std::string_view message, std::string_view param) {
  const json::value code =
      message.starts_with(std::string(kRequestPoisoned) + ":") ? json::value(kRequestPoisoned) : json::value(status);
  const json::value named = param.empty() ? json::value() : json::value(json::string(param));
  return json::serialize(json::object{{"error", json::object{{"message", json::string(message)},
                                                             {"type", error_type(status)},
                                                             {"param", named},
                                                             {"code", code}}}});
}

std::string tgi_error(int status, std::string_view message, std::string_view) {
  const char* type = status == 400 ? "validation" : status == 429 ? "overloaded" : "generation";
  return json::serialize(json::object{{"error", json::string(message)}, {"error_type", type}});
}

json::object parse_body(const std::string& text) {
  if (count_values(text) > kMaxJsonValues)
    throw ApiError(400, "the body has more than a million JSON values: send less at once");
  try {
    json::value value = parse_json(text, "the body");
    if (value.is_object()) return std::move(value.get_object());
  } catch (const CheckpointError& error) {
    throw ApiError(400, error.what());
  }
  throw ApiError(400, "the body must be a JSON object");
}

void respond_json(Exchange& exchange, const json::value& value, int status) {
  exchange.respond(status, kJson, json::serialize(value));
}

Api::Api(ServeJob& serve_job, const ModelAssets& model_assets, ApiOptions api_options)
    : job(serve_job),
      assets(model_assets),
      options(std::move(api_options)),
      names(served_names(assets, options)),
      tool_format(trireme::tool_format(options.tool_call_parser, assets.checkpoint.tokenizer.chat_template)),
      created(unix_seconds()),
      pool(options.threads, options.max_waiting) {}

void Api::check_model(json::object& body) const {
  const auto entry = body.find("model");
  if (entry == body.end()) return;
  const json::value model = std::move(entry->value());
  body.erase(entry);
  if (model.is_null()) return;
  if (!model.is_string()) throw ApiError(400, "model must be a text", "model");
  const std::string name(model.get_string());
  if (name.empty() || std::ranges::find(names, name) != names.end()) return;
  throw ApiError(404, "the model \"" + name + "\" is not served here; this server has " + names.front(), "model");
}

void Api::log_unknown(const json::object& rest) {
  for (const auto& entry : rest) {
    const std::string name(entry.key().substr(0, 64));
    std::lock_guard lock(mutex_);
    if (logged_.size() >= kMaxLoggedNames || !logged_.insert(name).second) continue;
    log_warning("requests have the field {}, which is not known and ignored", json::serialize(json::string(name)));
  }
}

void Api::submit(const std::shared_ptr<Exchange>& exchange, std::shared_ptr<ServeCall> call,
                 std::vector<ServePrompt> prompts) {
  const ServeJob::CallId id = job.submit(std::move(call), std::move(prompts));
  exchange->on_hangup([serve_job = &job, id] { serve_job->hang_up(id); });
}

std::vector<Route> make_api_routes(ServeJob& job, const ModelAssets& assets, ApiOptions options) {
  const auto api = std::make_shared<Api>(job, assets, std::move(options));
  std::vector<Route> routes;
  for (const Row& row : kRows)
    routes.push_back({row.method, row.path, row.access, [api, &row](std::shared_ptr<Exchange> exchange) {
                        if (!row.on_pool) return run(*api, row, exchange);
                        if (api->pool.try_run([api = api.get(), &row, exchange] { run(*api, row, exchange); })) return;
                        ApiError busy(429, "too many requests wait to be read: try again later");
                        busy.retry_after_seconds = 1;
                        answer_error(*exchange, row.error, busy);
                      }});
  return routes;
}

}  // namespace trireme
