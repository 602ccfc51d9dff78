#include "kernels/elementwise.h"

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
void silu_mul(TensorView out, TensorView gate_up, const Stream& stream);
void gelu_mul(TensorView out, TensorView gate_up, const Stream& stream);
void gelu_tanh(TensorView out, TensorView x, const Stream& stream);
void add_partial(TensorView hidden, TensorView sum, TensorView bias, const Stream& stream);
void add_position_embedding(TensorView hidden, TensorView positions, TensorView table, const Stream& stream);
void gather_rows(TensorView out, TensorView x, TensorView indices, const Stream& stream);
void scale(TensorView x, float factor, const Stream& stream);
void soft_cap(TensorView x, float cap, const Stream& stream);
}  // namespace cpu
namespace cuda {
void silu_mul(TensorView out, TensorView gate_up, const Stream& stream);
void gelu_mul(TensorView out, TensorView gate_up, const Stream& stream);
void gelu_tanh(TensorView out, TensorView x, const Stream& stream);
void add_partial(TensorView hidden, TensorView sum, TensorView bias, const Stream& stream);
void add_position_embedding(TensorView hidden, TensorView positions, TensorView table, const Stream& stream);
void gather_rows(TensorView out, TensorView x, TensorView indices, const Stream& stream);
void scale(TensorView x, float factor, const Stream& stream);
void soft_cap(TensorView x, float cap, const Stream& stream);
}  // namespace cuda

namespace {

void check_gated(const char* op, const TensorView& out, const TensorView& gate_up) {
  CHECK_EQ(out.rank(), 2) << op << out.shape_text();
  const Device device = out.device();
  check_rows(op, "out", out, activation_dtype(device), device, {out.dim(0), out.dim(1)});
  check_rows(op, "gate_up", gate_up, activation_dtype(device), device, {out.dim(0), 2 * out.dim(1)});
}

}  // namespace

void silu_mul(TensorView out, TensorView gate_up, const Stream& stream) {
  check_gated("silu_mul", out, gate_up);
  if (out.empty()) return;
  BACKEND(out.device(), silu_mul(out, gate_up, stream));
}

void gelu_mul(TensorView out, TensorView gate_up, const Stream& stream) {
  check_gated("gelu_mul", out, gate_up);
  if (out.empty()) return;
  BACKEND(out.device(), gelu_mul(out, gate_up, stream));
}

void gelu_tanh(TensorView out, TensorView x, const Stream& stream) {
  CHECK_EQ(out.rank(), 2) << "gelu_tanh: out" << out.shape_text();
  const Device device = out.device();
  check_rows("gelu_tanh", "out", out, activation_dtype(device), device, {out.dim(0), out.dim(1)});
  check_rows("gelu_tanh", "x", x, activation_dtype(device), device, {out.dim(0), out.dim(1)});
  if (out.empty()) return;
  BACKEND(device, gelu_tanh(out, x, stream));
}

void add_partial(TensorView hidden, TensorView sum, TensorView bias, const Stream& stream) {
  CHECK_EQ(hidden.rank(), 2) << "add_partial: hidden" << hidden.shape_text();
  const Device device = hidden.device();
  check_rows("add_partial", "hidden", hidden, activation_dtype(device), device, {hidden.dim(0), hidden.dim(1)});
  check_rows("add_partial", "sum", sum, partial_dtype(device), device, {hidden.dim(0), hidden.dim(1)});
  if (!bias.empty()) check_contiguous("add_partial", "bias", bias, activation_dtype(device), device, {hidden.dim(1)});
  if (hidden.empty()) return;
  BACKEND(device, add_partial(hidden, sum, bias, stream));
}

void add_position_embedding(TensorView hidden, TensorView positions, TensorView table, const Stream& stream) {
  CHECK_EQ(hidden.rank(), 2) << "add_position_embedding: hidden" << hidden.shape_text();
  CHECK_EQ(table.rank(), 2) << "add_position_embedding: table" << table.shape_text();
  const Device device = hidden.device();
  check_rows("add_position_embedding", "hidden", hidden, activation_dtype(device), device,
             {hidden.dim(0), hidden.dim(1)});
  check_contiguous("add_position_embedding", "positions", positions, DType::i32, device, {hidden.dim(0)});
  check_contiguous("add_position_embedding", "table", table, activation_dtype(device), device,
                   {table.dim(0), hidden.dim(1)});
  if (hidden.empty()) return;
  BACKEND(device, add_position_embedding(hidden, positions, table, stream));
}

void gather_rows(TensorView out, TensorView x, TensorView indices, const Stream& stream) {
  CHECK_EQ(x.rank(), 2) << "gather_rows: x" << x.shape_text();
  CHECK_EQ(indices.rank(), 1) << "gather_rows: indices" << indices.shape_text();
  CHECK(!is_block_dtype(x.dtype())) << "gather_rows: x" << x.shape_text();
  const Device device = x.device();
  check_rows("gather_rows", "x", x, x.dtype(), device, {x.dim(0), x.dim(1)});
  check_rows("gather_rows", "out", out, x.dtype(), device, {indices.dim(0), x.dim(1)});
  check_contiguous("gather_rows", "indices", indices, DType::i32, device, {indices.dim(0)});
  if (out.empty()) return;
  BACKEND(device, gather_rows(out, x, indices, stream));
}

void scale(TensorView x, float factor, const Stream& stream) {
  CHECK_EQ(x.rank(), 2) << "scale" << x.shape_text();
  check_rows("scale", "x", x, activation_dtype(x.device()), x.device(), {x.dim(0), x.dim(1)});
  if (x.empty()) return;
  BACKEND(x.device(), scale(x, factor, stream));
}

void soft_cap(TensorView x, float cap, const Stream& stream) {
  CHECK_EQ(x.rank(), 2) << "soft_cap" << x.shape_text();
  check_rows("soft_cap", "x", x, DType::f32, x.device(), {x.dim(0), x.dim(1)});
  CHECK_GT(cap, 0) << "soft_cap";
  if (x.empty()) return;
  BACKEND(x.device(), soft_cap(x, cap, stream));
}

}  // namespace trireme
