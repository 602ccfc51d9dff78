#include "kernels/fused_all_reduce.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
int64_t all_reduce_rows(const PeerSum& sum, int64_t cols);
void fused_all_reduce(TensorView normed, TensorView hidden, TensorView partial, TensorView bias, const InputNorm& norm,
                      const PeerSum& sum, const Stream& stream);
void peer_all_reduce(TensorView data, const PeerSum& sum, const Stream& stream);
}  // namespace cpu
namespace cuda {
int64_t all_reduce_rows(const PeerSum& sum, int64_t cols);
void fused_all_reduce(TensorView normed, TensorView hidden, TensorView partial, TensorView bias, const InputNorm& norm,
                      const PeerSum& sum, const Stream& stream);
void peer_all_reduce(TensorView data, const PeerSum& sum, const Stream& stream);
}  // namespace cuda

namespace {

// call(begin, end) for as many rows at a time as an area takes.
template <typename Call>
void for_each_piece(const char* op, const TensorView& data, const PeerSum& sum, Call call) {
  const int64_t rows = data.dim(0), most = all_reduce_rows(sum, data.dim(1), data.device());
  CHECK(most > 0) << op << ": a row does not fit an area of" << sum.buffers.area_bytes << "bytes:" << data.shape_text();
  for (int64_t begin = 0; begin < rows; begin += most) call(begin, std::min(begin + most, rows));
}

}  // namespace

int64_t all_reduce_rows(const PeerSum& sum, int64_t cols, Device device) {
  BACKEND_RETURN(device, all_reduce_rows(sum, cols));
}

void fused_all_reduce(TensorView normed, TensorView hidden, TensorView partial, TensorView bias, const InputNorm& norm,
                      const PeerSum& sum, const Stream& stream) {
  constexpr const char* kOp = "fused_all_reduce";
  CHECK_EQ(hidden.rank(), 2) << kOp << hidden.shape_text();
  const Device device = hidden.device();
  const int64_t rows = hidden.dim(0), cols = hidden.dim(1);
  check_rows(kOp, "hidden", hidden, activation_dtype(device), device, {rows, cols});
  check_rows(kOp, "partial", partial, partial_dtype(device), device, {rows, cols});
  if (!bias.empty()) check_contiguous(kOp, "bias", bias, activation_dtype(device), device, {cols});
  if (!norm.weight.empty()) {
    check_contiguous(kOp, "norm", norm.weight, DType::f32, device, {cols});
    check_rows(kOp, "normed", normed, activation_dtype(device), device, {rows, cols});
  }
  if (hidden.empty()) return;
  for_each_piece(kOp, hidden, sum, [&](int64_t begin, int64_t end) {
    const TensorView piece = norm.weight.empty() ? normed : normed.slice(0, begin, end);
    BACKEND(device, fused_all_reduce(piece, hidden.slice(0, begin, end), partial.slice(0, begin, end), bias, norm, sum,
                                     stream));
  });
}

void peer_all_reduce(TensorView data, const PeerSum& sum, const Stream& stream) {
  constexpr const char* kOp = "peer_all_reduce";
  CHECK_EQ(data.rank(), 2) << kOp << data.shape_text();
  const Device device = data.device();
  check_rows(kOp, "data", data, partial_dtype(device), device, {data.dim(0), data.dim(1)});
  if (data.empty()) return;
  for_each_piece(kOp, data, sum, [&](int64_t begin, int64_t end) {
    BACKEND(device, peer_all_reduce(data.slice(0, begin, end), sum, stream));
  });
}

}  // namespace trireme
