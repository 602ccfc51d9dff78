#include "kernels/mark_progress.h"

#include "kernels/backend.h"

namespace trireme {
namespace cpu { void mark_progress(uint64_t*, const Stream&) {} }
namespace cuda { void mark_progress(uint64_t* counter, const Stream& stream); }

namespace {

// Host memory that the device writes; for the process's life, since the beats read it until the end.
uint64_t* device_counter() {
  static uint64_t* const counter = [] {
    auto* memory = static_cast<uint64_t*>(pinned_allocate(sizeof(uint64_t)));
    *memory = 0;
    rank_progress().device_counter.store(memory);
    return memory;
  }();
  return counter;
}

}  // namespace

void mark_progress(Device device, const Stream& stream) {
  if (device.is_cpu()) return;
  BACKEND(device, mark_progress(device_counter(), stream));
}

}  // namespace trireme
