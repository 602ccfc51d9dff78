// Text Generation Inference's /generate, /generate_stream and /info.

#include <algorithm>

#include "gateway/api_error.h"
#include "gateway/http/endpoints/openai_call.h"
#include "gateway/sampling_json.h"

namespace trireme {
namespace {

constexpr int64_t kDefaultNewTokens = 100;  // TGI's

struct TgiFields {
  bool stream = false, details = false, prefill = false, full_text = false;
  int64_t top_n = 0;
  uint64_t seed = 0;
  bool seeded = false;
};

const char* finish_name(const ChoiceEnd& end) {
  if (end.finish == FinishReason::length) return "length";
  return end.stop_text.empty() ? "eos_token" : "stop_sequence";
}

class TgiCall final : public ServeCall {
 public:
  TgiCall(Api& api, std::shared_ptr<Exchange> exchange, const TgiFields& fields)
      : exchange_(std::move(exchange)),
        fields_(fields),
        tokenizer_(*api.assets.tokenizer),
        names_(&tokenizer_, false) {}

  void on_delta(const ChoiceDelta& delta) override {
    if (!fields_.stream) return;
    begin();
    const ChoiceRecord& record = delta.record.choices[size_t(delta.choice)];
    const bool over = delta.finish != FinishReason::none;
    if (delta.end_token == delta.first_token && !over) return;
    for (size_t i = delta.first_token; i < delta.end_token; ++i) {
      const bool last = over && i + 1 == delta.end_token;
      json::object event{{"index", i + 1}, {"token", token_json(record.ids[i], record.logprobs[i])}};
      if (fields_.top_n > 0) event["top_tokens"] = top_json(record.top[i]);
      event["generated_text"] = nullptr;
      event["details"] = nullptr;
      if (last) {
        event["generated_text"] = delta.running.text(delta.choice).text();
        event["details"] = json::object{{"finish_reason", finish_name(choice_end(delta))},
                                        {"generated_tokens", record.ids.size()},
                                        {"seed", seed()},
                                        {"input_length", delta.record.request.prompt.size()}};
      }
      send(event);
    }
  }

  void on_finished(const std::vector<FinishedPrompt>& prompts) override {
    const FinishedPrompt& prompt = prompts.front();
    if (fields_.stream) {
      begin();
      return exchange_->end_stream();
    }
    json::object answer{{"generated_text", prompt.choices.front().text}};
    if (fields_.details) {
      answer["details"] = details(prompt, prompt.choices.front());
      if (prompt.choices.size() > 1) {
        json::array others;
        for (size_t i = 1; i < prompt.choices.size(); ++i) {
          json::object one = details(prompt, prompt.choices[i]);
          one["generated_text"] = prompt.choices[i].text;
          others.push_back(std::move(one));
        }
        answer["details"].get_object()["best_of_sequences"] = std::move(others);
      }
    }
    respond_json(*exchange_, answer);
  }

  void on_failed(int status, const std::string& message) override {
    const std::string body = tgi_error(status, message, "");
    if (!begun_) return exchange_->respond(status, "application/json", body);
    exchange_->write("data:" + body + "\n\n");
    exchange_->end_stream();
  }

  void on_silence() override {
    if (!fields_.stream) return;
    begin();
    exchange_->write(": waiting\n\n");
  }
  size_t unsent_bytes() const override { return exchange_->unsent_bytes(); }
  void on_overflow() override { exchange_->abort(); }

