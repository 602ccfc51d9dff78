#pragma once
// Scratch memory of ops that need some, one piece per (device, stream, purpose), allocated at its first use and kept:
// zeroed then; later calls never allocate, so captured graphs may hold its address. Work on one stream is ordered, so
// ops of one purpose share a piece without waiting. Any thread.

#include <cstddef>

#include "base/stream.h"

namespace trireme::cuda {

enum class WorkspaceUse { gemm, attention, skinny, greedy, sample };

// A program uses a handful of streams; beyond kMaxWorkspaces live pieces this fails a CHECK rather than grow.
inline constexpr size_t kMaxWorkspaces = 256;

// At least `bytes` bytes; the same `bytes` for a purpose on every call.
void* workspace(WorkspaceUse use, size_t bytes, const Stream& stream);

int multiprocessor_count(Device device);

}  // namespace trireme::cuda
