#pragma once
// Many small arrays, one copy to the device: arrays are laid one after the other in pinned host memory and
// sent together. On the CPU the device views are the host memory itself. A ring of these lets the host write
// step n + 1 while step n's copy is still on its way.

#include <cstring>
#include <span>

#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/pinned_copy.h"

namespace trireme {

class PackedUpload {
 public:
  PackedUpload(Device device, int64_t bytes) : device_(device) { reserve(bytes); }
  // The device's side is `device_memory`, which several may share: copies and their readers are ordered by the stream.
  PackedUpload(Device device, int64_t bytes, TensorView device_memory) : device_(device), shared_(device_memory) {
    CHECK(device.is_cpu() || device_memory.bytes() >= bytes) << "packed step inputs";
    reserve(bytes);
  }
  ~PackedUpload() { release(); }
  PackedUpload(PackedUpload&& other) noexcept { *this = std::move(other); }
  PackedUpload& operator=(PackedUpload&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(host_, other.host_);
    std::swap(device_memory_, other.device_memory_);
    std::swap(shared_, other.shared_);
    std::swap(capacity_, other.capacity_);
    std::swap(used_, other.used_);
    return *this;
  }

  void clear() { used_ = 0; }
  // Grows (allocates) when `bytes` do not fit; only between steps, contents are lost.
  void reserve(int64_t bytes) {
    if (bytes <= capacity_) return;
    CHECK(capacity_ == 0 || !shared_.data()) << "shared device memory does not grow";
    release();
    host_ = static_cast<char*>(pinned_allocate(size_t(bytes)));
    if (device_.is_cuda() && !shared_.data()) device_memory_ = Tensor(DType::u8, {bytes}, device_);
    capacity_ = bytes;
    used_ = 0;
  }
  // Room for an array of 4-byte elements; the pointer is the host side, to be written before upload().
  TensorView add(std::initializer_list<int64_t> dims, int32_t** host) {
    return add(DType::i32, dims, reinterpret_cast<void**>(host));
  }
  TensorView add(DType dtype, std::initializer_list<int64_t> dims, void** host) {
    char* base = device_.is_cuda() ? static_cast<char*>(device_data()) : host_;
    const TensorView view(base + used_, dtype, dims, device_);
    *host = host_ + used_;
    used_ += (view.bytes() + 15) / 16 * 16;
    CHECK_LE(used_, capacity_) << "packed step inputs";
    return view;
  }
  TensorView add(std::span<const int32_t> values) {
    int32_t* host = nullptr;
    const TensorView view = add({int64_t(values.size())}, &host);
    if (!values.empty()) std::memcpy(host, values.data(), values.size_bytes());
    return view;
  }
  void upload(const Stream& stream) const {
    if (device_.is_cuda()) copy_to_device(device_data(), host_, size_t(used_), stream);
  }
  static int64_t bytes_for(int64_t elements) { return elements * 4 + 16; }

 private:
  void* device_data() const { return shared_.data() ? shared_.data() : device_memory_.data(); }
  void release() {
    if (host_) pinned_free(host_);
    host_ = nullptr;
    capacity_ = 0;
  }

  Device device_;
  char* host_ = nullptr;
  Tensor device_memory_;
  TensorView shared_;  // instead of device_memory_
  int64_t capacity_ = 0, used_ = 0;
};

}  // namespace trireme
