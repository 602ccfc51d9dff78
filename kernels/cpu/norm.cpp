#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/thread_pool.h"

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

}  // namespace trireme::cpu
