#include "base/device_sharing.h"

#include <cstring>

#if TRIREME_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace trireme {

#if TRIREME_WITH_CUDA

static_assert(sizeof(MemoryHandle) == sizeof(cudaIpcMemHandle_t));

namespace {

// Calls that may fail without harm: the error must not be found by the next launch check.
bool succeeded(cudaError_t status) {
  if (status == cudaSuccess) return true;
  cudaGetLastError();
  return false;
}

}  // namespace

std::optional<MemoryHandle> export_memory(Device device, void* data) {
  if (!device.is_cuda()) return std::nullopt;
  set_current_device(device);
  cudaIpcMemHandle_t native;
  if (!succeeded(cudaIpcGetMemHandle(&native, data))) return std::nullopt;
  MemoryHandle handle;
  std::memcpy(handle.data(), &native, sizeof native);
  return handle;
}

void* import_memory(Device device, const MemoryHandle& handle) {
  if (!device.is_cuda()) return nullptr;
  set_current_device(device);
  cudaIpcMemHandle_t native;
  std::memcpy(&native, handle.data(), sizeof native);
  void* data = nullptr;
  return succeeded(cudaIpcOpenMemHandle(&data, native, cudaIpcMemLazyEnablePeerAccess)) ? data : nullptr;
}

void close_imported_memory(Device device, void* data) noexcept {
  if (!device.is_cuda() || !data) return;
  if (cudaSetDevice(device.index) == cudaSuccess) succeeded(cudaIpcCloseMemHandle(data));
}

bool enable_peer_access(Device device, Device peer) {
  if (!device.is_cuda() || !peer.is_cuda()) return false;
  if (device == peer) return true;
  int reachable = 0;
  if (!succeeded(cudaDeviceCanAccessPeer(&reachable, device.index, peer.index)) || !reachable) return false;
  set_current_device(device);
  const cudaError_t status = cudaDeviceEnablePeerAccess(peer.index, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
    return true;
  }
  return succeeded(status);
}

#else

std::optional<MemoryHandle> export_memory(Device, void*) { return std::nullopt; }
void* import_memory(Device, const MemoryHandle&) { return nullptr; }
void close_imported_memory(Device, void*) noexcept {}
bool enable_peer_access(Device, Device) { return false; }

#endif

}  // namespace trireme
