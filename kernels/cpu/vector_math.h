// exp, sigmoid, tanh, sine and cosine on sixteen lanes, to about one unit in the last place, the same bits on every
// instruction set: every multiply-add that is fused is written as fma. Polynomials are minimax fits of our own.
// Included once per loops_*.cpp, after the vector_*.h of its instruction set.

namespace trireme::cpu::TRIREME_ISA {

// Infinite above 88 (1.6e38), zero below -87.33 (the smallest normal float32). NaN stays NaN: min and max return
// their second operand then.
inline Vector exp(Vector x) {
  const Vector upper = broadcast(88.0f), lower = broadcast(-87.33f), zero = broadcast(0.0f);
  const Vector bounded = max(lower, min(upper, x));
  const Vector n = round_even(mul(bounded, broadcast(0x1.715476p+0f)));  // x / ln 2
  Vector r = fma(n, broadcast(-0x1.62e43p-1f), bounded);                 // x - n ln 2, in two parts
  r = fma(n, broadcast(0x1.05c61p-29f), r);
  Vector p = broadcast(0.00019790298f);
  p = fma(p, r, broadcast(0.0013944703f));
  p = fma(p, r, broadcast(0.008333498f));
  p = fma(p, r, broadcast(0.041666295f));
  p = fma(p, r, broadcast(0.16666666f));
  p = fma(p, r, broadcast(0.5f));
  p = fma(mul(r, r), p, r);
  const Vector power = power_of_two(n);
  const Vector value = fma(p, power, power);
  return select_less(x, lower, zero, select_less(upper, x, broadcast(std::numeric_limits<float>::infinity()), value));
}

inline Vector sigmoid(Vector x) {
  const Vector one = broadcast(1.0f);
  return div(one, add(one, exp(sub(broadcast(0.0f), x))));
}

// An odd polynomial below 0.625, 1 - 2 / (e^2x + 1) above.
inline Vector tanh(Vector x) {
  const Vector one = broadcast(1.0f), two = broadcast(2.0f), size = absolute(x), z = mul(x, x);
  Vector p = broadcast(-0.0056935167f);
  p = fma(p, z, broadcast(0.02063041f));
  p = fma(p, z, broadcast(-0.053737614f));
  p = fma(p, z, broadcast(0.13331425f));
  p = fma(p, z, broadcast(-0.3333328f));
  const Vector small = fma(mul(x, z), p, x);
  const Vector large = sub(one, div(two, add(exp(mul(two, size)), one)));
  return select_less(size, broadcast(0.625f), small, copy_sign(large, x));
}

// |x| below some 4 million: the multiple of pi/2 is taken off in three parts.
inline void sine_cosine(Vector x, Vector& sine, Vector& cosine) {
  const Vector n = round_even(mul(x, broadcast(0x1.45f306p-1f)));  // x / (pi / 2)
  Vector r = fma(n, broadcast(-0x1.921fb6p+0f), x);
  r = fma(n, broadcast(0x1.777a5cp-25f), r);
  r = fma(n, broadcast(0x1.ee59dap-50f), r);
  const Vector z = mul(r, r);
  Vector s = fma(z, broadcast(-0.00019516655f), broadcast(0.008332173f));
  s = fma(s, z, broadcast(-0.16666655f));
  s = fma(mul(r, z), s, r);
  Vector c = fma(z, broadcast(2.443773e-05f), broadcast(-0.0013887362f));
  c = fma(c, z, broadcast(0.041666646f));
  c = fma(mul(z, z), c, fma(z, broadcast(-0.5f), broadcast(1.0f)));
  const Words quarter = low_bits(n);
  sine = negate_if_bit1(quarter, select_odd(quarter, c, s));
  cosine = negate_if_bit1(plus_one(quarter), select_odd(quarter, s, c));
}

}  // namespace trireme::cpu::TRIREME_ISA
