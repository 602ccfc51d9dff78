// The endpoints' JSON, held against OpenAI's objects as vLLM serves them.

#include "gateway/http/endpoints/api.h"

#include "tests/gateway/serve_harness.h"

namespace trireme {
namespace {

class ApiTest : public testing::Test {
 protected:
  ApiTest() { harness_.start(); }
  std::shared_ptr<RecordingExchange> completions(const std::string& body) { return harness_.post("/v1/completions", body); }
  std::shared_ptr<RecordingExchange> chat(const std::string& fields) {
    return harness_.post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}])" + fields + "}");
  }
  const Request& request(RequestId id = 1) { return harness_.port->open.at(id); }
  std::string prompt(RequestId id = 1) { return harness_.assets.tokenizer->decode(request(id).prompt); }
  ServeHarness harness_;
};

TEST_F(ApiTest, ACompletion) {
  const auto exchange = completions(R"({"model": "letters", "prompt": "hi", "user": "u", "seed": 7})");
  EXPECT_EQ(request().sampling.max_new_tokens, 16);
  EXPECT_EQ(request().sampling.seed, 7u);
  harness_.text(1, "abc");
  EXPECT_EQ(exchange->status, 0);
  harness_.token(1, 0);
  ASSERT_EQ(exchange->status, 200);
  json::value answer = exchange->json();
  EXPECT_GT(answer.at("created").as_int64(), 1'700'000'000);
  answer.as_object().erase("created");
  EXPECT_EQ(answer, json::parse(R"({"id": "cmpl-r1", "object": "text_completion", "model": "letters",
      "choices": [{"index": 0, "text": "abc", "logprobs": null, "finish_reason": "stop", "stop_reason": null}],
      "usage": {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6,
                "prompt_tokens_details": {"cached_tokens": 2}}})"));
}

TEST_F(ApiTest, PromptsInAllFourFormsArePromptMajor) {
  const auto exchange = completions(R"({"prompt": ["a", "b"], "n": 2, "max_tokens": 1})");
  for (const RequestId id : {2u, 1u})
    for (int choice : {1, 0}) harness_.token(id, id == 1 ? 'p' : 'q', FinishReason::length, choice);
  const json::value answer = exchange->json();
  ASSERT_EQ(answer.at("choices").as_array().size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(answer.at("choices").at(size_t(i)).at("index"), i);
    EXPECT_EQ(answer.at("choices").at(size_t(i)).at("text"), i < 2 ? "p" : "q");
    EXPECT_EQ(answer.at("choices").at(size_t(i)).at("finish_reason"), "length");
  }
  EXPECT_EQ(answer.at("usage").at("total_tokens"), 6);
  completions(R"({"prompt": [97, 98]})");
  EXPECT_EQ(request(3).prompt, (std::vector<int32_t>{97, 98}));
  completions(R"({"prompt": [[97], [98, 99]]})");
  EXPECT_EQ(request(5).prompt, (std::vector<int32_t>{98, 99}));
}

TEST_F(ApiTest, AStreamedCompletion) {
  const auto exchange =
      completions(R"({"prompt": "hi", "stream": true, "stream_options": {"include_usage": true}, "stop": ["XY"]})");
  EXPECT_EQ(exchange->status, 0);
  harness_.text(1, "aXbXY");
  EXPECT_TRUE(exchange->ended);
  EXPECT_EQ(harness_.port->cancelled.back().first, 1u);
  EXPECT_EQ(exchange->content_type, "text/event-stream; charset=utf-8");
  const auto events = exchange->events();
  ASSERT_EQ(events.size(), 4u);  // X is held back until it is no stop string
  EXPECT_EQ(events[0].at("choices").at(0).at("text"), "a");
  EXPECT_TRUE(events[0].at("usage").is_null());
  EXPECT_EQ(events[1].at("choices").at(0).at("text"), "Xb");
  EXPECT_EQ(events[2].at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_EQ(events[2].at("choices").at(0).at("stop_reason"), "XY");
  EXPECT_TRUE(events[3].at("choices").as_array().empty());
  EXPECT_EQ(events[3].at("usage").at("completion_tokens"), 5);
  for (const json::value& event : events) EXPECT_EQ(event.at("object"), "text_completion");
}

TEST_F(ApiTest, CompletionLogprobsAndOffsets) {
  const auto exchange = completions(R"({"prompt": "hi", "logprobs": 2, "max_tokens": 2})");
  harness_.text(1, "a");
  harness_.token(1, 'b', FinishReason::length);
  EXPECT_EQ(exchange->json().at("choices").at(0).at("logprobs"),
            json::parse(R"({"text_offset": [0, 1], "token_logprobs": [-5E-1, -5E-1], "tokens": ["a", "b"],
                            "top_logprobs": [{"a": -5E-1, "b": -1.5E0}, {"b": -5E-1, "c": -1.5E0}]})"));
}

// What lm-eval's local-completions sends: ids, echo, logprobs and one token, or none.
TEST_F(ApiTest, ScoresAPrompt) {
  for (const int tokens : {0, 1}) {
    const RequestId id = RequestId(tokens) + 1;
    const auto exchange = completions(R"({"model": "letters", "prompt": [[97, 98, 99]], "echo": true, "logprobs": 1,
        "temperature": 0, "seed": 1234, "max_tokens": )" + std::to_string(tokens) + "}");
    EXPECT_EQ(request(id).sampling.max_new_tokens, tokens);
    EXPECT_EQ(request(id).sampling.prompt_logprobs, 1);
    harness_.score(id);
    tokens == 0 ? harness_.end(id) : harness_.token(id, 'x', FinishReason::length);
    ASSERT_EQ(exchange->status, 200) << exchange->body;
    const json::value choice = exchange->json().at("choices").at(0);
    EXPECT_EQ(choice.at("text"), tokens == 0 ? "abc" : "abcx");
    EXPECT_EQ(choice.at("finish_reason"), "length");
    const json::value& logprobs = choice.at("logprobs");
    EXPECT_EQ(logprobs.at("tokens").as_array().size(), 3u + size_t(tokens));
    EXPECT_TRUE(logprobs.at("token_logprobs").at(0).is_null());
    EXPECT_TRUE(logprobs.at("top_logprobs").at(0).is_null());
    EXPECT_EQ(logprobs.at("token_logprobs").at(2), -1.5);
    EXPECT_EQ(logprobs.at("top_logprobs").at(2), json::parse(R"({"z": -2.5E-1, "c": -1.5E0})"));
    EXPECT_EQ(logprobs.at("text_offset"), json::parse(tokens == 0 ? "[0, 1, 2]" : "[0, 1, 2, 3]"));
    EXPECT_EQ(exchange->json().at("usage").at("completion_tokens"), tokens);
  }
  EXPECT_EQ(completions(R"({"prompt": "abc", "max_tokens": 0})")->status, 400);
}

TEST_F(ApiTest, EchoesInAStream) {
  const auto exchange = completions(R"({"prompt": "hi", "echo": true, "logprobs": 0, "stream": true})");
  harness_.score(1);
  harness_.text(1, "a");
  harness_.token(1, 0);
  const auto events = exchange->events();
  EXPECT_EQ(events[0].at("choices").at(0).at("text"), "hia");
  EXPECT_EQ(events[0].at("choices").at(0).at("logprobs").at("tokens"), json::parse(R"(["h", "i", "a"])"));
  EXPECT_EQ(events[1].at("choices").at(0).at("logprobs").at("text_offset"), json::parse("[3]"));
}

TEST_F(ApiTest, BestOfReturnsTheBestAndCountsAll) {
  const auto exchange = completions(R"({"prompt": "hi", "best_of": 3, "n": 1, "max_tokens": 1, "stream": true,
                                        "stream_options": {"include_usage": true}})");
  for (int choice : {0, 1, 2}) harness_.token(1, char('a' + choice), FinishReason::length, choice);
  const auto events = exchange->events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].at("choices").at(0).at("text"), "a");
  EXPECT_EQ(events[1].at("usage").at("completion_tokens"), 3);
}

