#include "kernels/fused_all_reduce.h"

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
bool all_reduce_fits(const PeerSum& sum, int64_t rows, int64_t cols);
void fused_all_reduce(TensorView normed, TensorView hidden, TensorView partial, TensorView bias, const InputNorm& norm,
                      const PeerSum& sum, const Stream& stream);
void peer_all_reduce(TensorView data, const PeerSum& sum, const Stream& stream);
}  // namespace cpu
namespace cuda {
bool all_reduce_fits(const PeerSum& sum, int64_t rows, int64_t cols);
void fused_all_reduce(TensorView normed, TensorView hidden, TensorView partial, TensorView bias, const InputNorm& norm,
                      const PeerSum& sum, const Stream& stream);
void peer_all_reduce(TensorView data, const PeerSum& sum, const Stream& stream);
}  // namespace cuda

bool all_reduce_fits(const PeerSum& sum, int64_t rows, int64_t cols, Device device) {
  BACKEND_RETURN(device, all_reduce_fits(sum, rows, cols));
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
  CHECK(all_reduce_fits(sum, rows, cols, device)) << kOp << hidden.shape_text();
  BACKEND(device, fused_all_reduce(normed, hidden, partial, bias, norm, sum, stream));
}

void peer_all_reduce(TensorView data, const PeerSum& sum, const Stream& stream) {
  constexpr const char* kOp = "peer_all_reduce";
  CHECK_EQ(data.rank(), 2) << kOp << data.shape_text();
  const Device device = data.device();
  check_rows(kOp, "data", data, partial_dtype(device), device, {data.dim(0), data.dim(1)});
  if (data.empty()) return;
  CHECK(all_reduce_fits(sum, data.dim(0), data.dim(1), device)) << kOp << data.shape_text();
  BACKEND(device, peer_all_reduce(data, sum, stream));
}

}  // namespace trireme
