#pragma once
// Small copies between pinned host memory and a device, by a kernel of the stream instead of a copy engine: handing a
// stream's turn to an engine and back costs some 8 us on each side, and a step has several such copies.

#include <cstddef>

#include "base/stream.h"

namespace trireme {

// Queues to <- from. One of them is pinned host memory (pinned_allocate), the other the stream's device's; both begin
// at a multiple of 16 bytes. The host side keeps its contents until the copy has run. Large ones are left to the copy
// engine. On the CPU a plain copy.
void copy_to_device(void* to, const void* from, size_t bytes, const Stream& stream);
void copy_to_host(void* to, const void* from, size_t bytes, const Stream& stream);

}  // namespace trireme
