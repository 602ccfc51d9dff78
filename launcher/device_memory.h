#pragma once
// How much memory of this host's GPUs is in use, by anybody: a dead attempt's GPU is free only once its memory is.

#include <cstdint>
#include <memory>
#include <vector>

namespace trireme {

class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  virtual std::vector<int64_t> used_bytes() = 0;  // by device; empty: cannot be known now
};

// NVML, loaded at run time, since the front links no CUDA. Null where there is none.
std::unique_ptr<DeviceMemory> open_nvml();

// Is every device back at what it held before, but for a little that drivers keep? True where either is unknown.
bool memory_is_back(const std::vector<int64_t>& before, const std::vector<int64_t>& now);

}  // namespace trireme
