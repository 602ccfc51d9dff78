// The loops of norms, elementwise ops and rope. Included once per loops_*.cpp. A row's result depends on its
// own values and its length only.

namespace trireme::cpu::TRIREME_ISA {

// Walks a row in vectors of 16 columns: body.full(c), and body.part(c, count) for what is left.
template <typename Body>
inline void each_vector(int64_t cols, Body& body) {
  int64_t c = 0;
  for (; c + kLanes <= cols; c += kLanes) body.full(c);
  if (c < cols) body.part(c, int(cols - c));
}

struct SquareSum {  // in float64, where squares of float32 are exact
  const float* x;
  Doubles total = zero_doubles();
  void full(int64_t c) { total = add_square(total, load(x + c)); }
  void part(int64_t c, int count) { total = add_square(total, load_part(x + c, count)); }
};

struct Sum {
  const float* x;
  Doubles total = zero_doubles();
  void full(int64_t c) { total = add(total, load(x + c)); }
  void part(int64_t c, int count) { total = add(total, load_part(x + c, count)); }
};

struct CenteredSquareSum {
  const float* x;
  Vector mean;
  Doubles total = zero_doubles();
  void full(int64_t c) { total = add_square(total, sub(load(x + c), mean)); }
  void part(int64_t c, int count) {  // lanes past the end: mean - mean
    float padded[kLanes];
    store(padded, mean);
    for (int i = 0; i < count; ++i) padded[i] = x[c + i];
    total = add_square(total, sub(load(padded), mean));
  }
};

inline void rms_norm_row(float* out, const float* x, const float* weight, float eps, int64_t cols) {
  SquareSum squares{x};
  each_vector(cols, squares);
  const Vector scale = broadcast(float(1.0 / std::sqrt(sum_lanes(squares.total) / double(cols) + double(eps))));
  int64_t c = 0;
  for (; c + kLanes <= cols; c += kLanes) store(out + c, mul(mul(load(x + c), scale), load(weight + c)));
  if (const int left = int(cols - c); left > 0)
    store_part(out + c, mul(mul(load_part(x + c, left), scale), load_part(weight + c, left)), left);
}

inline void rms_norm(float* out, int64_t out_stride, const float* x, int64_t x_stride, const float* weight, float eps,
                     Rows size) {
  for (int64_t r = 0; r < size.rows; ++r) rms_norm_row(out + r * out_stride, x + r * x_stride, weight, eps, size.cols);
}

inline void layer_norm_row(float* out, const float* x, const float* weight, const float* bias, float eps,
                           int64_t cols) {
  Sum sum{x};
  each_vector(cols, sum);
  const Vector mean = broadcast(float(sum_lanes(sum.total) / double(cols)));
  CenteredSquareSum squares{x, mean};
  each_vector(cols, squares);
  const Vector scale = broadcast(float(1.0 / std::sqrt(sum_lanes(squares.total) / double(cols) + double(eps))));
  int64_t c = 0;
  for (; c + kLanes <= cols; c += kLanes)
    store(out + c, fma(mul(sub(load(x + c), mean), scale), load(weight + c), load(bias + c)));
  if (const int left = int(cols - c); left > 0) {
    const Vector centered = mul(sub(load_part(x + c, left), mean), scale);
    store_part(out + c, fma(centered, load_part(weight + c, left), load_part(bias + c, left)), left);
  }
}

inline void layer_norm(float* out, int64_t out_stride, const float* x, int64_t x_stride, const float* weight,
                       const float* bias, float eps, Rows size) {
  for (int64_t r = 0; r < size.rows; ++r)
    layer_norm_row(out + r * out_stride, x + r * x_stride, weight, bias, eps, size.cols);
}

inline Vector silu(Vector x) { return mul(x, sigmoid(x)); }

// 0.5 x (1 + tanh u) = x sigmoid(2 u), which loses nothing where tanh u is near -1.
inline Vector gelu(Vector x) {
  const Vector inner = fma(mul(mul(x, x), x), broadcast(0.044715f), x);
  return mul(x, sigmoid(mul(broadcast(2.0f * 0.7978845608f), inner)));
}

template <Vector (*kActivation)(Vector)>
inline void gated(float* out, int64_t out_stride, const float* gate_up, int64_t gate_up_stride, Rows size) {
  for (int64_t r = 0; r < size.rows; ++r) {
    const float* gate = gate_up + r * gate_up_stride;
    const float* up = gate + size.cols;
    float* row = out + r * out_stride;
    int64_t c = 0;
    for (; c + kLanes <= size.cols; c += kLanes) store(row + c, mul(kActivation(load(gate + c)), load(up + c)));
    if (const int left = int(size.cols - c); left > 0)
      store_part(row + c, mul(kActivation(load_part(gate + c, left)), load_part(up + c, left)), left);
  }
}

inline void silu_mul(float* out, int64_t out_stride, const float* gate_up, int64_t gate_up_stride, Rows size) {
  gated<silu>(out, out_stride, gate_up, gate_up_stride, size);
}

inline void gelu_mul(float* out, int64_t out_stride, const float* gate_up, int64_t gate_up_stride, Rows size) {
  gated<gelu>(out, out_stride, gate_up, gate_up_stride, size);
}

inline void gelu_tanh(float* out, int64_t out_stride, const float* x, int64_t x_stride, Rows size) {
  for (int64_t r = 0; r < size.rows; ++r) {
    const float* in = x + r * x_stride;
    float* row = out + r * out_stride;
    int64_t c = 0;
    for (; c + kLanes <= size.cols; c += kLanes) store(row + c, gelu(load(in + c)));
    if (const int left = int(size.cols - c); left > 0) store_part(row + c, gelu(load_part(in + c, left)), left);
  }
}

// (sum + hidden) + bias in float64, rounded once.
inline void add_partial_row(float* hidden, const double* sum, const float* bias, int64_t cols) {
  int64_t c = 0;
  for (; c + kLanes <= cols; c += kLanes) {
    Doubles total = add(load_doubles(sum + c), load(hidden + c));
    if (bias) total = add(total, load(bias + c));
    store(hidden + c, to_floats(total));
  }
  for (; c < cols; ++c) {
    double total = sum[c] + double(hidden[c]);
    if (bias) total += double(bias[c]);
    hidden[c] = float(total);
  }
}

inline void add_partial(float* hidden, int64_t hidden_stride, const double* sum, int64_t sum_stride, const float* bias,
                        Rows size) {
  for (int64_t r = 0; r < size.rows; ++r)
    add_partial_row(hidden + r * hidden_stride, sum + r * sum_stride, bias, size.cols);
}

inline void add_row(float* hidden, const float* addend, int64_t cols) {
  int64_t c = 0;
  for (; c + kLanes <= cols; c += kLanes) store(hidden + c, add(load(hidden + c), load(addend + c)));
  for (; c < cols; ++c) hidden[c] += addend[c];
}

inline void rotary_angles(float* cosines, float* sines, float position, const float* inv_freq, float scale,
                          int64_t count) {
  const Vector factor = broadcast(scale), place = broadcast(position);
  Vector sine, cosine;
  for (int64_t i = 0; i < count; i += kLanes) {
    const int lanes = int(count - i < kLanes ? count - i : kLanes);
    sine_cosine(mul(place, load_part(inv_freq + i, lanes)), sine, cosine);
    store_part(cosines + i, mul(cosine, factor), lanes);
    store_part(sines + i, mul(sine, factor), lanes);
  }
}

inline void rotate(float* x, const float* cosines, const float* sines, int64_t count, int64_t half) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int lanes = int(count - i < kLanes ? count - i : kLanes);
    const Vector cosine = load_part(cosines + i, lanes), sine = load_part(sines + i, lanes);
    const Vector low = load_part(x + i, lanes), high = load_part(x + half + i, lanes);
    store_part(x + i, sub(mul(low, cosine), mul(high, sine)), lanes);
    store_part(x + half + i, add(mul(high, cosine), mul(low, sine)), lanes);
  }
}

inline void soft_cap(float* x, int64_t stride, float cap, Rows size) {
  const Vector limit = broadcast(cap);
  for (int64_t r = 0; r < size.rows; ++r) {
    float* row = x + r * stride;
    for (int64_t c = 0; c < size.cols; c += kLanes) {
      const int lanes = int(size.cols - c < kLanes ? size.cols - c : kLanes);
      store_part(row + c, mul(limit, tanh(div(load_part(row + c, lanes), limit))), lanes);
    }
  }
}

inline void exp_row(float* out, const float* x, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int lanes = int(count - i < kLanes ? count - i : kLanes);
    store_part(out + i, exp(load_part(x + i, lanes)), lanes);
  }
}

}  // namespace trireme::cpu::TRIREME_ISA
