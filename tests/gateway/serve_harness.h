#pragma once
// A ServeJob with its routes, an exchange that records what was written, and an engine whose words a test speaks.

#include <gtest/gtest.h>

#include <map>

#include "base/check.h"
#include "base/json.h"
#include "gateway/http/endpoints/api.h"
#include "tests/gateway/letter_tokenizer.h"

namespace trireme {

class RecordingExchange final : public Exchange {
 public:
  const HttpRequest& request() const override { return http; }
  void respond(int code, std::string_view type, std::string text, std::vector<HttpHeader> extra) override {
    EXPECT_EQ(status, 0) << "answered twice";
    status = code;
    content_type = type;
    body = std::move(text);
    headers = std::move(extra);
    ended = true;
  }
  void begin_stream(int code, std::string_view type, std::vector<HttpHeader> extra) override {
    EXPECT_EQ(status, 0) << "answered twice";
    status = code;
    content_type = type;
    headers = std::move(extra);
    streaming = true;
  }
  void write(std::string bytes) override {
    EXPECT_TRUE(streaming && !ended);
    body += bytes;
  }
  void end_stream() override {
    EXPECT_TRUE(streaming && !ended);
    ended = true;
  }
  void abort() override { aborted = ended = true; }
  void on_hangup(std::function<void()> callback) override { hang_up = std::move(callback); }
  size_t unsent_bytes() const override { return unsent; }

  json::value json() const { return json::parse(body); }
  std::string error() const { return std::string(json().at("error").at("message").as_string()); }
  std::string header(const std::string& name) const {
    for (const HttpHeader& entry : headers)
      if (entry.name == name) return entry.value;
    return "";
  }
  // The stream's events as JSON, without [DONE], which must be last; comments are dropped.
  std::vector<json::value> events(const std::string& prefix = "data: ", bool done = true) const {
    std::vector<json::value> list;
    bool saw_done = false;
    for (size_t at = 0; at < body.size();) {
      const size_t end = body.find("\n\n", at);
      CHECK(end != std::string::npos) << "an event without its end";
      const std::string event = body.substr(at, end - at);
      at = end + 2;
      if (event.starts_with(":")) continue;
      EXPECT_TRUE(event.starts_with(prefix)) << event;
      EXPECT_FALSE(saw_done);
      saw_done = event == "data: [DONE]";
      if (!saw_done) list.push_back(json::parse(event.substr(prefix.size())));
    }
    EXPECT_EQ(saw_done, done);
    return list;
  }

  HttpRequest http;
  int status = 0;
  std::string content_type, body;
  std::vector<HttpHeader> headers;
  bool streaming = false, ended = false, aborted = false;
  size_t unsent = 0;
  std::function<void()> hang_up;
};

class ServePort final : public RequestPort {
 public:
  void submit(Request request) override {
    const RequestId id = request.id;
    EXPECT_TRUE(open.emplace(id, std::move(request)).second) << "submitted twice";
  }
  void cancel(RequestId id, int32_t choice) override {
    cancelled.emplace_back(id, choice);
    if (choice < 0) open.erase(id);
  }
  void wake() override { ++wakes; }
  std::map<RequestId, Request> open;
  std::vector<std::pair<RequestId, int32_t>> cancelled;
  int wakes = 0;
};

struct ServeHarness {
  explicit ServeHarness(const ServeOptions& serve = {}, ApiOptions api = {}) {
    assets.tokenizer = std::make_unique<LetterTokenizer>();
    assets.checkpoint.name = "letters";
    assets.checkpoint.config.eos_token_ids = {0};
    assets.checkpoint.tokenizer.chat_template = "<tool_call>";
    assets.chat_templates = ChatTemplateSet(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}"
        "({{ c.function.name }} {{ c.function.arguments.x }}){% endfor %}{% endfor %}"
        "{% if tools %}[{{ tools[0].function.name }}]{% endif %}{% if add_generation_prompt %}>{% endif %}",
        {});
    facts.vocab_size = 128;
    facts.max_model_len = 200;
    facts.num_slots = 8;
    job = std::make_unique<ServeJob>(assets, serve);
    api.threads = 0;
    api.version = "1.2";
    routes = make_api_routes(*job, assets, std::move(api));
  }

  void start() {
    port = std::make_unique<ServePort>();
    job->start(facts, *port, now);
  }
  void lose_engine() {
    job->on_engine_lost({}, TimePoint{});
    port.reset();
  }

  std::shared_ptr<RecordingExchange> call(const std::string& method, const std::string& path, const std::string& body = "") {
    auto exchange = std::make_shared<RecordingExchange>();
    exchange->http.id = "r1";
    exchange->http.method = method;
    exchange->http.path = path;
    exchange->http.body = body;
    for (const Route& route : routes) {
      const bool below = route.path.ends_with("/*") && path.starts_with(route.path.substr(0, route.path.size() - 1));
      if (route.method == method && (route.path == path || below)) route.handler(exchange);
    }
    job->on_tick(now);
    return exchange;
  }
  std::shared_ptr<RecordingExchange> post(const std::string& path, const std::string& body) { return call("POST", path, body); }

  // One token of one choice; '\0' is the end of sequence.
  void token(RequestId id, char letter, FinishReason finish = FinishReason::none, int choice = 0) {
    TokenEvent event;
    event.request = id;
    event.choice = choice;
    event.index = next_index[{id, choice}]++;
    event.token = {letter, -0.5f};
    event.rank = 1;
    event.cached_tokens = 2;
    const SamplingParams& sampling = port->open.at(id).sampling;
    for (int i = 0; i < sampling.top_logprobs; ++i) event.top.push_back({letter + i, -0.5f - float(i)});
    event.finish = letter == 0 ? FinishReason::stop : finish;
    if (letter == 0) event.stop_id = 0;
    job->on_events({event}, now);
  }
  void text(RequestId id, const std::string& letters, int choice = 0) {
    for (const char letter : letters) token(id, letter, FinishReason::none, choice);
  }
  void end(RequestId id, FinishReason reason = FinishReason::length, int choice = 0) {
    TokenEvent event;
    event.request = id;
    event.choice = choice;
    event.index = next_index[{id, choice}];
    event.finish = reason;
    job->on_events({event}, now);
  }
  void score(RequestId id) {
    const Request& request = port->open.at(id);
    PromptLogprobsEvent event;
    event.request = id;
    for (size_t i = 1; i < request.prompt.size(); ++i) {
      event.tokens.push_back({request.prompt[i], -1.5f});
      event.top.emplace_back();
      for (int k = 0; k < request.sampling.prompt_logprobs; ++k) event.top.back().push_back({'z' - k, -0.25f});
    }
    job->on_events({event}, now);
  }

  ModelAssets assets;
  EngineFacts facts;
  std::unique_ptr<ServeJob> job;
  std::vector<Route> routes;
  std::unique_ptr<ServePort> port;
  TimePoint now{std::chrono::seconds(100)};
  std::map<std::pair<RequestId, int>, int> next_index;
};

}  // namespace trireme
