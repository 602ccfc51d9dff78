#pragma once
// Devices, and the few memory operations everything else is built on. On the CPU every "async" operation is
// done when it returns. All functions may be called from the thread that drives the device.

#include <cstddef>
#include <cstdint>
#include <string>

namespace trireme {

enum class DeviceKind : uint8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  bool is_cpu() const { return kind == DeviceKind::cpu; }
  bool is_cuda() const { return kind == DeviceKind::cuda; }
  bool operator==(const Device&) const = default;
};

inline constexpr Device kCpu{};
std::string to_string(Device device);   // "cpu", "cuda:0"

class Stream;

bool built_with_cuda();
int cuda_device_count();                 // 0 where there is no driver, no GPU or no CUDA build
void set_current_device(Device device);  // a CUDA thread does this once; nothing to do on the CPU
std::string device_description(Device device);  // "NVIDIA H200, 141 GB", or the CPU's model name

// Bytes are 256-byte aligned. Throws Error naming size and device when memory runs out.
void* device_allocate(Device device, size_t bytes);
void device_free(Device device, void* data) noexcept;
void* pinned_allocate(size_t bytes);     // host memory the GPU can copy from asynchronously; plain memory on a CPU build
void pinned_free(void* data) noexcept;
size_t device_free_bytes(Device device);   // memory not in use now (CPU: MemAvailable, cgroup limit included)
size_t device_total_bytes(Device device);

// Ordered on the stream; the directions follow from the pointers.
void copy_async(void* destination, const void* source, size_t bytes, Device device, const Stream& stream);
void fill_zero_async(void* destination, size_t bytes, Device device, const Stream& stream);

}  // namespace trireme
