#pragma once
// TensorView: pointer, shape, strides, dtype, device; passed by value, owns nothing. Tensor owns its bytes.
// Strides count elements; the last dimension is contiguous for every op unless its header says otherwise.
// Block dtypes (q8_0, ...) are always fully contiguous.

#include <array>
#include <initializer_list>
#include <memory>
#include <string>

#include "base/check.h"
#include "base/device.h"
#include "base/dtype.h"

namespace trireme {

class TensorView {
 public:
  static constexpr int kMaxRank = 5;

  TensorView() = default;
  TensorView(void* data, DType dtype, std::initializer_list<int64_t> dims, Device device);  // contiguous

  int rank() const { return rank_; }
  int64_t dim(int i) const { return dims_[size_t(i < 0 ? i + rank_ : i)]; }
  int64_t stride(int i) const { return strides_[size_t(i < 0 ? i + rank_ : i)]; }
  int64_t elements() const;
  int64_t bytes() const { return dtype_bytes(dtype_, elements()); }  // of the elements, holes not counted
  bool contiguous() const;
  bool empty() const { return elements() == 0; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  void* data() const { return data_; }

  // Typed access; T's size must be that of the dtype.
  template <typename T>
  T* as() const {
    CHECK_EQ(int64_t(sizeof(T)), dtype_block_bytes(dtype_)) << "TensorView::as on" << dtype_name(dtype_);
    return static_cast<T*>(data_);
  }

  TensorView slice(int dimension, int64_t begin, int64_t end) const;  // [begin, end) of one dimension
  TensorView select(int64_t index) const;                             // drops dimension 0
  TensorView reshape(std::initializer_list<int64_t> dims) const;      // same elements; splits or merges contiguous dims
  std::string shape_text() const;                                     // "[3, 576] f32 cpu"

 private:
  void* data_ = nullptr;
  std::array<int64_t, kMaxRank> dims_{};
  std::array<int64_t, kMaxRank> strides_{};
  int rank_ = 0;
  DType dtype_ = DType::f32;
  Device device_;
};

class Tensor {  // move-only; contents undefined until written
 public:
  Tensor() = default;
  Tensor(DType dtype, std::initializer_list<int64_t> dims, Device device);
  ~Tensor();
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor&& other) noexcept;

  const TensorView& view() const { return view_; }
  operator TensorView() const { return view_; }
  explicit operator bool() const { return view_.data() != nullptr; }
  void* data() const { return view_.data(); }
  int64_t dim(int i) const { return view_.dim(i); }
  template <typename T>
  T* as() const { return view_.as<T>(); }

 private:
  TensorView view_;
};

}  // namespace trireme
