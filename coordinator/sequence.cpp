#include "coordinator/sequence.h"

#include <algorithm>
#include <utility>

namespace trireme {

static uint64_t id_bit(TokenId id) { return uint64_t(1) << (uint32_t(id) % 64); }

Sequence::Sequence(std::shared_ptr<const Request> of)
    : top_logprobs(uint8_t(std::max(0, of->sampling.top_logprobs))),
      min_new_tokens(of->sampling.min_new_tokens),
      request_id(of->id),
      prompt_tokens(int32_t(of->prompt.size())),
      request(std::move(of)) {
  const SamplingParams& sampling = request->sampling;
  for (const TokenId id : sampling.stop_token_ids) ending_ids |= id_bit(id);
  if (sampling.ignore_eos) return;
  for (const TokenId id : request->eos_token_ids) ending_ids |= id_bit(id);
}

FinishReason Sequence::finish_reason() const {
  if (num_drawn() == 0) return only_scores() && !needs_scores() ? FinishReason::length : FinishReason::none;
  const TokenId last = tokens.back();
  if (ending_ids & id_bit(last)) {
    const bool is_eos = std::ranges::count(request->eos_token_ids, last) > 0 && !request->sampling.ignore_eos;
    if (is_eos || std::ranges::count(request->sampling.stop_token_ids, last) > 0) return FinishReason::stop;
  }
  return int32_t(tokens.size()) >= max_length ? FinishReason::length : FinishReason::none;
}

}  // namespace trireme
