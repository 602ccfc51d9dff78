#include "kernels/elementwise.h"

#include "kernels/cuda/common/gated_activation.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 128;

// grid: x = row, y = column tile of kThreads * kWidth.
dim3 row_grid(int64_t rows, int64_t cols, int width) {
  return dim3(grid_size(rows), grid_size(ceil_div(cols, kThreads * width), kMaxGridY));
}
template <int kWidth>
__device__ inline int64_t first_column() {
  return (int64_t(blockIdx.y) * kThreads + threadIdx.x) * kWidth;
}

// out = activation(gate) * up
template <int kWidth, typename Activation>
__global__ void gated_kernel(bf16* out, const bf16* gate_up, int64_t cols, int64_t out_stride, int64_t in_stride,
                             Activation activation) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t c = first_column<kWidth>();
  if (c >= cols) return;
  const bf16* row = gate_up + int64_t(blockIdx.x) * in_stride;
  float gate[kWidth], up[kWidth];
  load(row + c, gate);
  load(row + cols + c, up);
  for (int i = 0; i < kWidth; ++i) up[i] *= activation(gate[i]);
  store(out + int64_t(blockIdx.x) * out_stride + c, up);
}

template <int kWidth>
__global__ void gelu_tanh_kernel(bf16* out, const bf16* x, int64_t cols, int64_t out_stride, int64_t x_stride) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t c = first_column<kWidth>();
  if (c >= cols) return;
  float values[kWidth];
  load(x + int64_t(blockIdx.x) * x_stride + c, values);
  for (int i = 0; i < kWidth; ++i) values[i] = GeluTanh()(values[i]);
  store(out + int64_t(blockIdx.x) * out_stride + c, values);
}

// x *= factor
template <int kWidth>
__global__ void scale_kernel(bf16* x, float factor, int64_t cols, int64_t stride) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t c = first_column<kWidth>();
  if (c >= cols) return;
  bf16* to = x + int64_t(blockIdx.x) * stride + c;
  float values[kWidth];
  load(to, values);
  for (int i = 0; i < kWidth; ++i) values[i] *= factor;
  store(to, values);
}

// x = cap tanh(x / cap)
__global__ void soft_cap_kernel(float* x, float cap, int64_t cols, int64_t stride) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t c = first_column<1>();
  if (c >= cols) return;
  float& value = x[int64_t(blockIdx.x) * stride + c];
  value = cap * tanhf(value / cap);
}

// hidden += sum (+ bias), rounded once
template <int kWidth>
__global__ void add_partial_kernel(bf16* hidden, const bf16* sum, const bf16* bias, int64_t cols, int64_t hidden_stride,
                                   int64_t sum_stride) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t c = first_column<kWidth>();
  if (c >= cols) return;
  bf16* to = hidden + int64_t(blockIdx.x) * hidden_stride + c;
  float values[kWidth], added[kWidth];
  load(to, values);
  load(sum + int64_t(blockIdx.x) * sum_stride + c, added);
  for (int i = 0; i < kWidth; ++i) values[i] += added[i];
  if (bias) {
    load(bias + c, added);
    for (int i = 0; i < kWidth; ++i) values[i] += added[i];
  }
  store(to, values);
}

// hidden[t, :] += table[positions[t], :]
template <int kWidth>
__global__ void add_position_kernel(bf16* hidden, const int32_t* positions, const bf16* table, int64_t cols,
                                    int64_t hidden_stride, int64_t table_stride) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t c = first_column<kWidth>();
  if (c >= cols) return;
  bf16* to = hidden + int64_t(blockIdx.x) * hidden_stride + c;
  float values[kWidth], added[kWidth];
  load(to, values);
  load(table + int64_t(positions[blockIdx.x]) * table_stride + c, added);
  for (int i = 0; i < kWidth; ++i) values[i] += added[i];
  store(to, values);
}

// out[i, :] = x[indices[i], :], in pieces of sizeof(Unit) bytes; strides and row length in pieces.
template <typename Unit>
__global__ void gather_rows_kernel(Unit* out, const Unit* x, const int32_t* indices, int64_t row_units,
                                   int64_t out_stride, int64_t x_stride) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t c = first_column<1>();
  if (c < row_units) out[int64_t(blockIdx.x) * out_stride + c] = x[int64_t(indices[blockIdx.x]) * x_stride + c];
}

struct GatherBytes {
  TensorView out, x, indices;
  int64_t row_bytes, out_stride, x_stride;
};

