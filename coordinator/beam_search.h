#pragma once
// Beam search as Hugging Face's generate runs it (transformers 5, GenerationMixin._beam_search, without sampling), for
// one request: which beams go on with which ids, which are finished, and when it is over. Float32 in its order of
// operations, so that scores agree to the last bits. Pure: knows ids and scores, no slots and no blocks. One thread.
//
// Each step every running beam brings its best next ids by processed log-probability. The best
// K = max(2, 1 + end ids) x width of them over all beams are candidates; those that end (end id, stop text, length) and
// are among the best `width` are finished with score (sum of log-probabilities) / length^length_penalty, of which the
// best `width` are kept; the best `width` of the others run on.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/plan/plan.h"
#include "protocol/events.h"
#include "text/tokenizer.h"

namespace trireme {

struct BeamToken {
  TokenScore token;  // with the raw log-probability
  std::vector<TokenScore> top;
};

struct FinishedBeam {
  std::vector<BeamToken> tokens;  // of the output, the ending id included
  float score = 0;
  FinishReason reason = FinishReason::none;
  std::string stop_text;
};

class BeamSearch {
 public:
  // max_new_tokens: what the request may still give at most. tokenizer: null where it has no stop strings.
  BeamSearch(const Request& request, int32_t max_new_tokens, const Tokenizer* tokenizer);

  struct Next {
    int32_t parent = 0;  // index among the beams that ran
    TokenId id = -1;
  };
  // results[b]: what was computed for running beam b, with its candidates. Returns the beams that run from now on;
  // none when the search is over.
  std::vector<Next> advance(std::span<const OutputResult> results);

  size_t num_running() const { return running_.size(); }
  int32_t candidates_per_beam() const { return num_candidates_; }
  // At most n, best first; fewer only where masks and bans left no way to go on.
  std::vector<FinishedBeam> best(size_t n) const;

 private:
  struct Node {  // outputs share their beginnings
    std::shared_ptr<const Node> before;
    BeamToken token;
  };
  struct Beam {
    std::shared_ptr<const Node> last;
    float score = 0;
  };
  struct Extension {  // a candidate over all beams
    int32_t parent = 0;
    Candidate candidate;
    float score = 0;  // of the sequence with it
    FinishReason ends = FinishReason::none;
    std::string stop_text;
  };
  struct Finished {
    std::shared_ptr<const Node> last;  // null: nothing has finished in this place yet
    float score = 0;
    FinishReason reason = FinishReason::none;
    std::string stop_text;
  };

  std::vector<Extension> best_extensions(std::span<const OutputResult> results) const;
  void judge_end(Extension& extension, std::span<const TokenId> before) const;
  std::vector<TokenId> last_ids(const Beam& beam) const;
  std::vector<Extension> choose_running(const std::vector<Extension>& extensions) const;
  void keep_finished(const std::vector<Extension>& extensions, std::span<const OutputResult> results);
  bool may_improve() const;
  bool all_finished() const;
  std::shared_ptr<const Node> extend(const Extension& extension, std::span<const OutputResult> results) const;
  float length_divisor(int32_t length) const;

  std::vector<TokenId> end_ids_;
  int32_t width_, num_candidates_, max_new_tokens_;
  float length_penalty_;
  EarlyStopping early_stopping_;
  std::vector<std::string> stops_;
  const Tokenizer* tokenizer_;
  int32_t length_ = 0;  // of the running beams' outputs
  std::vector<Beam> running_;
  std::vector<Finished> finished_;  // `width` places, best first
  bool improvable_ = true;          // once false it stays so
};

}  // namespace trireme
