#pragma once
// What a front would remember of every request, held against the reference as events arrive.

#include <map>
#include <set>

#include "tests/coordinator/support/fake_model.h"

namespace trireme::test {

class Ledger {
 public:
  explicit Ledger(const FakeModel& model) : model_(model) {}

  void note(const EngineCommand& command);  // given to the engine
  void note(const EngineEvent& event);      // got from it; CHECKs it
  void check_complete() const;              // every request has ended

 private:
  struct Choice {
    int32_t emitted = 0;  // ids, those of the earlier attempt included
    bool ended = false;
    bool started = false;
  };
  struct Entry {
    Request request;
    ReferenceAnswer answer;
    std::vector<Choice> choices;
    int32_t next_score = 1;
    bool cancelled = false, failed = false;
    bool ended() const;
  };
  void note_token(const TokenEvent& event);
  void note_scores(const PromptLogprobsEvent& event);
  void note_failure(const RequestFailedEvent& event);
  bool can_never_run(const Request& request) const;
  int32_t most_cached(const Entry& entry, int32_t choice) const;

  const FakeModel& model_;
  std::map<RequestId, Entry> entries_;
  size_t max_open_ = 0;
  bool stopping_ = false, dropping_ = false;
};

}  // namespace trireme::test