TEST_F(ApiTest, TokenIdsOnRequest) {
  const auto exchange = completions(R"({"prompt": "hi", "return_token_ids": true, "return_tokens_as_token_ids": true,
                                        "logprobs": 0, "prompt_logprobs": 0})");
  harness_.score(1);
  harness_.text(1, "a");
  harness_.token(1, 0);
  const json::value choice = exchange->json().at("choices").at(0);
  EXPECT_EQ(choice.at("token_ids"), json::parse("[97, 0]"));
  EXPECT_EQ(choice.at("prompt_token_ids"), json::parse("[104, 105]"));
  EXPECT_EQ(choice.at("logprobs").at("tokens").at(0), "token_id:97");
  EXPECT_TRUE(choice.at("prompt_logprobs").at(0).is_null());
  EXPECT_EQ(choice.at("prompt_logprobs").at(1).at("105").at("logprob"), -1.5);
}

TEST_F(ApiTest, EverySamplingFieldReachesTheEngine) {
  completions(R"({"prompt": "hi", "temperature": 0.5, "top_p": 0.9, "top_k": -1, "min_p": 0.1, "typical_p": 0.8,
      "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.2, "min_tokens": 2, "ignore_eos": true,
      "stop_token_ids": [5], "logit_bias": {"7": 3}, "bad_words": ["q"], "allowed_token_ids": [1, 2, 7], "priority": 4,
      "cache_salt": "s", "skip_special_tokens": false, "truncate_prompt_tokens": 1})");
  const SamplingParams& sampling = request().sampling;
  EXPECT_EQ(sampling.temperature, 0.5f);
  EXPECT_EQ(sampling.top_k, 0);
  EXPECT_EQ(sampling.min_new_tokens, 2);
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_EQ(sampling.stop_token_ids, std::vector<int32_t>{5});
  EXPECT_EQ(sampling.logit_bias, (std::vector<TokenBias>{{7, 3}}));
  EXPECT_EQ(sampling.bad_words.size(), 2u);
  EXPECT_EQ(sampling.allowed_token_ids.size(), 3u);
  EXPECT_EQ(request().priority, 4);
  EXPECT_NE(request().cache_salt, 0u);
  EXPECT_EQ(request().prompt, std::vector<int32_t>{'i'});
}

