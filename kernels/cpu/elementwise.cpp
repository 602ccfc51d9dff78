#include <cstring>

#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/thread_pool.h"

namespace trireme::cpu {

void silu_mul(TensorView out, TensorView gate_up, const Stream&) {
  const int64_t rows = out.dim(0), cols = out.dim(1);
  parallel_ranges(rows, worthwhile_chunks(rows, 3 * cols), [&](int64_t begin, int64_t end) {
    loops().silu_mul(out.as<float>() + begin * out.stride(0), out.stride(0),
                     gate_up.as<float>() + begin * gate_up.stride(0), gate_up.stride(0), {end - begin, cols});
  });
}

void gelu_mul(TensorView out, TensorView gate_up, const Stream&) {
  const int64_t rows = out.dim(0), cols = out.dim(1);
  parallel_ranges(rows, worthwhile_chunks(rows, 3 * cols), [&](int64_t begin, int64_t end) {
    loops().gelu_mul(out.as<float>() + begin * out.stride(0), out.stride(0),
                     gate_up.as<float>() + begin * gate_up.stride(0), gate_up.stride(0), {end - begin, cols});
  });
}

void gelu_tanh(TensorView out, TensorView x, const Stream&) {
  const int64_t rows = out.dim(0), cols = out.dim(1);
  parallel_ranges(rows, worthwhile_chunks(rows, 3 * cols), [&](int64_t begin, int64_t end) {
    loops().gelu_tanh(out.as<float>() + begin * out.stride(0), out.stride(0), x.as<float>() + begin * x.stride(0),
                      x.stride(0), {end - begin, cols});
  });
}

void add_partial(TensorView hidden, TensorView sum, TensorView bias, const Stream&) {
  const int64_t rows = hidden.dim(0), cols = hidden.dim(1);
  parallel_ranges(rows, worthwhile_chunks(rows, cols), [&](int64_t begin, int64_t end) {
    loops().add_partial(hidden.as<float>() + begin * hidden.stride(0), hidden.stride(0),
                        sum.as<double>() + begin * sum.stride(0), sum.stride(0),
                        bias.empty() ? nullptr : bias.as<float>(), {end - begin, cols});
  });
}

void add_position_embedding(TensorView hidden, TensorView positions, TensorView table, const Stream&) {
  const int32_t* position = positions.as<int32_t>();
  for (int64_t t = 0; t < hidden.dim(0); ++t) {
    CHECK(position[t] >= 0 && position[t] < table.dim(0))
        << "add_position_embedding: position" << position[t] << "of" << table.dim(0);
    loops().add_row(hidden.as<float>() + t * hidden.stride(0), table.as<float>() + position[t] * table.stride(0),
                    hidden.dim(1));
  }
}

void gather_rows(TensorView out, TensorView x, TensorView indices, const Stream&) {
  const int32_t* index = indices.as<int32_t>();
  const int64_t element = dtype_block_bytes(x.dtype()), row_bytes = x.dim(1) * element;
  for (int64_t i = 0; i < out.dim(0); ++i) {
    CHECK(index[i] >= 0 && index[i] < x.dim(0)) << "gather_rows: row" << index[i] << "of" << x.dim(0);
    std::memcpy(static_cast<char*>(out.data()) + i * out.stride(0) * element,
                static_cast<const char*>(x.data()) + index[i] * x.stride(0) * element, size_t(row_bytes));
  }
}

void scale(TensorView x, float factor, const Stream&) {
  for (int64_t r = 0; r < x.dim(0); ++r) {
    float* row = x.as<float>() + r * x.stride(0);
    for (int64_t c = 0; c < x.dim(1); ++c) row[c] *= factor;
  }
}

void soft_cap(TensorView x, float cap, const Stream&) {
  const int64_t rows = x.dim(0), cols = x.dim(1);
  parallel_ranges(rows, worthwhile_chunks(rows, 3 * cols), [&](int64_t begin, int64_t end) {
    loops().soft_cap(x.as<float>() + begin * x.stride(0), x.stride(0), cap, {end - begin, cols});
  });
}

}  // namespace trireme::cpu
