// A path and, after a zero byte, a body. Whatever comes, the endpoint answers with a status of HTTP and JSON, or has
// submitted requests that pass the protocol's checks; then an engine that answers a little, dies, and answers the rest
// brings every call to its end.

#include <algorithm>
#include <cstdint>
#include <map>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "gateway/http/endpoints/api.h"
#include "tests/gateway/letter_tokenizer.h"

namespace trireme {
namespace {

class FuzzExchange final : public Exchange {
 public:
  const HttpRequest& request() const override { return http; }
  void respond(int code, std::string_view, std::string body, std::vector<HttpHeader>) override {
    CHECK(!ended && !streaming && code >= 200 && code < 600 && code != 500) << body;
    (void)json::parse(body);
    ended = true;
  }
  void begin_stream(int, std::string_view, std::vector<HttpHeader>) override {
    CHECK(!ended && !streaming);
    streaming = true;
  }
  void write(std::string bytes) override { CHECK(streaming && !ended && bytes.ends_with("\n\n")); }
  void end_stream() override {
    CHECK(streaming && !ended);
    ended = true;
  }
  void abort() override { ended = true; }
  void on_hangup(std::function<void()>) override {}
  size_t unsent_bytes() const override { return 0; }
  HttpRequest http;
  bool ended = false, streaming = false;
};

class FuzzPort final : public RequestPort {
 public:
  void submit(Request request) override {
    validate(request, 128, 64);
    open.emplace(request.id, std::move(request));
  }
  void cancel(RequestId id, int32_t choice) override {
    if (choice < 0) open.erase(id);
  }
  std::map<RequestId, Request> open;
};

const ModelAssets& assets() {
  static const ModelAssets made = [] {
    ModelAssets assets;
    assets.tokenizer = std::make_unique<LetterTokenizer>();
    assets.checkpoint.name = "m";
    assets.checkpoint.config.eos_token_ids = {0};
    assets.checkpoint.tokenizer.chat_template = "<tool_call>";
    assets.chat_templates = ChatTemplateSet("{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}", {});
    return assets;
  }();
  return made;
}

// Tokens up to `count` of every choice and the end behind the last; a score for every prompt token asked for.
void answer(ServeJob& job, FuzzPort& port, int32_t count) {
  const std::map<RequestId, Request> requests = port.open;
  for (const auto& [id, request] : requests) {
    const SamplingParams& sampling = request.sampling;
    PromptLogprobsEvent scores;
    scores.request = id;
    for (size_t i = 1; sampling.prompt_logprobs >= 0 && i < request.prompt.size(); ++i) {
      scores.tokens.push_back({request.prompt[i], -1});
      scores.top.emplace_back();
    }
    if (!scores.tokens.empty()) job.on_events({scores}, {});
    for (int32_t choice = 0; choice < sampling.n; ++choice) {
      int32_t index = 0;
      bool over = false;
      for (const EmittedChoice& emitted : request.emitted)
        if (emitted.choice == choice) index = int32_t(emitted.ids.size()), over = emitted.finished;
      const int32_t last = std::min(sampling.max_new_tokens, 8);
      for (; !over && index <= last && index < count && port.open.contains(id); ++index) {
        TokenEvent event;
        event.request = id;
        event.choice = choice;
        event.index = index;
        if (index == last)
          event.finish = FinishReason::length;
        else
          event.token = {"<tool_call>{\"\n"[(index + choice) % 13], -1};
        job.on_events({event}, {});
      }
    }
  }
}

// One for all runs, as a server's is for all its calls; only what it has logged stays of a run.
struct FuzzServer {
  FuzzServer() {
    spdlog::set_level(spdlog::level::off);
    facts.vocab_size = 128;
    facts.max_model_len = 64;
  }
  EngineFacts facts;
  ServeJob job{assets(), {}};
  const std::vector<Route> routes = make_api_routes(job, assets(), {.threads = 0});
};

}  // namespace
}  // namespace trireme

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trireme;
  static FuzzServer server;
  ServeJob& job = server.job;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(bytes.find('\0'), bytes.size());
  FuzzPort first, second;
  job.start(server.facts, first, {});
  const auto exchange = std::make_shared<FuzzExchange>();
  exchange->http.path = bytes.substr(0, end);
  exchange->http.body = bytes.substr(std::min(end + 1, bytes.size()));
  for (const Route& route : server.routes)
    if (route.path == exchange->http.path && (route.method == "POST" || !exchange->ended)) {
      route.handler(exchange);
      break;
    }
  job.on_tick({});
  answer(job, first, 3);
  job.on_engine_lost({}, {});
  job.start(server.facts, second, {});
  answer(job, second, 1000);
  CHECK(job.status().open_requests == 0) << "a call never ended";
  job.finish({});
  return 0;
}
