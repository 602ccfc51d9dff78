#pragma once
// A piece of one GPU's memory in the hands of other GPUs and other processes of its host (CUDA IPC). Without CUDA, and
// on the CPU, nothing can be shared.

#include <array>
#include <cstddef>
#include <optional>

#include "base/device.h"

namespace trireme {

using MemoryHandle = std::array<std::byte, 64>;  // travels between processes as it is

// `data`: a whole allocation of device_allocate of a multiple of kSharedMemoryUnit bytes (a smaller one may share its
// pages with others, and a handle names pages). Empty where the driver refuses.
inline constexpr size_t kSharedMemoryUnit = size_t(2) << 20;
std::optional<MemoryHandle> export_memory(Device device, void* data);

// Where `device` reaches memory that another process exported; null where it cannot. At most once per handle and
// process; closed before the exporter frees it.
void* import_memory(Device device, const MemoryHandle& handle);
void close_imported_memory(Device device, void* data) noexcept;

// Afterwards kernels on `device` read and write what this process allocates on `peer`. False: the hardware has no way.
bool enable_peer_access(Device device, Device peer);

}  // namespace trireme
