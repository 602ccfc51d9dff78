#include "tests/launcher/support/restart_play.h"

#include <algorithm>

namespace trireme::test {

static PromptLine make_prompt(Dice& dice, const ClusterInfo& cluster) {
  PromptLine line;
  for (int count = dice.between(1, 12); count > 0; --count)
    line.ids.push_back(dice.between(0, int(cluster.vocab_size) - 1));
  SamplingFlags& sampling = line.sampling;
  sampling.temperature = dice.one_in(2) ? 0 : 1;
  sampling.seed = uint64_t(dice.between(0, 1 << 30));
  sampling.max_new_tokens = dice.between(1, 14);
  sampling.ignore_eos = dice.one_in(2);
  if (dice.one_in(3)) sampling.logprobs = dice.between(0, 2);
  if (dice.one_in(4)) sampling.prompt_logprobs = dice.between(0, 2);
  if (dice.one_in(4)) {
    sampling.beam_width = 2;
    sampling.temperature.reset();
  } else if (dice.one_in(3)) {
    sampling.n = 2;
  }
  return line;
}

Play make_play(uint64_t seed) {
  Dice dice(seed);
  Play play;
  ClusterInfo& cluster = play.cluster;
  cluster.pp = cluster.world = dice.between(1, 3);
  cluster.num_slots = dice.between(2, 8);
  cluster.max_batched_tokens = 8 << dice.between(0, 2);
  cluster.max_logit_rows = 16;
  cluster.max_model_len = cluster.max_blocks_per_slot = 40;
  cluster.vocab_size = dice.between(20, 90);
  cluster.groups.push_back({.block_size = 4, .num_blocks = dice.between(20, 80)});
  for (int count = dice.between(1, 9); count > 0; --count) play.prompts.push_back(make_prompt(dice, cluster));
  for (size_t i = 0; i < play.prompts.size(); ++i)
    if (dice.one_in(8)) play.poison[RequestId(i + 1)] = play.prompts[i].sampling.beam_width ? 0 : dice.between(0, 5);
  play.deaths = dice.between(0, 6);
  play.death_in = dice.between(4, 40);
  if (dice.one_in(12)) {
    play.bad_attempt = dice.between(1, 3);
    play.config = dice.one_in(2);
    play.load_failures = play.config ? 1 : dice.between(1, 4);
    play.deaths = std::max(play.deaths, 3);  // so that there are attempts
  }
  return play;
}

}  // namespace trireme::test