TEST_F(ApiTest, Errors) {
  struct Case {
    const char* body;
    int status;
    const char* param;
    const char* message;
  };
  const Case cases[] = {
      {"{", 400, nullptr, "JSON"},
      {"[]", 400, nullptr, "object"},
      {R"({"model": "other", "prompt": "hi"})", 404, "model", "letters"},
      {"{}", 400, "prompt", "missing"},
      {R"({"prompt": {"a": 1}})", 400, "prompt", "ids"},
      {R"({"prompt": ["a", 3]})", 400, "prompt", "ids"},
      {R"({"prompt": ""})", 400, nullptr, "empty"},
      {R"({"prompt": [500]})", 400, nullptr, "0 to 127"},
      {R"({"prompt": "hi", "top_p": 2})", 400, "top_p", "(0, 1]"},
      {R"({"prompt": "hi", "temperature": "x"})", 400, "temperature", "number"},
      {R"({"prompt": "hi", "max_tokens": 199})", 400, "max_tokens", "200 tokens"},
      {R"({"prompt": "hi", "suffix": "s"})", 400, "suffix", "not supported"},
      {R"({"prompt": "hi", "guided_json": {"a": 1}})", 400, "guided_json", "not supported"},
      {R"({"prompt": "hi", "response_format": {"type": "json_object"}})", 400, "response_format", "not supported"},
      {R"({"prompt": "hi", "stream_options": {"include_usage": true}})", 400, "stream_options", "stream"},
      {R"({"prompt": "hi", "n": 0})", 400, "n", "[1, 128]"},
  };
  for (const Case& one : cases) {
    const auto exchange = completions(one.body);
    ASSERT_EQ(exchange->status, one.status) << one.body << exchange->body;
    const json::value error = exchange->json().at("error");
    EXPECT_EQ(error.at("code"), one.status);
    EXPECT_EQ(error.at("type"), one.status == 404 ? "NotFoundError" : "BadRequestError");
    EXPECT_EQ(error.at("param"), one.param ? json::value(one.param) : json::value()) << one.body;
    EXPECT_NE(exchange->error().find(one.message), std::string::npos) << exchange->error();
  }
  EXPECT_EQ(completions(R"({"prompt": [)" + std::string(200, '1') + "]}")->status, 400);
  std::string many = R"({"prompt": [1)";
  for (int i = 0; i < 1'000'001; ++i) many += ",1";
  EXPECT_NE(completions(many + "]}")->error().find("million"), std::string::npos);
  EXPECT_EQ(completions(R"({"prompt": "hi", "suffix": null, "response_format": {"type": "text"}, "x": 1})")->status, 0);
}

