#include "runtime/linear_tuning.h"

#include <chrono>
#include <cstring>
#include <map>
#include <tuple>

#include "base/backend_traits.h"
#include "base/log.h"
#include "kernels/linear_tuning.h"

namespace trireme {
namespace {

// Of one shape: they share their choices.
struct Layers {
  std::vector<const LinearWeight*> weights;
  LinearRole role;
};

LinearRole common(const LinearRole& a, const LinearRole& b) {
  return {a.normed && b.normed, a.gated && b.gated, a.added && b.added};
}

int64_t tune_shapes(const Model& model, int64_t max_tokens, int64_t max_logit_rows, const Stream& stream) {
  std::map<std::tuple<int64_t, int64_t, DType>, Layers> shapes;
  for (const LinearUse& use : model.linear_layers()) {
    auto [it, is_new] = shapes.try_emplace({use.weight->out_features, use.weight->in_features, use.out});
    it->second.weights.push_back(use.weight);
    it->second.role = is_new ? use.role : common(it->second.role, use.role);
  }
  int64_t measured = 0;
  for (const auto& [shape, layers] : shapes) {
    const DType out = std::get<DType>(shape);
    const int64_t most = out == kLogitsDType ? max_logit_rows : max_tokens;
    measured += tune_linear(layers.weights, out, layers.role, tuned_token_counts(most), stream);
  }
  return measured;
}

// Other GPUs than rank 0's keep their own choices: the text names its machine.
void agree(Cluster& cluster, const std::string& machine) {
  const std::string text = format_linear_choices(linear_choices(), machine);
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  bytes = cluster.broadcast_bytes(std::move(bytes));
  adopt_linear_choices(parse_linear_choices({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, machine));
}

}  // namespace

void tune_linear_layers(const Model& model, Cluster& cluster, int64_t max_tokens, int64_t max_logit_rows) {
  if (cluster.device().is_cpu()) return;
  const auto start = std::chrono::steady_clock::now();
  const Stream stream(cluster.device());
  const std::string machine = linear_tuning_machine(cluster.device()), file = linear_tuning_file(machine);
  load_linear_choices(file, machine);
  const int64_t measured = tune_shapes(model, max_tokens, max_logit_rows, stream);
  agree(cluster, machine);
  if (measured == 0) return;
  save_linear_choices(file, machine);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (cluster.topology().rank() == 0)
    log_info("{} linear shapes and batch sizes measured in {:.1f} s, kept in {}", measured, seconds, file);
}

}  // namespace trireme
