#include "kernels/linear.h"

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
static void load_pinned_rows_async(TensorView, const void*, DType, void*, const Stream&) {
  CHECK(false) << "load_pinned_rows_async: panels are not written so";
}
DType linear_storage(DType source, int64_t in_features);
LinearWeight make_linear_weight(Device device, DType source, int64_t out_features, int64_t in_features, int granule);
void load_linear_rows(LinearWeight& weight, int64_t row_begin, int64_t count, const void* rows, DType source,
                      const Stream& stream);
void fill_linear_random(LinearWeight& weight, uint64_t seed, float scale, int64_t row_offset, int64_t column_offset,
                        const Stream& stream);
void linear(TensorView out, TensorView x, const LinearWeight& weight, TensorView bias, const Stream& stream);
void embed(TensorView out, TensorView ids, const LinearWeight& table, int64_t vocab_begin, const Stream& stream);
}  // namespace cpu
namespace cuda {
LinearWeight make_linear_weight(Device device, DType source, int64_t out_features, int64_t in_features, int granule);
void load_linear_rows(LinearWeight& weight, int64_t row_begin, int64_t count, const void* rows, DType source,
                      const Stream& stream);
void load_pinned_rows_async(TensorView out, const void* rows, DType source, void* scratch, const Stream& stream);
void fill_linear_random(LinearWeight& weight, uint64_t seed, float scale, int64_t row_offset, int64_t column_offset,
                        const Stream& stream);
void linear(TensorView out, TensorView x, const LinearWeight& weight, TensorView bias, const Stream& stream);
void embed(TensorView out, TensorView ids, const LinearWeight& table, int64_t vocab_begin, const Stream& stream);
}  // namespace cuda

DType linear_storage(Device device, DType source, int64_t in_features) {
  return device.is_cuda() ? DType::bf16 : cpu::linear_storage(source, in_features);
}

LinearWeight make_linear_weight(Device device, DType source, int64_t out_features, int64_t in_features, int granule) {
  CHECK(out_features >= 0 && in_features >= 0) << "make_linear_weight" << out_features << "x" << in_features;
  CHECK_GT(granule, 0) << "make_linear_weight: granule";
  BACKEND_RETURN(device, make_linear_weight(device, source, out_features, in_features, granule));
}

void load_linear_rows(LinearWeight& weight, int64_t row_begin, int64_t count, const void* rows, DType source,
                      const Stream& stream) {
  CHECK(row_begin >= 0 && count >= 0 && row_begin + count <= weight.out_features)
      << "load_linear_rows: rows" << row_begin << "+" << count << "of" << weight.out_features;
  if (count == 0 || weight.in_features == 0) return;
  BACKEND(weight.device(), load_linear_rows(weight, row_begin, count, rows, source, stream));
}

void load_pinned_rows_async(TensorView out, const void* rows, DType source, void* scratch, const Stream& stream) {
  if (out.empty()) return;
  BACKEND(out.device(), load_pinned_rows_async(out, rows, source, scratch, stream));
}

void fill_linear_random(LinearWeight& weight, uint64_t seed, float scale, int64_t row_offset, int64_t column_offset,
                        const Stream& stream) {
  if (weight.out_features == 0 || weight.in_features == 0) return;
  BACKEND(weight.device(), fill_linear_random(weight, seed, scale, row_offset, column_offset, stream));
}

void linear(TensorView out, TensorView x, const LinearWeight& weight, TensorView bias, const Stream& stream) {
  CHECK_EQ(x.rank(), 2) << "linear: x" << x.shape_text();
  const Device device = weight.device();
  const DType activation = activation_dtype(device), partial = partial_dtype(device);
  check_rows("linear", "x", x, activation, device, {x.dim(0), weight.in_features});
  CHECK(out.dtype() == activation || out.dtype() == partial || out.dtype() == DType::f32)
      << "linear: out" << out.shape_text();
  check_rows("linear", "out", out, out.dtype(), device, {x.dim(0), weight.out_features});
  if (!bias.empty()) {
    check_contiguous("linear", "bias", bias, activation, device, {weight.out_features});
    CHECK(out.dtype() != partial || partial == activation)
        << "linear: a partial sum takes its bias after the sum over ranks";
  }
  if (out.empty()) return;
  BACKEND(device, linear(out, x, weight, bias, stream));
}

void embed(TensorView out, TensorView ids, const LinearWeight& table, int64_t vocab_begin, const Stream& stream) {
  CHECK_EQ(ids.rank(), 1) << "embed: ids" << ids.shape_text();
  const Device device = table.device();
  check_contiguous("embed", "ids", ids, DType::i32, device, {ids.dim(0)});
  check_rows("embed", "out", out, activation_dtype(device), device, {ids.dim(0), table.in_features});
  if (out.empty()) return;
  BACKEND(device, embed(out, ids, table, vocab_begin, stream));
}

}  // namespace trireme
