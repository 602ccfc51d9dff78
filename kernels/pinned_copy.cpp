#include "kernels/pinned_copy.h"

#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "kernels/backend.h"

namespace trireme {
namespace cpu {
static void pinned_copy(void* to, const void* from, size_t bytes, bool, const Stream&) { std::memcpy(to, from, bytes); }
}  // namespace cpu
namespace cuda { void pinned_copy(void* to, const void* from, size_t bytes, bool to_device, const Stream& stream); }

namespace {

// By then the bus sets the time, which the engine uses better.
constexpr size_t kMostByKernel = size_t(256) << 10;

void copy(void* to, const void* from, size_t bytes, bool to_device, const Stream& stream) {
  if (bytes == 0) return;
  CHECK((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 == 0) << "pinned copy";
  const Device device = stream.device();
  if (bytes > kMostByKernel) return copy_async(to, from, bytes, device, stream);
  BACKEND(device, pinned_copy(to, from, bytes, to_device, stream));
}

}  // namespace

void copy_to_device(void* to, const void* from, size_t bytes, const Stream& stream) { copy(to, from, bytes, true, stream); }
void copy_to_host(void* to, const void* from, size_t bytes, const Stream& stream) { copy(to, from, bytes, false, stream); }

}  // namespace trireme
