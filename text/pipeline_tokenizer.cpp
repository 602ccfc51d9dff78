#include "text/pipeline_tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace trireme {
namespace {

constexpr int32_t kMaxAddedId = 16 << 20;
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

}  // namespace

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts)
    : parts_(std::move(parts)), raw_finder_(select(parts_, false)), normalized_finder_(select(parts_, true)) {
  const Vocabulary& vocabulary = parts_.model->vocabulary();
  for (int32_t id = 0; id < vocabulary.size(); ++id) tokens_.push_back(vocabulary.token(id));
  for (const AddedToken& token : parts_.added_tokens) {
    if (token.id < 0 || token.id > kMaxAddedId || token.content.empty() || token.content.size() > kMaxAddedBytes)
      throw CheckpointError("added token \"" + token.content.substr(0, 100) + "\" with id " + std::to_string(token.id) +
                            ": ids go from 0 to " + std::to_string(kMaxAddedId) + ", contents from 1 to " +
                            std::to_string(kMaxAddedBytes) + " bytes");
    if (size_t(token.id) >= tokens_.size()) tokens_.resize(size_t(token.id) + 1);
    tokens_[size_t(token.id)] = token.content;
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
  std::vector<Segment> segments;
  raw_finder_.split(text, options.parse_special, segments);
  std::vector<int32_t> ids;
  for (const Segment& segment : segments) {
    if (segment.id >= 0)
      ids.push_back(segment.id);
    else
      encode_plain(segment.text, options.parse_special, ids);
  }
  if (options.add_special_tokens && parts_.post_processor) parts_.post_processor->apply(ids);
  return ids;
}

void PipelineTokenizer::encode_plain(std::string_view text, bool parse_special, std::vector<int32_t>& ids) const {
  const std::string normalized = parts_.normalizer ? parts_.normalizer->normalize(text) : std::string(text);
  std::vector<Segment> segments;
  normalized_finder_.split(normalized, parse_special, segments);
  for (const Segment& segment : segments) {
    if (segment.id >= 0)
      ids.push_back(segment.id);
    else
      encode_pieces(segment.text, ids);
  }
}

void PipelineTokenizer::encode_pieces(std::string_view normalized, std::vector<int32_t>& ids) const {
  PiecedText pieced{std::string(normalized), {{0, normalized.size()}}};
  if (parts_.pre_tokenizer) parts_.pre_tokenizer->apply(pieced);
  for (const Span& piece : pieced.pieces)
    parts_.model->encode(std::string_view(pieced.text).substr(piece.begin, piece.size()), ids);
}

std::string PipelineTokenizer::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  Utf8Repair repair;
  std::string text;
  bool first = true;
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size() || (skip_special && is_special(id))) continue;
    repair.append(bytes_of(id, first), text);
    first = false;
  }
  repair.finish(text);
  return text;
}

std::string PipelineTokenizer::bytes_of(int32_t id, bool first) const {
  if (id < 0 || id >= vocab_size()) return {};
  const std::string& token = tokens_[size_t(id)];
  if (!parts_.decoder) return first ? token : " " + token;
  return parts_.decoder->token_bytes(token, first);
}

std::string PipelineTokenizer::token_bytes(int32_t id) const { return bytes_of(id, false); }
std::string PipelineTokenizer::first_token_bytes(int32_t id) const { return bytes_of(id, true); }

std::string PipelineTokenizer::token_text(int32_t id) const {
  return id < 0 || id >= vocab_size() ? std::string() : tokens_[size_t(id)];
}

int32_t PipelineTokenizer::token_id(std::string_view token) const {
  if (const auto found = added_ids_.find(std::string(token)); found != added_ids_.end()) return found->second;
  return parts_.model->vocabulary().find(token);
}

bool PipelineTokenizer::is_special(int32_t id) const { return id >= 0 && id < vocab_size() && special_[size_t(id)]; }

}  // namespace trireme
