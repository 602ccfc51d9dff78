#include "coordinator/running_sequences.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

SequencePtr sequence_of(int32_t priority, int64_t arrival, int32_t choice = 0) {
  auto sequence = std::make_shared<Sequence>(std::make_shared<const Request>());
  sequence->order = {priority, arrival, choice};
  return sequence;
}

TEST(RunningSequences, StayInOrderHoweverTheyComeAndGo) {
  RunningSequences running;
  const std::vector<SequencePtr> given = {sequence_of(0, 7), sequence_of(-1, 9), sequence_of(0, 2, 1), sequence_of(0, 2)};
  for (const SequencePtr& sequence : given) running.emplace(sequence->order, sequence);
  running.erase({0, 3, 0});  // not there
  running.erase(given[2]->order);
  std::vector<SequencePtr> found;
  for (const auto& [order, sequence] : running) found.push_back(sequence);
  EXPECT_EQ(found, (std::vector<SequencePtr>{given[1], given[3], given[0]}));
  EXPECT_EQ(running.rbegin()->second, given[0]);
  EXPECT_EQ(running.size(), 3u);
}

TEST(RunningSequences, ASequenceRunsOnce) {
  RunningSequences running;
  const SequencePtr sequence = sequence_of(0, 1);
  running.emplace(sequence->order, sequence);
  EXPECT_THROW(running.emplace(sequence->order, sequence), InternalError);
}

// The few bits only spare a look at the lists: ids that share one end nothing.
TEST(Sequence, EndsByItsIdsAndNotByOthersOfTheSameBit) {
  auto request = std::make_shared<Request>();
  request->prompt = {1};
  request->eos_token_ids = {5};
  request->sampling.stop_token_ids = {70};
  Sequence sequence(request);
  sequence.max_length = 100;
  for (const auto& [id, reason] : {std::pair(5 + 64, FinishReason::none), std::pair(6, FinishReason::none),
                                   std::pair(5, FinishReason::stop), std::pair(70, FinishReason::stop)}) {
    sequence.tokens = {1, id};
    EXPECT_EQ(sequence.finish_reason(), reason) << id;
  }
  request->sampling.ignore_eos = true;
  Sequence stubborn(request);
  stubborn.max_length = 100;
  stubborn.tokens = {1, 5};
  EXPECT_EQ(stubborn.finish_reason(), FinishReason::none);
}

}  // namespace
}  // namespace trireme
