// Every pair of generation's features in one run (tests/runtime/support/pair_matrix.h): its outputs equal those of the
// same requests one at a time on one rank, in an ample pool, unchunked and without a prefix cache. The one-rank world
// writes these to a file and is compared, too; ctest runs it first. CPU only: docs/design.md 4 says why.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/runtime/support/pair_matrix.h"
#include "tests/support/ranks.h"

namespace trireme::test {
namespace {

constexpr const char* kModel = "tiny-llama";

// What a choice, or a prompt, came to: ids and words, which must be equal, and scores, equal up to 1e-6.
struct Outcome {
  std::string words;
  std::vector<float> scores;
};
using Outcomes = std::map<std::string, Outcome>;

void add_scores(Outcome& outcome, std::ostringstream& words, const std::vector<TokenScore>& scores) {
  for (const TokenScore& score : scores) {
    words << ' ' << score.id;
    outcome.scores.push_back(score.logprob);
  }
  words << ';';
}

Outcome outcome_of(const GeneratedChoice& choice) {
  Outcome outcome;
  std::ostringstream words;
  words << finish_reason_name(choice.finish) << " '" << choice.stop_text << "':";
  for (int32_t id : choice.ids) words << ' ' << id;
  words << " top:";
  for (const std::vector<TokenScore>& top : choice.top) add_scores(outcome, words, top);
  outcome.scores.insert(outcome.scores.end(), choice.logprobs.begin(), choice.logprobs.end());
  outcome.scores.push_back(choice.beam_score);
  outcome.words = words.str();
  return outcome;
}

Outcomes outcomes_of(const Generated& generated) {
  Outcomes outcomes;
  for (const auto& [key, choice] : generated.choices)
    outcomes[std::to_string(key.first) + "." + std::to_string(key.second)] = outcome_of(choice);
  for (const auto& [id, scores] : generated.prompt_logprobs) {
    Outcome& outcome = outcomes[std::to_string(id) + ".prompt"];
    std::ostringstream words;
    add_scores(outcome, words, scores);
    for (const std::vector<TokenScore>& top : generated.prompt_top.at(id)) add_scores(outcome, words, top);
    outcome.words = words.str();
  }
  return outcomes;
}

std::string reference_file() {
  const char* folder = std::getenv("TRIREME_IDENTITY_FOLDER");
  return std::string(folder ? folder : ".") + "/pair-matrix.txt";
}

void write_outcomes(const Outcomes& outcomes) {
  std::ofstream file(reference_file());
  file.precision(9);
  for (const auto& [key, outcome] : outcomes) {
    file << key << '\n' << outcome.words << '\n' << outcome.scores.size();
    for (float score : outcome.scores) file << ' ' << score;
    file << '\n';
  }
}

Outcomes read_outcomes() {
  std::ifstream file(reference_file());
  EXPECT_TRUE(file) << "run the one-rank test first: it writes " << reference_file();
  Outcomes outcomes;
  for (std::string key; std::getline(file, key);) {
    Outcome& outcome = outcomes[key];
    size_t count = 0;
    std::getline(file, outcome.words);
    file >> count;
    outcome.scores.resize(count);
    for (float& score : outcome.scores) file >> score;
    file.ignore();
  }
  return outcomes;
}

int32_t vocab_size() { return int32_t(open_model_assets(model_path(kModel), false).checkpoint.config.vocab_size); }

class PairMatrix : public ::testing::TestWithParam<PairCase> {
 protected:
  static void SetUpTestSuite() {
    vocab_ = vocab_size();
    if (world_size() == 1) {
      std::vector<StopRequest> requests;
      for (const PairCase& pair : pair_cases())
        for (StopRequest& each : pair_requests(pair, vocab_)) requests.push_back(std::move(each));
      write_outcomes(outcomes_of(generate(alone(kModel, {}), requests)));
    }
    if (world_rank() == 0) expected_ = read_outcomes();
  }
  static int32_t vocab() { return vocab_; }

