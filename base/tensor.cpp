#include "base/tensor.h"

#include <utility>

namespace trireme {

TensorView::TensorView(void* data, DType dtype, std::initializer_list<int64_t> dims, Device device)
    : data_(data), rank_(int(dims.size())), dtype_(dtype), device_(device) {
  CHECK_LE(rank_, kMaxRank);
  int i = 0;
  for (int64_t dim : dims) {
    CHECK_GE(dim, 0) << "tensor dimension";
    dims_[size_t(i++)] = dim;
  }
  int64_t stride = 1;
  for (int d = rank_ - 1; d >= 0; --d) {
    strides_[size_t(d)] = stride;
    stride *= dims_[size_t(d)];
  }
}

int64_t TensorView::elements() const {
  if (rank_ == 0) return 0;
  int64_t total = 1;
  for (int d = 0; d < rank_; ++d) total *= dims_[size_t(d)];
  return total;
}

bool TensorView::contiguous() const {
  int64_t expected = 1;
  for (int d = rank_ - 1; d >= 0; --d) {
    if (dims_[size_t(d)] != 1 && strides_[size_t(d)] != expected) return false;
    expected *= dims_[size_t(d)];
  }
  return true;
}

TensorView TensorView::slice(int dimension, int64_t begin, int64_t end) const {
  const size_t d = size_t(dimension < 0 ? dimension + rank_ : dimension);
  CHECK(begin >= 0 && begin <= end && end <= dims_[d]) << "slice [" << begin << "," << end << ") of" << shape_text();
  CHECK(!is_block_dtype(dtype_) || d == 0) << "slice of" << shape_text();
  TensorView view = *this;
  const int64_t offset = begin * strides_[d];
  view.data_ = static_cast<char*>(data_) + dtype_bytes(dtype_, offset);
  view.dims_[d] = end - begin;
  return view;
}

TensorView TensorView::select(int64_t index) const {
  CHECK(rank_ > 0 && index >= 0 && index < dims_[0]) << "select" << index << "of" << shape_text();
  TensorView view = *this;
  view.data_ = static_cast<char*>(data_) + dtype_bytes(dtype_, index * strides_[0]);
  for (int d = 1; d < rank_; ++d) {
    view.dims_[size_t(d - 1)] = dims_[size_t(d)];
    view.strides_[size_t(d - 1)] = strides_[size_t(d)];
  }
  view.rank_ = rank_ - 1;
  return view;
}

TensorView TensorView::reshape(std::initializer_list<int64_t> dims) const {
  TensorView view(data_, dtype_, dims, device_);
  CHECK_EQ(view.elements(), elements()) << "reshape of" << shape_text() << "to" << view.shape_text();
  if (contiguous()) return view;
  // A strided leading dimension may stay as it is while the contiguous rest is split: [T, h*d] -> [T, h, d].
  CHECK(view.rank_ >= 1 && rank_ >= 1 && view.dims_[0] == dims_[0] && select(0).contiguous())
      << "reshape of strided" << shape_text();
  view.strides_[0] = strides_[0];
  return view;
}

std::string TensorView::shape_text() const {
  std::string text = "[";
  for (int d = 0; d < rank_; ++d) text += (d ? ", " : "") + std::to_string(dims_[size_t(d)]);
  return text + "] " + std::string(dtype_name(dtype_)) + " " + to_string(device_);
}

Tensor::Tensor(DType dtype, std::initializer_list<int64_t> dims, Device device) {
  const TensorView shape(nullptr, dtype, dims, device);
  const int64_t bytes = shape.bytes();
  view_ = TensorView(device_allocate(device, size_t(bytes > 0 ? bytes : 1)), dtype, dims, device);
}

Tensor::~Tensor() {
  if (view_.data()) device_free(view_.device(), view_.data());
}

Tensor::Tensor(Tensor&& other) noexcept : view_(std::exchange(other.view_, TensorView())) {}

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  std::swap(view_, other.view_);
  return *this;
}

}  // namespace trireme
