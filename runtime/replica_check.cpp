#include "runtime/replica_check.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"

namespace trireme {

bool ReplicaCheck::wanted() {
  const char* wish = std::getenv("TRIREME_CHECK_REPLICAS");
  return wish && std::string_view(wish) == "1";
}

void ReplicaCheck::check(const char* what, TensorView value, const Stream& stream) {
  const int64_t bytes = value.bytes(), all = bytes * group_.size();
  if (bytes == 0 || group_.size() == 1) return;
  const Device device = value.device();
  if (!gathered_ || gathered_.dim(0) < all) gathered_ = Tensor(DType::u8, {all}, device);
  const TensorView parts(gathered_.data(), DType::u8, {group_.size(), bytes}, device);
  group_.all_gather(parts, TensorView(value.data(), DType::u8, {bytes}, device), stream);
  std::vector<std::byte> host(static_cast<size_t>(all));
  copy_async(host.data(), parts.data(), host.size(), device, stream);
  stream.synchronize();
  for (int rank = 1; rank < group_.size(); ++rank) {
    const auto theirs = host.begin() + rank * bytes;
    const auto differs = std::mismatch(host.begin(), host.begin() + bytes, theirs).first;
    if (differs == host.begin() + bytes) continue;
    throw InternalError("replicated values differ in step " + std::to_string(rank_progress().step.load()) + ": " +
                        what + " " + value.shape_text() + " of tensor-parallel rank " + std::to_string(rank) +
                        " from byte " + std::to_string(differs - host.begin()) + " on are not those of rank 0");
  }
}

}  // namespace trireme
