#pragma once
// Ids that may not be drawn next because of what stands before: no_repeat_ngram_size and bad_words, as Hugging Face's
// NoRepeatNGramLogitsProcessor and NoBadWordsLogitsProcessor define them. Pure functions; nothing is kept between steps.

#include <span>

#include "parallel/plan/plan.h"
#include "protocol/request.h"

namespace trireme {

// Whether what is banned depends on the ids before it, so that the host has to know them.
bool has_moving_bans(const Request& request);

// The ids banned behind `history` (prompt and output), ascending, each once.
std::vector<TokenId> moving_bans(const Request& request, std::span<const TokenId> history);

// What holds from the first draw to the last: logit_bias, bad words of one id, allowed_token_ids.
SlotLists standing_lists(const Request& request);

}  // namespace trireme
