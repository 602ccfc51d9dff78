#include "base/device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/stream.h"

#if TRIREME_WITH_CUDA
#include <cuda_runtime.h>

#include "base/cuda_check.h"
#endif

namespace trireme {
namespace {

std::string gigabytes(size_t bytes) { return std::to_string(double(bytes) / 1e9).substr(0, 6) + " GB"; }

[[noreturn]] void out_of_memory(Device device, size_t bytes) {
  throw Error("out of memory: cannot allocate " + gigabytes(bytes) + " on " + to_string(device) + " (" +
              gigabytes(device_free_bytes(device)) + " free); use more ranks, a smaller --max-model-len or fewer --num-blocks");
}

size_t meminfo_bytes(const char* key) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind(key, 0) == 0) return size_t(std::strtoull(line.c_str() + std::strlen(key), nullptr, 10)) * 1024;
  return 0;
}

// The cgroup's limit less its use; SIZE_MAX where there is none.
size_t cgroup_free_bytes() {
  std::ifstream limit_file("/sys/fs/cgroup/memory.max"), used_file("/sys/fs/cgroup/memory.current");
  size_t limit = 0, used = 0;
  if (!(limit_file >> limit) || !(used_file >> used)) return SIZE_MAX;
  return limit > used ? limit - used : 0;
}

}  // namespace

std::string to_string(Device device) {
  return device.is_cpu() ? "cpu" : "cuda:" + std::to_string(device.index);
}

static void* host_allocate(size_t bytes) {
  void* data = nullptr;
  const size_t rounded = (bytes + 255) / 256 * 256;
  const bool large = rounded >= (size_t(4) << 20);
  if (posix_memalign(&data, large ? size_t(2) << 20 : 256, rounded) != 0) out_of_memory(kCpu, bytes);
  if (large) ::madvise(data, rounded, MADV_HUGEPAGE);  // faults of 2 MB: a load touches each page once
  return data;
}

#if TRIREME_WITH_CUDA

bool built_with_cuda() { return true; }

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

void set_current_device(Device device) {
  if (device.is_cuda()) CUDA_CHECK(cudaSetDevice(device.index));
}

static std::string cuda_description(int index) {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  return std::string(properties.name) + ", " + gigabytes(properties.totalGlobalMem);
}

void* device_allocate(Device device, size_t bytes) {
  if (device.is_cpu()) return host_allocate(bytes);
  void* data = nullptr;
  if (cudaMalloc(&data, bytes) != cudaSuccess) {
    cudaGetLastError();
    out_of_memory(device, bytes);
  }
  return data;
}

void device_free(Device device, void* data) noexcept {
  if (device.is_cpu()) std::free(data);
  else cudaFree(data);
}

void* pinned_allocate(size_t bytes) {
  if (cuda_device_count() == 0) return host_allocate(bytes);
  void* data = nullptr;
  CUDA_CHECK(cudaHostAlloc(&data, bytes ? bytes : 1, cudaHostAllocPortable));
  return data;
}

void pinned_free(void* data) noexcept {
  if (!data) return;
  if (cuda_device_count() == 0) std::free(data);
  else cudaFreeHost(data);
}

static size_t cuda_memory(int index, bool total) {
  int current = 0;
  size_t free_bytes = 0, total_bytes = 0;
  CUDA_CHECK(cudaGetDevice(&current));
  CUDA_CHECK(cudaSetDevice(index));
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  CUDA_CHECK(cudaSetDevice(current));
  return total ? total_bytes : free_bytes;
}

void copy_async(void* destination, const void* source, size_t bytes, Device device, const Stream& stream) {
  if (bytes == 0) return;
  if (device.is_cpu()) std::memcpy(destination, source, bytes);
  else CUDA_CHECK(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDefault, stream.get()));
}

void fill_zero_async(void* destination, size_t bytes, Device device, const Stream& stream) {
  if (bytes == 0) return;
  if (device.is_cpu()) std::memset(destination, 0, bytes);
  else CUDA_CHECK(cudaMemsetAsync(destination, 0, bytes, stream.get()));
}

Stream::Stream(Device device, StreamPriority priority) : device_(device) {
  if (!device.is_cuda()) return;
  int least = 0, greatest = 0;
  CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  CUDA_CHECK(cudaStreamCreateWithPriority(&handle_, cudaStreamNonBlocking,
                                          priority == StreamPriority::urgent ? greatest : least));
}
Stream::~Stream() {
  if (handle_) cudaStreamDestroy(handle_);
}
void Stream::synchronize() const {
  if (handle_) CUDA_CHECK(cudaStreamSynchronize(handle_));
}