TEST_F(ApiTest, AChat) {
  const auto exchange = chat(R"(, "logprobs": true, "top_logprobs": 1)");
  EXPECT_EQ(prompt(), "<user>hi>");
  EXPECT_EQ(request().sampling.max_new_tokens, 200 - 9);
  harness_.text(1, "a");
  harness_.token(1, 0);
  json::value answer = exchange->json();
  answer.as_object().erase("created");
  EXPECT_EQ(answer, json::parse(R"({"id": "chatcmpl-r1", "object": "chat.completion", "model": "letters",
      "choices": [{"index": 0, "message": {"role": "assistant", "content": "a", "refusal": null},
        "logprobs": {"content": [
          {"token": "a", "logprob": -5E-1, "bytes": [97], "top_logprobs": [{"token": "a", "logprob": -5E-1, "bytes": [97]}]},
          {"token": "", "logprob": -5E-1, "bytes": [], "top_logprobs": [{"token": "", "logprob": -5E-1, "bytes": []}]}],
          "refusal": null},
        "finish_reason": "stop", "stop_reason": null}],
      "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11,
                "prompt_tokens_details": {"cached_tokens": 2}}})"));
}

TEST_F(ApiTest, AStreamedChat) {
  const auto exchange = chat(R"(, "stream": true, "max_completion_tokens": 2, "n": 2,
      "stream_options": {"include_usage": true, "continuous_usage_stats": true})");
  harness_.text(1, "a", 1);
  harness_.token(1, 'b', FinishReason::length, 0);
  harness_.token(1, 'c', FinishReason::length, 1);
  const auto events = exchange->events();
  ASSERT_EQ(events.size(), 8u);
  const auto choice = [&](size_t i) { return events[i].at("choices").at(0); };
  for (int i : {0, 1})
    EXPECT_EQ(choice(size_t(i)), json::parse(R"({"index": )" + std::to_string(i) +
                                             R"(, "delta": {"role": "assistant", "content": ""}, "logprobs": null,
                                                "finish_reason": null})"));
  EXPECT_EQ(choice(2).at("delta"), json::parse(R"({"content": "a"})"));
  EXPECT_EQ(choice(2).at("index"), 1);
  EXPECT_EQ(events[2].at("usage").at("completion_tokens"), 1);
  EXPECT_EQ(choice(4).at("delta"), json::object{});
  EXPECT_EQ(choice(4).at("finish_reason"), "length");
  EXPECT_EQ(events[7].at("usage").at("completion_tokens"), 3);
  for (const json::value& event : events) EXPECT_EQ(event.at("object"), "chat.completion.chunk");
}

constexpr const char* kTools = R"(, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}])";

