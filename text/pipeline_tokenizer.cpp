#include "text/pipeline_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace trireme {
namespace {

constexpr int64_t kMaxHoles = 1 << 20;  // ids without a token
constexpr size_t kMaxAddedBytes = 4096;
constexpr size_t kMaxTextBytes = size_t(1) << 30;  // offsets and ids of one piece fit in int32

std::vector<AddedToken> select(const TokenizerParts& parts, bool normalized) {
  std::vector<AddedToken> tokens;
  for (AddedToken token : parts.added_tokens) {
    if (token.normalized != normalized) continue;
    if (normalized && parts.normalizer) token.content = parts.normalizer->normalize(token.content);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void check_spans(std::string_view text, std::span<const TextSpan> spans) {
  size_t end = 0;
  for (const TextSpan& span : spans) {
    CHECK(span.begin >= end && span.end >= span.begin && span.end <= text.size())
        << "untrusted spans must be in order, apart and within the text";
    end = span.end;
  }
}

// The parts of spans that lie in text[offset, offset + size), counted from offset.
std::vector<TextSpan> inside(std::span<const TextSpan> spans, size_t offset, size_t size) {
  std::vector<TextSpan> out;
  auto span = std::partition_point(spans.begin(), spans.end(), [&](const TextSpan& s) { return s.end <= offset; });
  for (; span != spans.end() && span->begin < offset + size; ++span) {
    const size_t begin = std::max(span->begin, offset), end = std::min(span->end, offset + size);
    if (begin < end) out.push_back({begin - offset, end - offset});
  }
  return out;
}

// Where spans of `text` lie in the normalized text: as far in as what stands before them is long when normalized.
// What a normalizer joins across a border counts as untrusted.
void move_to_normalized(std::vector<TextSpan>& spans, std::string_view text, const Normalizer& normalizer) {
  const auto moved = [&](size_t at) { return normalizer.normalize(text.substr(0, at)).size(); };
  size_t previous_end = 0;
  for (TextSpan& span : spans) {
    const size_t begin = moved(span.begin), end = moved(span.end);
    span = {std::max(previous_end, begin), std::max(previous_end, end)};
    previous_end = span.end;
  }
}

class StagedDecodeStream final : public DecodeStream {
 public:
  StagedDecodeStream(const PipelineTokenizer& tokenizer, const Decoder& decoder, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {
    decoder.append_stages(stages_);
    for (size_t i = 0; i < stages_.size(); ++i)
      stages_[i]->set_next(i + 1 < stages_.size() ? stages_[i + 1].get() : &output_);
    first_ = stages_.empty() ? &output_ : stages_.front().get();
  }

  std::string add(int32_t id) override {
    const std::string_view token = tokenizer_.decoded_token(id);
    if (token.empty() || (skip_special_ && tokenizer_.is_special(id))) return {};
    first_->write(token);
    first_->end_token();
    return std::exchange(output_.text, {});
  }
  std::string finish() override {
    if (!std::exchange(finished_, true)) first_->finish();
    return std::exchange(output_.text, {});
  }

 private:
  struct Output final : DecodeStage {
    void write(std::string_view part) override { text += part; }
    void end_token() override {}
    void finish() override {}
    std::string text;
  };

  const PipelineTokenizer& tokenizer_;
  bool skip_special_, finished_ = false;
  DecodeStages stages_;
  Output output_;
  DecodeStage* first_ = nullptr;
};

}  // namespace

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts)
    : parts_(std::move(parts)), raw_finder_(select(parts_, false)), normalized_finder_(select(parts_, true)) {
  if (!parts_.decoder) parts_.decoder = make_joining_decoder();
  if (parts_.pre_tokenizer && parts_.model->takes_raw_bytes() && parts_.pre_tokenizer->leave_raw_bytes())
    parts_.model->take_raw_bytes();
  const Vocabulary& vocabulary = parts_.model->vocabulary();
  for (int32_t id = 0; id < vocabulary.size(); ++id) tokens_.push_back(vocabulary.token(id));
  const int64_t max_id = int64_t(tokens_.size() + parts_.added_tokens.size()) + kMaxHoles;
  for (const AddedToken& token : parts_.added_tokens) {
    if (token.id < 0 || token.id > max_id || token.content.empty() || token.content.size() > kMaxAddedBytes)
      throw CheckpointError("added token \"" + token.content.substr(0, 100) + "\" with id " + std::to_string(token.id) +
                            ": ids go from 0 to " + std::to_string(max_id) + ", contents from 1 to " +
                            std::to_string(kMaxAddedBytes) + " bytes");
    if (size_t(token.id) >= tokens_.size()) tokens_.resize(size_t(token.id) + 1);
    tokens_[size_t(token.id)] = token.content;
    if (token.normalized && parts_.normalizer)
      normalized_tokens_[token.id] = parts_.normalizer->normalize(token.content);
    added_ids_.emplace(token.content, token.id);
  }
  special_.resize(tokens_.size());
  for (const AddedToken& token : parts_.added_tokens) special_[size_t(token.id)] = token.special;
}

std::vector<int32_t> PipelineTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes)
    throw RequestError("the text has " + std::to_string(text.size()) + " bytes, at most " +
                       std::to_string(kMaxTextBytes) + " are accepted");
  if (const size_t at = find_invalid_utf8(text); at != kValidUtf8)
    throw RequestError("the text is not valid UTF-8 at byte " + std::to_string(at));
  check_spans(text, options.untrusted);
  const TextSpan all{0, text.size()};
  const auto untrusted = options.parse_special ? options.untrusted : std::span<const TextSpan>(&all, 1);
  std::vector<Segment> segments;
  raw_finder_.split(text, untrusted, segments);
  std::vector<int32_t> ids;
  for (const Segment& segment : segments) {
    if (segment.id >= 0)
      ids.push_back(segment.id);
    else
      encode_plain(segment.text, size_t(segment.text.data() - text.data()), untrusted, ids);
  }
  if (options.add_special_tokens && parts_.post_processor) parts_.post_processor->apply(ids);
  return ids;
}

