#pragma once
// A model made of hashes. A hidden state depends on everything its row reads through the block tables: token,
// position and the hidden state below, for every position of the sequence, on every stage. So any wrong table, lost
// copy or reused block changes the tokens that follow. The reference computes the same without tables.

#include <cstdint>
#include <vector>

#include "parallel/plan/executor.h"
#include "protocol/events.h"

namespace trireme::test {

struct KvEntry {  // what one position of one KV group holds on one stage
  TokenId token = -1;
  int32_t position = -1;
  uint64_t input = 0;  // of the stage at this position
};

struct ReferenceChoice {
  std::vector<TokenId> ids;
  std::vector<OutputResult> results;  // by id
  FinishReason finish = FinishReason::none;
  bool fails = false;  // the draw after the last id gives nothing usable
};

struct ReferenceAnswer {
  std::vector<ReferenceChoice> choices;
  std::vector<std::vector<TokenId>> beams;  // outputs of every beam that ever ran
  std::vector<OutputResult> scores;  // by prompt position; the first is empty
};

class FakeModel {
 public:
  // One hidden state in `non_finite_period` gives logits that are not finite; 0: none.
  FakeModel(const ClusterInfo& cluster, uint64_t seed, int non_finite_period);

  uint64_t embed(TokenId token, int32_t position, int32_t adapter) const;
  uint64_t attend(size_t group, int32_t position, const KvEntry& entry) const;  // summed over positions and groups
  uint64_t layer(int stage, uint64_t input, uint64_t attended) const;
  uint64_t count(TokenId id, bool in_prompt) const;  // summed over a history: penalties

  // Ids that may not come next.
  struct Bans {
    std::vector<TokenId> ids;
    std::vector<TokenId> allowed;  // empty: all
    bool allow(TokenId id) const;
  };
  OutputResult draw(uint64_t hidden, const SlotSampling& sampling, int32_t position, uint64_t counts, const Bans& bans,
                    int top) const;
  OutputResult candidates(uint64_t hidden, const SlotSampling& sampling, uint64_t counts, const Bans& bans, int count,
                          int top) const;
  OutputResult score(uint64_t hidden, TokenId target, int top) const;

  ReferenceAnswer answer(const Request& request) const;  // unbatched, from the prompt on, as if nothing was emitted
  const ClusterInfo& cluster() const { return cluster_; }

 private:
  ReferenceAnswer answer_beams(const Request& request) const;
  OutputResult judge(uint64_t hidden, TokenId id, int top) const;

  ClusterInfo cluster_;
  uint64_t seed_;
  uint64_t non_finite_period_;
};

}  // namespace trireme::test