TEST_F(ApiTest, ToolCalls) {
  const auto exchange = chat(kTools);
  EXPECT_EQ(prompt(), "<user>hi[f]>");
  harness_.text(1, "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>");
  harness_.token(1, 0);
  const json::value choice = exchange->json().at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  EXPECT_TRUE(choice.at("message").at("content").is_null());
  const json::value& call = choice.at("message").at("tool_calls").at(0);
  EXPECT_EQ(call.at("type"), "function");
  EXPECT_FALSE(call.at("id").as_string().empty());
  EXPECT_EQ(call.at("function"), json::parse(R"({"name": "f", "arguments": "{\"x\": 1}"})"));
}

TEST_F(ApiTest, ToolCallsInAStream) {
  const auto exchange = chat(std::string(kTools) + R"(, "stream": true)");
  harness_.text(1, "ok<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>");
  harness_.token(1, 0);
  std::string content, arguments, name;
  json::value reason;
  for (const json::value& event : exchange->events()) {
    const json::value& choice = event.at("choices").at(0);
    const json::object& delta = choice.at("delta").as_object();
    reason = choice.at("finish_reason");
    if (const auto* text = delta.if_contains("content")) content += std::string(text->as_string());
    if (const auto* calls = delta.if_contains("tool_calls")) {
      const json::object& function = calls->at(0).at("function").as_object();
      EXPECT_EQ(calls->at(0).at("index"), 0);
      if (const auto* given = function.if_contains("name")) {
        EXPECT_TRUE(name.empty());
        EXPECT_TRUE(calls->at(0).as_object().contains("id"));
        name = std::string(given->as_string());
      }
      arguments += std::string(function.at("arguments").as_string());
    }
  }
  EXPECT_EQ(content, "ok");
  EXPECT_EQ(name, "f");
  EXPECT_EQ(arguments, "{\"x\": 1}");
  EXPECT_EQ(reason, "tool_calls");
}

TEST_F(ApiTest, MessagesInTheirForms) {
  harness_.post("/v1/chat/completions", R"({"messages": [
      {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null, "tool_calls": [{"id": "i", "type": "function",
        "function": {"name": "f", "arguments": "{\"x\": 5}"}}]},
      {"role": "assistant", "content": "go"}], "continue_final_message": true, "add_generation_prompt": false})");
  EXPECT_EQ(prompt(), "<user>a\nb<assistant>(f 5)<assistant>go");
  const auto refused = harness_.post("/v1/chat/completions", R"({"messages": [
      {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]})");
  EXPECT_EQ(refused->status, 400);
  EXPECT_NE(refused->error().find("image_url"), std::string::npos);
  for (const char* fields : {R"(, "tool_choice": "required")", R"(, "modalities": ["audio"])", R"(, "top_logprobs": 2)",
                             R"(, "tools": [{"type": "function"}])", R"(, "max_tokens": 500)"})
    EXPECT_EQ(chat(fields)->status, 400) << fields;
  EXPECT_EQ(chat(std::string(kTools) + R"(, "tool_choice": "none")")->status, 0);
  EXPECT_EQ(prompt(2), "<user>hi>");
}

TEST_F(ApiTest, ModelsAndTheOthers) {
  const json::value models = harness_.call("GET", "/v1/models")->json();
  EXPECT_EQ(models.at("object"), "list");
  EXPECT_EQ(models.at("data").at(0).at("id"), "letters");
  EXPECT_EQ(models.at("data").at(0).at("max_model_len"), 200);
  EXPECT_EQ(harness_.call("GET", "/v1/models/letters")->json().at("object"), "model");
  EXPECT_EQ(harness_.call("GET", "/v1/models/other")->status, 404);
  EXPECT_EQ(harness_.call("GET", "/version")->json().at("version"), "1.2");
  EXPECT_EQ(harness_.call("GET", "/load")->json().at("server_load"), 0);
  for (const char* path : {"/health", "/health/live", "/health/ready", "/ping"})
    EXPECT_EQ(harness_.call("GET", path)->status, 200) << path;
  EXPECT_EQ(harness_.post("/ping", "")->status, 200);
  harness_.lose_engine();
  EXPECT_EQ(harness_.call("GET", "/health/ready")->json().at("status"), "recovering");
  EXPECT_EQ(harness_.call("GET", "/health/ready")->status, 503);
  EXPECT_EQ(harness_.call("GET", "/health")->status, 200);
}

