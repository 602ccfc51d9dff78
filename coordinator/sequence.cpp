#include "coordinator/sequence.h"

#include <algorithm>

namespace trireme {

FinishReason Sequence::finish_reason() const {
  if (num_drawn() == 0) return only_scores() && !needs_scores() ? FinishReason::length : FinishReason::none;
  const TokenId last = tokens.back();
  const bool is_eos = std::ranges::count(request->eos_token_ids, last) > 0 && !request->sampling.ignore_eos;
  if (is_eos || std::ranges::count(request->sampling.stop_token_ids, last) > 0) return FinishReason::stop;
  return int32_t(tokens.size()) >= max_length ? FinishReason::length : FinishReason::none;
}

}  // namespace trireme