void PipelineTokenizer::encode_plain(std::string_view text, size_t offset, std::span<const TextSpan> untrusted,
                                     std::vector<int32_t>& ids) const {
  std::string changed;
  if (parts_.normalizer) changed = parts_.normalizer->normalize(text);
  const std::string_view normalized = parts_.normalizer ? changed : text;
  std::vector<TextSpan> spans;
  if (normalized_finder_.has_special()) {
    spans = inside(untrusted, offset, text.size());
    if (normalized != text) move_to_normalized(spans, text, *parts_.normalizer);
  }
  std::vector<Segment> segments;
  normalized_finder_.split(normalized, spans, segments);
  for (const Segment& segment : segments) {
    if (segment.id >= 0)
      ids.push_back(segment.id);
    else
      encode_pieces(segment.text, offset == 0 && segment.text.data() == normalized.data(), ids);
  }
}

void PipelineTokenizer::encode_pieces(std::string_view normalized, bool at_start, std::vector<int32_t>& ids) const {
  PiecedText pieced{std::string(normalized), {{0, normalized.size()}}, at_start};
  if (parts_.pre_tokenizer) parts_.pre_tokenizer->apply(pieced);
  for (const Span& piece : pieced.pieces)
    parts_.model->encode(std::string_view(pieced.text).substr(piece.begin, piece.size()), ids);
}

std::unique_ptr<DecodeStream> PipelineTokenizer::start_decoding(bool skip_special) const {
  return std::make_unique<StagedDecodeStream>(*this, *parts_.decoder, skip_special);
}

std::string PipelineTokenizer::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  StagedDecodeStream stream(*this, *parts_.decoder, skip_special);
  std::string text;
  for (const int32_t id : ids) text += stream.add(id);
  return text + stream.finish();
}

std::string PipelineTokenizer::bytes_of(int32_t id, bool first) const {
  if (id < 0 || id >= vocab_size()) return {};
  return parts_.decoder->token_bytes(decoded_token(id), first);
}

std::string PipelineTokenizer::token_bytes(int32_t id) const { return bytes_of(id, false); }
std::string PipelineTokenizer::first_token_bytes(int32_t id) const { return bytes_of(id, true); }

std::string_view PipelineTokenizer::token(int32_t id) const {
  return id < 0 || id >= vocab_size() ? std::string_view() : tokens_[size_t(id)];
}
std::string_view PipelineTokenizer::decoded_token(int32_t id) const {
  const auto found = normalized_tokens_.find(id);
  return found == normalized_tokens_.end() ? token(id) : found->second;
}
std::string PipelineTokenizer::token_text(int32_t id) const { return std::string(token(id)); }

int32_t PipelineTokenizer::token_id(std::string_view token) const {
  if (const auto found = added_ids_.find(std::string(token)); found != added_ids_.end()) return found->second;
  return parts_.model->vocabulary().find(token);
}

bool PipelineTokenizer::is_special(int32_t id) const { return id >= 0 && id < vocab_size() && special_[size_t(id)]; }

}  // namespace trireme
