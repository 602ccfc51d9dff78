// Sixteen float32 lanes and sixteen float64 lanes in plain C++: slow, right everywhere, and the meaning of the
// AVX2 and AVX-512 versions. Included once per loops_*.cpp, inside that file's target; see loops.h.

namespace trireme::cpu::TRIREME_ISA {

inline constexpr int kLanes = 16;
inline constexpr int kTileTokens = 4, kTilePanels = 1;      // register tile of the matrix loops
inline constexpr int kDirectPanels = 1;                     // panels in flight in the matrix-vector loops
inline constexpr int kScoreQueries = 2, kScoreVectors = 2;  // register tile of attention; kScoreVectors divides 4

struct Vector {
  float lane[kLanes];
};
struct Doubles {
  double lane[kLanes];
};
struct Words {
  uint32_t lane[kLanes];
};

#define TRIREME_EACH_LANE for (int i = 0; i < kLanes; ++i)

inline Vector broadcast(float value) {
  Vector r;
  TRIREME_EACH_LANE r.lane[i] = value;
  return r;
}
inline Vector load(const float* p) {
  Vector r;
  TRIREME_EACH_LANE r.lane[i] = p[i];
  return r;
}
inline void store(float* p, Vector a) { TRIREME_EACH_LANE p[i] = a.lane[i]; }
// The first `count` lanes (1 to 16); the others read as zero.
inline Vector load_part(const float* p, int count) {
  Vector r;
  TRIREME_EACH_LANE r.lane[i] = i < count ? p[i] : 0;
  return r;
}
inline void store_part(float* p, Vector a, int count) {
  for (int i = 0; i < count; ++i) p[i] = a.lane[i];
}

inline Vector fma(Vector a, Vector b, Vector c) {
  TRIREME_EACH_LANE c.lane[i] = std::fma(a.lane[i], b.lane[i], c.lane[i]);
  return c;
}
inline Vector add(Vector a, Vector b) {
  TRIREME_EACH_LANE a.lane[i] += b.lane[i];
  return a;
}
inline Vector sub(Vector a, Vector b) {
  TRIREME_EACH_LANE a.lane[i] -= b.lane[i];
  return a;
}
inline Vector mul(Vector a, Vector b) {
  TRIREME_EACH_LANE a.lane[i] *= b.lane[i];
  return a;
}
inline Vector div(Vector a, Vector b) {
  TRIREME_EACH_LANE a.lane[i] /= b.lane[i];
  return a;
}
inline Vector max(Vector a, Vector b) {
  TRIREME_EACH_LANE a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
  return a;
}
inline Vector min(Vector a, Vector b) {
  TRIREME_EACH_LANE a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
  return a;
}
// a < b ? x : y; false where either is NaN.
inline Vector select_less(Vector a, Vector b, Vector x, Vector y) {
  TRIREME_EACH_LANE x.lane[i] = a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i];
  return x;
}
inline Vector absolute(Vector a) {
  TRIREME_EACH_LANE a.lane[i] = std::fabs(a.lane[i]);
  return a;
}
inline Vector copy_sign(Vector a, Vector sign) {
  TRIREME_EACH_LANE a.lane[i] = std::copysign(a.lane[i], sign.lane[i]);
  return a;
}
inline Vector round_even(Vector a) {
  TRIREME_EACH_LANE a.lane[i] = std::nearbyintf(a.lane[i]);
  return a;
}
// 2^n for whole n in [-126, 127]; undefined elsewhere.
inline Vector power_of_two(Vector n) {
  TRIREME_EACH_LANE n.lane[i] =
      std::bit_cast<float>(uint32_t(int32_t(n.lane[i] == n.lane[i] ? n.lane[i] : 0.0f) + 127) << 23);
  return n;
}
// The remainder of the whole number n by 4, as 0..3, and its bits as selectors.
inline Words low_bits(Vector n) {
  Words r;
  TRIREME_EACH_LANE r.lane[i] = uint32_t(int32_t(n.lane[i] == n.lane[i] ? n.lane[i] : 0.0f)) & 3u;
  return r;
}
inline Words plus_one(Words a) {
  TRIREME_EACH_LANE a.lane[i] += 1;
  return a;
}
inline Vector select_odd(Words q, Vector odd, Vector even) {
  TRIREME_EACH_LANE odd.lane[i] = q.lane[i] & 1 ? odd.lane[i] : even.lane[i];
  return odd;
}
inline Vector negate_if_bit1(Words q, Vector a) {
  TRIREME_EACH_LANE a.lane[i] = q.lane[i] & 2 ? -a.lane[i] : a.lane[i];
  return a;
}

// Lanes i and i + 8, then i + 4, i + 2, i + 1.
inline float sum_lanes(Vector a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.lane[i] += a.lane[i + half];
  return a.lane[0];
}
inline float max_lanes(Vector a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
  return a.lane[0];
}

inline Doubles zero_doubles() {
  Doubles r;
  TRIREME_EACH_LANE r.lane[i] = 0;
  return r;
}
inline Doubles load_doubles(const double* p) {
  Doubles r;
  TRIREME_EACH_LANE r.lane[i] = p[i];
  return r;
}
inline void store_doubles(double* p, Doubles a) { TRIREME_EACH_LANE p[i] = a.lane[i]; }
inline Doubles add(Doubles a, Vector b) {
  TRIREME_EACH_LANE a.lane[i] += double(b.lane[i]);
  return a;
}
inline Doubles add_square(Doubles a, Vector b) {
  TRIREME_EACH_LANE a.lane[i] += double(b.lane[i]) * double(b.lane[i]);
  return a;
}
inline double sum_lanes(Doubles a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.lane[i] += a.lane[i + half];
  return a.lane[0];
}
inline Vector to_floats(Doubles a) {
  Vector r;
  TRIREME_EACH_LANE r.lane[i] = float(a.lane[i]);
  return r;
}

inline Vector load_bf16(const uint16_t* p) {
  Vector r;
  TRIREME_EACH_LANE r.lane[i] = bf16_to_f32(p[i]);
  return r;
}
inline Vector load_f16(const uint16_t* p) {
  Vector r;
  TRIREME_EACH_LANE r.lane[i] = f16_to_f32(p[i]);
  return r;
}
inline Vector load_i8(const int8_t* p) {
  Vector r;
  TRIREME_EACH_LANE r.lane[i] = float(p[i]);
  return r;
}
inline Words load_words(const uint32_t* p) {
  Words r;
  TRIREME_EACH_LANE r.lane[i] = p[i];
  return r;
}
template <int kIndex>
inline Vector nibble(Words words) {
  Vector r;
  TRIREME_EACH_LANE r.lane[i] = float(words.lane[i] >> (4 * kIndex) & 15u);
  return r;
}

// out[c * stride + r] = rows[r][c] for 16 x 16.
inline void transpose(float* out, int64_t stride, const float* const* rows) {
  for (int c = 0; c < kLanes; ++c)
    for (int r = 0; r < kLanes; ++r) out[c * stride + r] = rows[r][c];
}

#undef TRIREME_EACH_LANE

}  // namespace trireme::cpu::TRIREME_ISA
