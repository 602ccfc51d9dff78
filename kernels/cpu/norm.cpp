#include <cmath>
#include <vector>

#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"

namespace trireme::cpu {

void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream&) {
  const int64_t rows = x.dim(0), cols = x.dim(1);
  parallel_ranges(rows, worthwhile_chunks(rows, cols), [&](int64_t begin, int64_t end) {
    loops().rms_norm(out.as<float>() + begin * out.stride(0), out.stride(0), x.as<float>() + begin * x.stride(0),
                     x.stride(0), weight.as<float>(), eps, {end - begin, cols});
  });
}

void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream&) {
  const int64_t rows = x.dim(0), cols = x.dim(1);
  parallel_ranges(rows, worthwhile_chunks(rows, cols), [&](int64_t begin, int64_t end) {
    loops().layer_norm(out.as<float>() + begin * out.stride(0), out.stride(0), x.as<float>() + begin * x.stride(0),
                       x.stride(0), weight.as<float>(), bias.as<float>(), eps, {end - begin, cols});
  });
}

void head_rms_norm(TensorView x, TensorView weight, float eps, const Stream&) {
  const int64_t tokens = x.dim(0), heads = x.dim(1), dim = x.dim(2);
  parallel_ranges(tokens, worthwhile_chunks(tokens, heads * dim), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = x.as<float>() + t * x.stride(0);
      loops().rms_norm(row, dim, row, dim, weight.as<float>(), eps, {heads, dim});
    }
  });
}

void add_norm_partial(TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps, const Stream&) {
  const int64_t rows = hidden.dim(0), cols = hidden.dim(1);
  parallel_ranges(rows, worthwhile_chunks(rows, 2 * cols), [&](int64_t begin, int64_t end) {
    static thread_local std::vector<float> scratch;  // for as long as the thread lives
    scratch.resize(size_t(cols));
    for (int64_t t = begin; t < end; ++t) {
      const double* from = sum.as<double>() + t * sum.stride(0);
      for (int64_t c = 0; c < cols; ++c)
        scratch[size_t(c)] = float(bias.empty() ? from[c] : from[c] + double(bias.as<float>()[c]));
      loops().rms_norm(scratch.data(), cols, scratch.data(), cols, weight.as<float>(), eps, {1, cols});
      loops().add_row(hidden.as<float>() + t * hidden.stride(0), scratch.data(), cols);
    }
  });
}

void add_rms_norm(TensorView normed, TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                  const Stream& stream) {
  trireme::add_partial(hidden, sum, bias, stream);
  trireme::rms_norm(normed, hidden, weight, eps, stream);
}

// In float64, where squares of float32 are exact, dimension by dimension.
void head_square_sums(TensorView sums, TensorView x, const Stream&) {
  const int64_t tokens = x.dim(0), heads = x.dim(1), dim = x.dim(2);
  parallel_ranges(tokens, worthwhile_chunks(tokens, heads * dim), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const float* head = x.as<float>() + t * x.stride(0) + h * dim;
        double total = 0;
        for (int64_t d = 0; d < dim; ++d) total += double(head[d]) * double(head[d]);
        sums.as<double>()[t * sums.stride(0) + h] = total;
      }
    }
  });
}

void rms_norm_by_sums(TensorView x, TensorView sums, int64_t length, TensorView weight, float eps, const Stream&) {
  const int64_t tokens = x.dim(0), cols = x.dim(1);
  parallel_ranges(tokens, worthwhile_chunks(tokens, cols), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      double total = 0;
      for (int64_t h = 0; h < sums.dim(1); ++h) total += sums.as<double>()[t * sums.stride(0) + h];
      const float factor = float(1.0 / std::sqrt(total / double(length) + double(eps)));
      float* row = x.as<float>() + t * x.stride(0);
      for (int64_t c = 0; c < cols; ++c) row[c] = row[c] * factor * weight.as<float>()[c];
    }
  });
}

}  // namespace trireme::cpu