 private:
  void begin() {
    if (begun_) return;
    begun_ = true;
    exchange_->begin_stream(200, "text/event-stream", {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
  }
  void send(const json::value& event) { exchange_->write("data:" + json::serialize(event) + "\n\n"); }
  json::value seed() const { return fields_.seeded ? json::value(fields_.seed) : json::value(); }

  json::object token_json(int32_t id, float logprob) const {
    return {{"id", id},
            {"text", names_.name(id)},
            {"logprob", json_logprob(logprob)},
            {"special", tokenizer_.is_special(id)}};
  }
  json::array top_json(const std::vector<TokenScore>& top) const {
    json::array list;
    for (const TokenScore& score : top) list.push_back(token_json(score.id, score.logprob));
    return list;
  }

  json::object details(const FinishedPrompt& prompt, const FinishedChoice& choice) const {
    json::array prefill, tokens, top;
    for (size_t i = 0; fields_.prefill && i < prompt.prompt_ids.size(); ++i) {
      const bool scored = i > 0 && i <= prompt.prompt_scores.size();
      json::value logprob;
      if (scored) logprob = json_logprob(prompt.prompt_scores[i - 1].logprob);
      prefill.push_back({{"id", prompt.prompt_ids[i]},
                         {"text", names_.name(prompt.prompt_ids[i])},
                         {"logprob", std::move(logprob)}});
    }
    const ChoiceRecord& record = choice.record;
    for (size_t i = 0; i < record.ids.size(); ++i) {
      tokens.push_back(token_json(record.ids[i], record.logprobs[i]));
      if (fields_.top_n > 0) top.push_back(top_json(record.top[i]));
    }
    json::object object{{"finish_reason", finish_name(choice_end(choice))},
                        {"generated_tokens", record.ids.size()},
                        {"seed", seed()},
                        {"prefill", std::move(prefill)},
                        {"tokens", std::move(tokens)}};
    if (fields_.top_n > 0) object["top_tokens"] = std::move(top);
    return object;
  }

  const std::shared_ptr<Exchange> exchange_;
  const TgiFields fields_;
  const Tokenizer& tokenizer_;
  const TokenNames names_;
  bool begun_ = false;
};

TgiFields take_tgi_fields(json::object& parameters, bool stream) {
  for (const char* name : {"watermark", "grammar", "adapter_id"}) {
    const json::value value = take_field(parameters, name);
    if (!value.is_null() && value != false)
      throw ApiError(400, std::string(name) + " is not supported by this server: leave it out", name);
  }
  TgiFields fields;
  fields.stream = stream;
  fields.details = take_bool_field(parameters, "details").value_or(false);
  fields.prefill = take_bool_field(parameters, "decoder_input_details").value_or(false);
  fields.full_text = take_bool_field(parameters, "return_full_text").value_or(false);
  fields.top_n = take_integer_field(parameters, "top_n_tokens").value_or(0);
  return fields;
}

// TGI is greedy unless something says that it draws; the model's generation_config says nothing there.
void set_tgi_defaults(SamplingFlags& flags, const TgiFields& fields) {
  const bool warps = flags.top_k || flags.top_p || flags.typical_p || flags.temperature.value_or(1.0) != 1.0;
  const bool draws = flags.do_sample.value_or(false) || warps;
  flags.do_sample = draws;
  if (!draws) flags.temperature.reset();
  if (!flags.temperature) flags.temperature = 1.0;
  if (!flags.top_k) flags.top_k = 0;
  if (!flags.top_p) flags.top_p = 1.0;
  if (!flags.repetition_penalty) flags.repetition_penalty = 1.0;
  flags.n.reset();  // its word for several is best_of
  flags.include_stop = true;
  flags.logprobs = fields.top_n;
  if (fields.prefill) flags.prompt_logprobs = 0;
  if (fields.full_text) flags.echo = true;
}

void generate(Api& api, const std::shared_ptr<Exchange>& exchange, bool stream) {
  if (!api.assets.tokenizer) throw ApiError(400, "this server runs without a tokenizer: use /v1/completions with ids");
  json::object body = parse_body(exchange->request().body);
  const json::value inputs = take_field(body, "inputs");
  if (!inputs.is_string()) throw ApiError(400, "inputs is missing: give a text", "inputs");
  json::value parameters = take_field(body, "parameters");
  if (parameters.is_null()) parameters = json::object{};
  if (!parameters.is_object()) throw ApiError(400, "parameters must be an object", "parameters");
  TgiFields tgi = take_tgi_fields(parameters.get_object(), stream);
  CallFields fields;
  fields.truncate_prompt_tokens = take_integer_field(parameters.get_object(), "truncate");
  if (fields.truncate_prompt_tokens && *fields.truncate_prompt_tokens < 1)
    throw ApiError(400, "truncate must be at least 1", "truncate");
  fields.sampling = take_sampling(parameters.get_object());
  ignore_rest(api, std::move(parameters.get_object()));
  ignore_rest(api, std::move(body));
  if (stream && fields.sampling.best_of.value_or(1) > 1)
    throw ApiError(400, "best_of is not for streams: leave it out, or use /generate", "best_of");
  tgi.seeded = fields.sampling.seed.has_value();
  tgi.seed = fields.sampling.seed.value_or(0);
  set_tgi_defaults(fields.sampling, tgi);

  const auto facts = api.job.facts();
  const std::string text(inputs.get_string());
  std::vector<int32_t> ids = truncated(api.assets.encode_text(text), fields, *facts);
  std::vector<ServePrompt> prompts;
  prompts.push_back(prepare_prompt(api, *facts, fields, std::move(ids), kDefaultNewTokens));
  if (tgi.full_text) prompts.front().echo = text;
  api.submit(exchange, std::make_shared<TgiCall>(api, exchange, tgi), std::move(prompts));
}

}  // namespace

void tgi_generate(Api& api, const std::shared_ptr<Exchange>& exchange) { generate(api, exchange, false); }
void tgi_generate_stream(Api& api, const std::shared_ptr<Exchange>& exchange) { generate(api, exchange, true); }

void tgi_info(Api& api, const std::shared_ptr<Exchange>& exchange) {
  const auto facts = api.job.facts();
  respond_json(*exchange, json::object{{"model_id", api.model_name()},
                                       {"model_sha", nullptr},
                                       {"model_dtype", facts->dtype},
                                       {"model_device_type", facts->device},
                                       {"max_concurrent_requests", api.job.options().max_requests},
                                       {"max_best_of", 128},
                                       {"max_stop_sequences", kMaxStopStrings},
                                       {"max_input_tokens", facts->max_model_len - 1},
                                       {"max_total_tokens", facts->max_model_len},
                                       {"max_batch_total_tokens", facts->num_blocks * facts->block_size},
                                       {"router", "trireme"},
                                       {"version", api.options.version}});
}

}  // namespace trireme