Event::Event(Device device) : device_(device) {
  if (device.is_cuda()) CUDA_CHECK(cudaEventCreateWithFlags(&handle_, cudaEventDisableTiming));
}
Event::~Event() {
  if (handle_) cudaEventDestroy(handle_);
}
void Event::record(const Stream& stream) {
  if (handle_) CUDA_CHECK(cudaEventRecord(handle_, stream.get()));
}
void Event::wait_on(const Stream& stream) const {
  if (handle_) CUDA_CHECK(cudaStreamWaitEvent(stream.get(), handle_, 0));
}
bool Event::done() const {
  if (!handle_) return true;
  const cudaError_t status = cudaEventQuery(handle_);
  if (status == cudaErrorNotReady) return false;
  CUDA_CHECK(status);
  return true;
}
void Event::synchronize() const {
  if (handle_) CUDA_CHECK(cudaEventSynchronize(handle_));
}

Graph::~Graph() {
  if (handle_) cudaGraphExecDestroy(handle_);
}
// Relaxed: other threads of the process (profilers, NCCL's proxy) may go on calling CUDA meanwhile.
Graph Graph::record(const Stream& stream, const std::function<void()>& record) {
  cudaGraph_t recorded = nullptr;
  CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeRelaxed));
  record();
  CUDA_CHECK(cudaStreamEndCapture(stream.get(), &recorded));
  Graph graph;
  CUDA_CHECK(cudaGraphInstantiate(&graph.handle_, recorded, 0));
  CUDA_CHECK(cudaGraphDestroy(recorded));
  CUDA_CHECK(cudaGraphUpload(graph.handle_, stream.get()));
  return graph;
}
void Graph::launch(const Stream& stream) const { CUDA_CHECK(cudaGraphLaunch(handle_, stream.get())); }

#else

Graph::~Graph() = default;
Graph Graph::record(const Stream&, const std::function<void()>&) {
  CHECK(false) << "this build has no CUDA";
  return Graph();
}
void Graph::launch(const Stream&) const { CHECK(false) << "this build has no CUDA"; }

static std::string cuda_description(int) { return "this build has no CUDA"; }
static size_t cuda_memory(int, bool) { return 0; }
bool built_with_cuda() { return false; }
int cuda_device_count() { return 0; }
void set_current_device(Device) {}
void* device_allocate(Device device, size_t bytes) {
  CHECK(device.is_cpu()) << "this build has no CUDA";
  return host_allocate(bytes);
}
void device_free(Device, void* data) noexcept { std::free(data); }
void* pinned_allocate(size_t bytes) { return host_allocate(bytes); }
void pinned_free(void* data) noexcept { std::free(data); }
void copy_async(void* destination, const void* source, size_t bytes, Device, const Stream&) {
  if (bytes) std::memcpy(destination, source, bytes);
}
void fill_zero_async(void* destination, size_t bytes, Device, const Stream&) {
  if (bytes) std::memset(destination, 0, bytes);
}
Stream::Stream(Device device, StreamPriority) : device_(device) {}
Stream::~Stream() = default;
void Stream::synchronize() const {}
Event::Event(Device device) : device_(device) {}
Event::~Event() = default;
void Event::record(const Stream&) {}
void Event::wait_on(const Stream&) const {}
bool Event::done() const { return true; }
void Event::synchronize() const {}

#endif

Stream::Stream(Stream&& other) noexcept : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}
Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(handle_, other.handle_);
  return *this;
}
Event::Event(Event&& other) noexcept : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}
Event& Event::operator=(Event&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(handle_, other.handle_);
  return *this;
}

Graph::Graph(Graph&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

std::string device_description(Device device) {
  if (device.is_cuda()) return cuda_description(device.index);
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "CPU";
}

size_t device_free_bytes(Device device) {
  if (device.is_cuda()) return cuda_memory(device.index, false);
  return std::min(meminfo_bytes("MemAvailable:"), cgroup_free_bytes());
}

size_t device_total_bytes(Device device) {
  return device.is_cuda() ? cuda_memory(device.index, true) : meminfo_bytes("MemTotal:");
}

}  // namespace trireme
