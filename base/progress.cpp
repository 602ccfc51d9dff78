#include "base/progress.h"

namespace trireme {

const char* phase_name(Phase phase) {
  static constexpr const char* kNames[] = {"starting", "joining", "loading", "warming", "idle", "stepping", "stopping"};
  return kNames[size_t(phase)];
}

RankProgress& rank_progress() {
  static RankProgress progress;
  return progress;
}

}  // namespace trireme
