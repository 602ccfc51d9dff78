#include "launcher/inspect_command.h"

#include <fmt/format.h>

#include "checkpoint/inspect.h"
#include "parallel/topology.h"
#include "runtime/stage_split.h"

namespace trireme {
namespace {

constexpr int64_t kBytesOnGpu = 2;  // of a parameter and of a KV element: bf16

std::string bytes(int64_t count) {
  if (count >= 1000000000) return fmt::format("{:.2f} GB", double(count) / 1e9);
  if (count >= 1000000) return fmt::format("{:.1f} MB", double(count) / 1e6);
  return fmt::format("{} B", count);
}

std::string rank_line(const Inspection& report, const Topology& topology) {
  const ModelConfig& config = report.config;
  const Range layers = topology.layer_range(config.num_layers);
  const HeadShard heads = topology.heads(config.num_heads, config.num_kv_heads);
  std::string line =
      fmt::format("{:<16}stage {}, layers {} to {}, heads {} to {}: ", fmt::format("rank {}", topology.rank()),
                  topology.stage(), layers.begin, layers.end - 1, heads.q.begin, heads.q.end - 1);
  if (!report.tensors.empty()) {
    const RankWeights weights =
        rank_weights(report, layers.begin, layers.end, topology.is_first_stage(), topology.is_last_stage());
    line += fmt::format("weights about {} as stored, {} as bf16 on a GPU; ", bytes(weights.bytes),
                        bytes(weights.parameters * kBytesOnGpu));
  }
  const int64_t kv_elements = 2 * layers.size() * heads.kv.size() * config.head_dim;
  return line + fmt::format("KV cache {} per token as bf16\n", bytes(kv_elements * kBytesOnGpu));
}

}  // namespace

std::string inspect_report(const InspectCommand& command) {
  const bool bare_config = command.model.ends_with(".json");
  const Checkpoint checkpoint = open_checkpoint(command.model, {.need_weights = !bare_config, .need_tokenizer = false});
  const Inspection report = inspect(checkpoint, command.tp, command.pp);
  std::string text = inspection_text(report);
  const int world = command.tp * command.pp;
  const std::vector<int64_t> layers =
      command.pp_layers.empty() ? stage_layers(report.config, command.pp) : command.pp_layers;
  for (int rank = 0; rank < world; ++rank)
    text += rank_line(report, Topology(world, command.tp, command.pp, rank).with_stage_layers(layers));
  return text;
}

}  // namespace trireme