template <typename Unit>
bool try_gather(const GatherBytes& g, const Stream& stream) {
  constexpr int64_t kUnit = sizeof(Unit);
  if (g.row_bytes % kUnit || g.out_stride % kUnit || g.x_stride % kUnit) return false;
  if (!is_aligned(g.out.data(), kUnit) || !is_aligned(g.x.data(), kUnit)) return false;
  launch_dependent(gather_rows_kernel<Unit>, row_grid(g.out.dim(0), g.row_bytes / kUnit, 1), dim3(kThreads), 0,
                   stream, static_cast<Unit*>(g.out.data()), static_cast<const Unit*>(g.x.data()),
                   i32_data(g.indices), g.row_bytes / kUnit, g.out_stride / kUnit, g.x_stride / kUnit);
  return true;
}

}  // namespace

namespace {

template <typename Activation>
void launch_gated(TensorView out, TensorView gate_up, Activation activation, const Stream& stream) {
  if (out.empty()) return;
  const int64_t cols = out.dim(1);
  with_vector_width(rows_are_wide(out, cols) && rows_are_wide(gate_up, cols), [&](auto width) {
    launch_dependent(gated_kernel<width(), Activation>, row_grid(out.dim(0), cols, width()), dim3(kThreads), 0,
                     stream, bf16_data(out), bf16_data(gate_up), cols, out.stride(0), gate_up.stride(0), activation);
  });
}

}  // namespace

void silu_mul(TensorView out, TensorView gate_up, const Stream& stream) { launch_gated(out, gate_up, Silu(), stream); }
void gelu_mul(TensorView out, TensorView gate_up, const Stream& stream) {
  launch_gated(out, gate_up, GeluTanh(), stream);
}

void gelu_tanh(TensorView out, TensorView x, const Stream& stream) {
  if (out.empty()) return;
  const int64_t cols = out.dim(1);
  with_vector_width(rows_are_wide(out, cols) && rows_are_wide(x, cols), [&](auto width) {
    launch_dependent(gelu_tanh_kernel<width()>, row_grid(out.dim(0), cols, width()), dim3(kThreads), 0, stream,
                     bf16_data(out), bf16_data(x), cols, out.stride(0), x.stride(0));
  });
}

void add_partial(TensorView hidden, TensorView sum, TensorView bias, const Stream& stream) {
  if (hidden.empty()) return;
  const int64_t cols = hidden.dim(1);
  const bf16* bias_data = bias.empty() ? nullptr : bf16_data(bias);
  const bool wide = rows_are_wide(hidden, cols) && rows_are_wide(sum, cols) && is_aligned(bias_data, 16);
  with_vector_width(wide, [&](auto width) {
    launch_dependent(add_partial_kernel<width()>, row_grid(hidden.dim(0), cols, width()), dim3(kThreads), 0, stream,
                     bf16_data(hidden), bf16_data(sum), bias_data, cols, hidden.stride(0), sum.stride(0));
  });
}

void add_position_embedding(TensorView hidden, TensorView positions, TensorView table, const Stream& stream) {
  if (hidden.empty()) return;
  const int64_t cols = hidden.dim(1);
  with_vector_width(rows_are_wide(hidden, cols) && rows_are_wide(table, cols), [&](auto width) {
    launch_dependent(add_position_kernel<width()>, row_grid(hidden.dim(0), cols, width()), dim3(kThreads), 0, stream,
                     bf16_data(hidden), i32_data(positions), bf16_data(table), cols, hidden.stride(0),
                     table.stride(0));
  });
}

void gather_rows(TensorView out, TensorView x, TensorView indices, const Stream& stream) {
  if (out.empty()) return;
  const int64_t element = dtype_block_bytes(out.dtype());
  const GatherBytes g{out, x, indices, out.dim(1) * element, out.stride(0) * element, x.stride(0) * element};
  const bool done = try_gather<uint4>(g, stream) || try_gather<uint32_t>(g, stream) ||
                    try_gather<uint16_t>(g, stream) || try_gather<uint8_t>(g, stream);
  CHECK(done) << "gather_rows" << out.shape_text();
}

void scale(TensorView x, float factor, const Stream& stream) {
  if (x.empty()) return;
  const int64_t cols = x.dim(1);
  with_vector_width(rows_are_wide(x, cols), [&](auto width) {
    launch_dependent(scale_kernel<width()>, row_grid(x.dim(0), cols, width()), dim3(kThreads), 0, stream,
                     bf16_data(x), factor, cols, x.stride(0));
  });
}

void soft_cap(TensorView x, float cap, const Stream& stream) {
  if (x.empty()) return;
  const int64_t cols = x.dim(1);
  launch_dependent(soft_cap_kernel, row_grid(x.dim(0), cols, 1), dim3(kThreads), 0, stream, f32_data(x), cap, cols,
                   x.stride(0));
}

}  // namespace trireme::cuda