TEST_F(ApiTest, Tokenizing) {
  EXPECT_EQ(harness_.post("/tokenize", R"({"prompt": "ab", "return_token_strs": true})")->json(),
            json::parse(R"({"count": 2, "max_model_len": 200, "tokens": [97, 98], "token_strs": ["a", "b"]})"));
  EXPECT_EQ(harness_.post("/tokenize", R"({"messages": [{"role": "user", "content": "x"}]})")->json().at("count"), 8);
  EXPECT_EQ(harness_.post("/detokenize", R"({"tokens": [97, 98]})")->json(), json::parse(R"({"prompt": "ab"})"));
  EXPECT_EQ(harness_.post("/detokenize", R"({"tokens": [-1]})")->status, 400);
  EXPECT_EQ(harness_.post("/detokenize", R"({"tokens": [128]})")->status, 400);
}

TEST_F(ApiTest, TextGenerationInference) {
  const auto whole = harness_.post("/generate", R"({"inputs": "hi", "parameters": {"max_new_tokens": 9, "details": true,
      "decoder_input_details": true, "stop": ["b"], "return_full_text": true}})");
  EXPECT_EQ(request().sampling.temperature, 0);  // greedy unless something says otherwise
  harness_.score(1);
  harness_.text(1, "ab");
  const json::value answer = whole->json();
  EXPECT_EQ(answer.at("generated_text"), "hiab");
  EXPECT_EQ(answer.at("details").at("finish_reason"), "stop_sequence");
  EXPECT_EQ(answer.at("details").at("generated_tokens"), 2);
  EXPECT_EQ(answer.at("details").at("prefill").as_array().size(), 2u);
  EXPECT_EQ(answer.at("details").at("tokens").at(0),
            json::parse(R"({"id": 97, "text": "a", "logprob": -5E-1, "special": false})"));

  const auto stream = harness_.post("/generate_stream", R"({"inputs": "hi", "parameters": {"do_sample": true, "seed": 3}})");
  EXPECT_EQ(request(2).sampling.temperature, 1);
  EXPECT_EQ(request(2).sampling.max_new_tokens, 100);
  harness_.text(2, "a");
  harness_.token(2, 0);
  const auto events = stream->events("data:", false);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].at("token").at("text"), "a");
  EXPECT_TRUE(events[0].at("generated_text").is_null());
  EXPECT_EQ(events[1].at("generated_text"), "a");
  EXPECT_EQ(events[1].at("details").at("finish_reason"), "eos_token");
  EXPECT_EQ(events[1].at("details").at("seed"), 3);

  const auto refused = harness_.post("/generate", R"({"inputs": "hi", "parameters": {"top_p": 3}})");
  EXPECT_EQ(refused->status, 400);
  EXPECT_EQ(refused->json().at("error_type"), "validation");
  EXPECT_EQ(harness_.call("GET", "/info")->json().at("max_total_tokens"), 200);
}

TEST(Api, ServesUnderSeveralNames) {
  ServeHarness harness({}, {.served_model_names = {"one", "two"}});
  harness.start();
  EXPECT_EQ(harness.call("GET", "/v1/models")->json().at("data").as_array().size(), 2u);
  const auto exchange = harness.post("/v1/completions", R"({"model": "two", "prompt": "hi"})");
  harness.token(1, 0);
  EXPECT_EQ(exchange->json().at("model"), "one");
  EXPECT_EQ(harness.post("/v1/completions", R"({"model": "letters", "prompt": "hi"})")->status, 404);
}

TEST(Api, AFullPoolRefuses) {
  WorkPool pool(1, 1);
  std::mutex gate;
  gate.lock();
  std::atomic<int> ran = 0;
  const auto work = [&] {
    std::lock_guard lock(gate);
    ++ran;
  };
  bool refused = false;
  int accepted = 0;
  for (int i = 0; i < 3; ++i) pool.try_run(work) ? void(++accepted) : void(refused = true);
  gate.unlock();
  EXPECT_TRUE(refused);
  while (ran < accepted) std::this_thread::yield();
}

}  // namespace
}  // namespace trireme
