#pragma once
// The HTTP API: what its endpoints share, and the table of them (api.cpp). Handlers run on the pool, never on an I/O
// thread: they parse, tokenize and submit; what answers then is a ServeCall on the front loop's thread.

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "gateway/http/exchange.h"
#include "gateway/model_assets.h"
#include "gateway/serve_job.h"
#include "gateway/tool_calls.h"
#include "gateway/work_pool.h"

namespace trireme {

struct ApiOptions {
  std::vector<std::string> served_model_names = {};  // the first is the one in answers; empty: the checkpoint's name
  std::string version = {};
  std::string tool_call_parser = "auto";  // tool_calls.h
  std::string response_role = "assistant";
  bool force_include_usage = false;       // every stream ends with its usage
  bool prompt_tokens_details = true;      // usage tells the cached prompt tokens
  bool trust_special_tokens = false;      // special tokens that a client writes into a chat are special
  size_t threads = 2;                     // 0: handlers run on the caller's thread (tests)
  size_t max_waiting = 1024;              // requests before they are parsed; 429 beyond
};

struct Api {
  Api(ServeJob& serve_job, const ModelAssets& model_assets, ApiOptions api_options);

  const std::string& model_name() const { return names.front(); }
  void check_model(json::object& body) const;               // takes "model"; absent: ours. Throws ApiError 404
  void log_unknown(const json::object& rest);               // each name once; any thread
  void submit(const std::shared_ptr<Exchange>& exchange, std::shared_ptr<ServeCall> call,
              std::vector<ServePrompt> prompts);

  ServeJob& job;
  const ModelAssets& assets;
  const ApiOptions options;
  const std::vector<std::string> names;
  const ToolFormat tool_format;
  const int64_t created;  // seconds since 1970

 private:
  std::mutex mutex_;
  std::set<std::string> logged_;

 public:
  WorkPool pool;  // last: its threads use the rest
};

using ErrorBody = std::string (*)(int status, std::string_view message, std::string_view param);
std::string openai_error(int status, std::string_view message, std::string_view param);
std::string tgi_error(int status, std::string_view message, std::string_view param);

using Endpoint = void (*)(Api& api, const std::shared_ptr<Exchange>& exchange);  // throws Error: the answer

// The endpoints, one file each.
void completions(Api& api, const std::shared_ptr<Exchange>& exchange);
void chat_completions(Api& api, const std::shared_ptr<Exchange>& exchange);
void list_models(Api& api, const std::shared_ptr<Exchange>& exchange);
void show_model(Api& api, const std::shared_ptr<Exchange>& exchange);  // path: /v1/models/{id}
void tokenize(Api& api, const std::shared_ptr<Exchange>& exchange);
void detokenize(Api& api, const std::shared_ptr<Exchange>& exchange);
void health(Api& api, const std::shared_ptr<Exchange>& exchange);
void ready(Api& api, const std::shared_ptr<Exchange>& exchange);
void show_version(Api& api, const std::shared_ptr<Exchange>& exchange);
void show_load(Api& api, const std::shared_ptr<Exchange>& exchange);
void tgi_generate(Api& api, const std::shared_ptr<Exchange>& exchange);
void tgi_generate_stream(Api& api, const std::shared_ptr<Exchange>& exchange);
void tgi_info(Api& api, const std::shared_ptr<Exchange>& exchange);

// The body as an object: strict JSON, depth 64, a million values. Throws ApiError 400.
json::object parse_body(const std::string& text);
void respond_json(Exchange& exchange, const json::value& value, int status = 200);

// A path that ends in "/*" takes everything below. `job` and `assets` must outlive the routes and every exchange.
std::vector<Route> make_api_routes(ServeJob& job, const ModelAssets& assets, ApiOptions options);

}  // namespace trireme
