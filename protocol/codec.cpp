#include "protocol/codec.h"

#include <cstring>

#include "protocol/wire.h"

namespace trireme {

using wire::Is;

// The field lists, in the order of the bytes; wire::Writer and wire::Reader find them by argument-dependent lookup.

constexpr Phase last_enumerator(Phase) { return Phase::stopping; }
constexpr FinishReason last_enumerator(FinishReason) { return FinishReason::error; }
constexpr FailureKind last_enumerator(FailureKind) { return FailureKind::environment; }
constexpr EarlyStopping last_enumerator(EarlyStopping) { return EarlyStopping::never; }

auto members(Is<TokenScore> auto& m) { return std::tie(m.id, m.logprob); }
auto members(Is<TokenEvent> auto& m) {
  return std::tie(m.request, m.choice, m.index, m.token, m.rank, m.top, m.finish, m.stop_id, m.cached_tokens,
                  m.beam_score, m.stop_text);
}
auto members(Is<PromptLogprobsEvent> auto& m) { return std::tie(m.request, m.first_position, m.tokens, m.top); }
auto members(Is<RequestFailedEvent> auto& m) { return std::tie(m.request, m.client_fault, m.message); }
auto members(Is<EngineStats> auto& m) {
  return std::tie(m.running, m.waiting, m.blocks_total, m.blocks_free, m.blocks_cached, m.prompt_tokens,
                  m.generated_tokens, m.preemptions, m.prefix_queries, m.prefix_hits, m.padded_tokens, m.steps,
                  m.device_seconds, m.engine_cpu_seconds, m.worker_cpu_seconds);
}
auto members(Is<TokenBias> auto& m) { return std::tie(m.id, m.bias); }
auto members(Is<SamplingParams> auto& m) {
  return std::tie(m.temperature, m.top_k, m.top_p, m.min_p, m.typical_p, m.repetition_penalty, m.penalize_prompt,
                  m.presence_penalty, m.frequency_penalty, m.no_repeat_ngram_size, m.seed, m.n, m.max_new_tokens,
                  m.min_new_tokens, m.top_logprobs, m.prompt_logprobs, m.ignore_eos, m.stop_token_ids, m.bad_words,
                  m.allowed_token_ids, m.logit_bias, m.beam_width, m.length_penalty, m.early_stopping);
}
auto members(Is<EmittedChoice> auto& m) { return std::tie(m.choice, m.finished, m.ids); }
auto members(Is<Request> auto& m) {
  return std::tie(m.id, m.prompt, m.sampling, m.eos_token_ids, m.adapter, m.cache_salt, m.priority, m.emitted,
                  m.beam_stop);
}
auto members(Is<SubmitCommand> auto& m) { return std::tie(m.request); }
auto members(Is<CancelCommand> auto& m) { return std::tie(m.request, m.choice); }
auto members(Is<ShutdownCommand> auto& m) { return std::tie(m.drain); }
auto members(Is<Hello> auto& m) { return std::tie(m.key, m.rank, m.world, m.pid, m.host, m.gpu); }
auto members(Is<Beat> auto& m) { return std::tie(m.phase, m.step, m.counter, m.operation, m.loaded, m.waited_ns); }
auto members(Is<LogLine> auto& m) { return std::tie(m.level, m.line); }
auto members(Is<Failure> auto& m) { return std::tie(m.kind, m.rank, m.step, m.operation, m.text); }
auto members(Is<EngineFacts> auto& m) {
  return std::tie(m.vocab_size, m.max_model_len, m.num_blocks, m.block_size, m.num_slots, m.max_batched_tokens, m.tp,
                  m.pp, m.device, m.dtype, m.activation_dtype, m.load_seconds, m.weight_bytes, m.memory_bytes,
                  m.kv_bytes_per_token, m.memory_bandwidth);
}
auto members(Is<EventBatch> auto& m) { return std::tie(m.events); }
auto members(Is<Announce> auto& m) { return std::tie(m.step, m.requests); }
auto members(Is<Stopped> auto&) { return std::tuple<>(); }
auto members(Is<Welcome> auto&) { return std::tuple<>(); }
auto members(Is<Keepalive> auto&) { return std::tuple<>(); }

namespace {

// First byte after the two words: which direction and which message.
constexpr uint8_t first_kind(const RankMessage*) { return 1; }
constexpr uint8_t first_kind(const FrontMessage*) { return 65; }

template <typename Message>
void append(std::string& out, const Message& message, uint32_t attempt) {
  const size_t start = out.size();
  wire::Writer writer(out);
  writer.write(uint32_t(0));
  writer.write(attempt);
  writer.write(uint8_t(first_kind(&message) + message.index()));
  std::visit([&writer](const auto& value) { writer.write(value); }, message);
  writer.flush();
  const size_t payload = out.size() - start - kFrameHeaderBytes;
  if (payload > kMaxFrameBytes) {
    out.resize(start);
    throw WireError("a message of " + std::to_string(payload) + " bytes is too long to send");
  }
  const uint32_t length = uint32_t(payload);
  std::memcpy(out.data() + start, &length, sizeof length);
}

// Reads the payload into the alternative that `kind` names.
template <typename Message, size_t... I>
bool read_message(Message& message, size_t index, wire::Reader& reader, std::index_sequence<I...>) {
  return ((index == I && (reader.read(message.template emplace<I>()), true)) || ...);
}

}  // namespace

void append_frame(std::string& out, const RankMessage& message, uint32_t attempt) { append(out, message, attempt); }
void append_frame(std::string& out, const FrontMessage& message, uint32_t attempt) { append(out, message, attempt); }

template <typename Message>
std::optional<Message> FrameReader<Message>::next() {
  const std::string_view rest = std::string_view(buffer_).substr(used_);
  if (rest.size() < kFrameHeaderBytes) return std::nullopt;
  uint32_t length = 0, attempt = 0;
  std::memcpy(&length, rest.data(), 4);
  std::memcpy(&attempt, rest.data() + 4, 4);
  if (length > max_frame_bytes_) throw WireError("malformed frame: " + std::to_string(length) + " bytes announced");
  if (attempt != attempt_)
    throw WireError("a frame of attempt " + std::to_string(attempt) + " on attempt " + std::to_string(attempt_));
  if (rest.size() < kFrameHeaderBytes + length) return std::nullopt;

  Message message;
  wire::Reader reader(rest.substr(kFrameHeaderBytes, length));
  const size_t index = size_t(uint8_t(rest[8])) - first_kind(&message);
  if (!read_message(message, index, reader, std::make_index_sequence<std::variant_size_v<Message>>{}))
    throw WireError("malformed frame: unknown kind " + std::to_string(uint8_t(rest[8])));
  if (!reader.at_end()) throw WireError("malformed frame: bytes after the last field");

  used_ += kFrameHeaderBytes + length;
  if (used_ == buffer_.size() || used_ > (size_t(1) << 20)) {  // move the rest forward now and then, not per frame
    buffer_.erase(0, used_);
    used_ = 0;
  }
  return message;
}

template class FrameReader<RankMessage>;
template class FrameReader<FrontMessage>;

}  // namespace trireme
