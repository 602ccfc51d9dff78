#pragma once
// One prompt's answer, whole.

#include <string>
#include <vector>

#include "gateway/ledger.h"
#include "gateway/sampling_flags.h"
#include "text/tokenizer.h"

namespace trireme {

struct FinishedChoice {
  ChoiceRecord record;  // cut to the tokens that count
  std::string text;     // behind the prompt's with echo
  FinishReason finish = FinishReason::none;
};

struct FinishedPrompt {
  size_t index = 0;
  std::string prompt;  // as given; the rendered text of a chat
  std::vector<int32_t> prompt_ids;
  OutputOptions output;
  std::vector<TokenScore> prompt_scores;            // of position 1.. of the prompt, if asked for
  std::vector<std::vector<TokenScore>> prompt_top;  // likewise
  std::vector<FinishedChoice> choices;              // beams and those of best_of: best first
  std::string error;                                // not empty: this prompt failed, and why
  int32_t cached_tokens = 0;                        // prompt tokens a prefix hit spared
  int64_t generated_tokens = 0;                     // of all choices, those of best_of that are not returned as well
};

void cut(ChoiceRecord& record, size_t tokens);  // keeps at most that many

// The `count` best by log-probability per token, best first (best_of); nothing generated is the worst.
void keep_best(std::vector<FinishedChoice>& choices, size_t count);

// What the first id of an output loses where decoders drop a leading space; behind a prompt it is there.
std::string dropped_space(const Tokenizer& tokenizer, int32_t first);

}  // namespace trireme
