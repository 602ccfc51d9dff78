#include "kernels/pinned_copy.h"

#include <cstring>
#include <memory>
#include <vector>

#include "tests/support/backend.h"
#include "tests/support/tensors.h"

namespace trireme::test {
namespace {

class PinnedCopyTest : public BackendTest {};

struct Freed {
  void operator()(uint8_t* memory) const { pinned_free(memory); }
};
using Pinned = std::unique_ptr<uint8_t[], Freed>;

Pinned pinned(size_t bytes) { return Pinned(static_cast<uint8_t*>(pinned_allocate(bytes))); }

// To the device and back, one after the other without waiting; what lies behind the copied bytes stays.
TEST_P(PinnedCopyTest, EveryByteAndNoOtherArrives) {
  constexpr size_t kMost = (size_t(256) << 10) + 100, kGuard = 16;
  const Pinned sent = pinned(kMost + kGuard), received = pinned(kMost + kGuard);
  const Tensor memory(DType::u8, {int64_t(kMost + kGuard)}, device());
  for (const size_t bytes : {size_t(0), size_t(1), size_t(15), size_t(16), size_t(17), size_t(4095), size_t(4096),
                             size_t(65537), size_t(256) << 10, (size_t(256) << 10) + 1, kMost}) {
    SCOPED_TRACE(bytes);
    // Pinned memory is touched in one copy: tools that watch it make every single access slow.
    std::vector<uint8_t> pattern(kMost + kGuard), back(kMost + kGuard, 0xee);
    for (size_t i = 0; i < pattern.size(); ++i) pattern[i] = uint8_t(i * 7 + bytes);
    std::memcpy(sent.get(), pattern.data(), pattern.size());
    std::memcpy(received.get(), back.data(), back.size());
    fill_zero_async(memory.data(), kMost + kGuard, device(), stream());
    copy_to_device(memory.data(), sent.get(), bytes, stream());
    copy_to_host(received.get(), memory.data(), bytes, stream());
    const std::vector<uint8_t> there = raw_to_host<uint8_t>(memory, stream());
    std::memcpy(back.data(), received.get(), back.size());
    for (size_t i = 0; i < pattern.size(); ++i) {
      ASSERT_EQ(back[i], i < bytes ? pattern[i] : 0xee) << "byte " << i << " on the host";
      ASSERT_EQ(there[i], i < bytes ? pattern[i] : 0) << "byte " << i << " on the device";
    }
  }
}

INSTANTIATE_BACKENDS(PinnedCopyTest);

}  // namespace
}  // namespace trireme::test
