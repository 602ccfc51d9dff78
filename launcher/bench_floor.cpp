#include "launcher/bench_floor.h"

#include <fmt/format.h>

#include <algorithm>

namespace trireme {

double floor_seconds(const EngineFacts& facts, double steps, double kv_tokens, bool overlapped) {
  const size_t tp = size_t(std::max(facts.tp, 1)), world = tp * size_t(std::max(facts.pp, 1));
  if (facts.weight_bytes.size() != world || facts.kv_bytes_per_token.size() != world ||
      facts.memory_bandwidth.size() != world)
    return 0;
  double sum = 0, most = 0;
  for (size_t first = 0; first < world; first += tp) {  // ranks of one stage are consecutive
    double slowest = 0;
    for (size_t rank = first; rank < first + tp; ++rank) {
      if (facts.memory_bandwidth[rank] <= 0) return 0;
      const double bytes =
          steps * double(facts.weight_bytes[rank]) + kv_tokens * double(facts.kv_bytes_per_token[rank]);
      slowest = std::max(slowest, bytes / facts.memory_bandwidth[rank]);
    }
    sum += slowest;
    most = std::max(most, slowest);
  }
  return overlapped ? most : sum;
}

std::string floor_verdict(double floor, double measured) {
  if (floor <= measured) return fmt::format("reached {:.1f} % of it", floor / measured * 100);
  return "NOT VALID: the run beat it, so the bandwidth measured at the start is too low; measure on an idle host";
}

double decode_kv_tokens(double sequences, double prompt, double output) {
  const double steps = std::max(output - 1, 0.0);  // the first token comes from the prefill
  return sequences * (steps * prompt + steps * (steps + 1) / 2);
}

}  // namespace trireme