  static void expect_reference(const Generated& generated) {
    for (const auto& [key, got] : outcomes_of(generated)) {
      SCOPED_TRACE("request.choice " + key);
      ASSERT_TRUE(expected_.contains(key));
      const Outcome& expected = expected_[key];
      ASSERT_EQ(got.words, expected.words);
      ASSERT_EQ(got.scores.size(), expected.scores.size());
      for (size_t i = 0; i < got.scores.size(); ++i) EXPECT_NEAR(got.scores[i], expected.scores[i], 1e-6) << i;
    }
  }

  // The features were really in use.
  static void expect_features(const PairCase& pair, const std::vector<StopRequest>& requests,
                              const Generated& generated) {
    const auto& choices = generated.choices;
    EXPECT_EQ(choices.size(), size_t(kPairRequests * (pair.has(Feature::choices) ? 3 : 1)));
    const auto all = [&](auto&& holds) {
      return std::ranges::all_of(choices, [&](const auto& entry) { return holds(entry.second); });
    };
    EXPECT_EQ(all([](const GeneratedChoice& choice) { return choice.beam_score != 0; }), pair.has(Feature::beam));
    EXPECT_EQ(generated.stats.preemptions > 0, pair.has(Feature::preemption));
    // Preempted beams find their shared beginnings through the cache whether or not it is on.
    if (!(pair.has(Feature::beam) && pair.has(Feature::preemption))) {
      EXPECT_EQ(generated.stats.prefix_hits > 0, pair.has(Feature::prefix_cache));
    }
    EXPECT_EQ(generated.prompt_logprobs.size(), pair.has(Feature::prompt_logprobs) ? size_t(kPairRequests - 1) : 0u);
    for (const auto& [id, scores] : generated.prompt_logprobs)
      EXPECT_EQ(scores.size(), requests[size_t(id - requests[0].request.id)].request.prompt.size() - 1);
    const bool scored = all([](const GeneratedChoice& choice) {
      return std::ranges::all_of(choice.logprobs, [](float logprob) { return logprob < 0; });
    });
    if (pair.has(Feature::logprobs)) {
      EXPECT_TRUE(scored);
    }
    if (pair.has(Feature::stop_strings)) {
      EXPECT_FALSE(all([](const GeneratedChoice& choice) { return choice.stop_text.empty(); }));
    }
    if (pair.has(Feature::min_length) && !pair.has(Feature::stop_strings)) {  // the front's stops do not wait
      EXPECT_TRUE(all([](const GeneratedChoice& choice) { return choice.ids.size() >= size_t(kMinLength); }));
    }
  }

  static void expect_difference(const std::vector<StopRequest>& without) {
    Generated generated = generate(alone(kModel, {}), without);
    const Outcomes other = outcomes_of(generated);
    EXPECT_TRUE(std::ranges::any_of(other, [](const auto& entry) {
      return entry.second.words != expected_[entry.first].words;
    })) << "the feature changes nothing here";
  }

 private:
  static inline int32_t vocab_ = 0;
  static inline Outcomes expected_;
};

TEST_P(PairMatrix, OutputsAreThoseOfTheRequestsAlone) {
  const PairCase& pair = GetParam();
  const std::vector<StopRequest> requests = pair_requests(pair, vocab());
  for (const Shape shape : shapes_of(world_size())) {
    if (shape.pp > 2 || shape.tp > 3) continue;
    SCOPED_TRACE("tp " + std::to_string(shape.tp) + " pp " + std::to_string(shape.pp));
    const Generated generated = generate(together(pair, kModel, shape), requests);
    if (world_rank() != 0) continue;
    expect_reference(generated);
    expect_features(pair, requests, generated);
  }
  if (world_size() > 1) return;
  if (pair.has(Feature::penalties)) expect_difference(pair_requests(pair, vocab(), false, true));
  if (pair.has(Feature::min_length)) expect_difference(pair_requests(pair, vocab(), true, false));
}

INSTANTIATE_TEST_SUITE_P(Features, PairMatrix, ::testing::ValuesIn(pair_cases()),
                         [](const auto& info) { return info.param.name(); });

}  // namespace
}  // namespace trireme::test
