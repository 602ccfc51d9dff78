// Sixteen lanes on AVX2, FMA and F16C, as two halves: what each function means is in vector_portable.h. Included
// once, by loops_avx2.cpp, inside its target.

namespace trireme::cpu::TRIREME_ISA {

inline constexpr int kLanes = 16;
inline constexpr int kTileTokens = 6, kTilePanels = 1;
inline constexpr int kDirectPanels = 1;
inline constexpr int kScoreQueries = 3, kScoreVectors = 2;

struct Vector {
  __m256 a, b;
};
struct Doubles {
  __m256d v[4];
};
struct Words {
  __m256i a, b;
};

inline __m256i first_lanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline Vector broadcast(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline Vector load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Vector x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
inline Vector load_part(const float* p, int count) {
  return {_mm256_maskload_ps(p, first_lanes(count)), _mm256_maskload_ps(p + 8, first_lanes(count - 8))};
}
inline void store_part(float* p, Vector x, int count) {
  _mm256_maskstore_ps(p, first_lanes(count), x.a);
  _mm256_maskstore_ps(p + 8, first_lanes(count - 8), x.b);
}

inline Vector fma(Vector x, Vector y, Vector z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline Vector add(Vector x, Vector y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline Vector sub(Vector x, Vector y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline Vector mul(Vector x, Vector y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline Vector div(Vector x, Vector y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline Vector max(Vector x, Vector y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline Vector min(Vector x, Vector y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline Vector select_less(Vector p, Vector q, Vector x, Vector y) {
  return {_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_LT_OQ))};
}
inline Vector absolute(Vector x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline Vector copy_sign(Vector x, Vector sign) {
  const __m256 mask = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(mask, x.a), _mm256_and_ps(mask, sign.a)),
          _mm256_or_ps(_mm256_andnot_ps(mask, x.b), _mm256_and_ps(mask, sign.b))};
}
inline Vector round_even(Vector x) {
  return {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline __m256 power_of_two(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline Vector power_of_two(Vector n) { return {power_of_two(n.a), power_of_two(n.b)}; }
inline Words low_bits(Vector n) {
  const __m256i three = _mm256_set1_epi32(3);
  return {_mm256_and_si256(_mm256_cvtps_epi32(n.a), three), _mm256_and_si256(_mm256_cvtps_epi32(n.b), three)};
}
inline Words plus_one(Words q) {
  const __m256i one = _mm256_set1_epi32(1);
  return {_mm256_add_epi32(q.a, one), _mm256_add_epi32(q.b, one)};
}
inline __m256 select_odd(__m256i q, __m256 odd, __m256 even) {
  return _mm256_blendv_ps(even, odd, _mm256_castsi256_ps(_mm256_slli_epi32(q, 31)));
}
inline Vector select_odd(Words q, Vector odd, Vector even) {
  return {select_odd(q.a, odd.a, even.a), select_odd(q.b, odd.b, even.b)};
}
inline __m256 negate_if_bit1(__m256i q, __m256 x) {
  const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(q, _mm256_set1_epi32(2)), 30);
  return _mm256_xor_ps(x, _mm256_castsi256_ps(sign));
}
inline Vector negate_if_bit1(Words q, Vector x) { return {negate_if_bit1(q.a, x.a), negate_if_bit1(q.b, x.b)}; }

inline float sum_lanes(Vector x) {
  const __m256 eight = _mm256_add_ps(x.a, x.b);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline float max_lanes(Vector x) {
  const __m256 eight = _mm256_max_ps(x.a, x.b);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

inline Doubles widen(Vector x) {
  return {{_mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)),
           _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1))}};
}
inline Doubles zero_doubles() {
  return {{_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()}};
}
inline Doubles load_doubles(const double* p) {
  return {{_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4), _mm256_loadu_pd(p + 8), _mm256_loadu_pd(p + 12)}};
}
inline void store_doubles(double* p, Doubles x) {
  for (int i = 0; i < 4; ++i) _mm256_storeu_pd(p + 4 * i, x.v[i]);
}
inline Doubles add(Doubles x, Vector y) {
  const Doubles wide = widen(y);
  for (int i = 0; i < 4; ++i) x.v[i] = _mm256_add_pd(x.v[i], wide.v[i]);
  return x;
}
inline Doubles add_square(Doubles x, Vector y) {  // squares of float32 are exact in float64, so fma changes nothing
  const Doubles wide = widen(y);
  for (int i = 0; i < 4; ++i) x.v[i] = _mm256_fmadd_pd(wide.v[i], wide.v[i], x.v[i]);
  return x;
}
inline double sum_lanes(Doubles x) {
  const __m256d four = _mm256_add_pd(_mm256_add_pd(x.v[0], x.v[2]), _mm256_add_pd(x.v[1], x.v[3]));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline Vector to_floats(Doubles x) {
  return {_mm256_set_m128(_mm256_cvtpd_ps(x.v[1]), _mm256_cvtpd_ps(x.v[0])),
          _mm256_set_m128(_mm256_cvtpd_ps(x.v[3]), _mm256_cvtpd_ps(x.v[2]))};
}

inline __m128i load_half(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256 widen_bf16(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_half(p)), 16));
}
inline Vector load_bf16(const uint16_t* p) { return {widen_bf16(p), widen_bf16(p + 8)}; }
inline Vector load_f16(const uint16_t* p) { return {_mm256_cvtph_ps(load_half(p)), _mm256_cvtph_ps(load_half(p + 8))}; }
inline Vector load_i8(const int8_t* p) {
  const __m128i bytes = load_half(p);
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
inline Words load_words(const uint32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
template <int kIndex>
inline __m256 nibble(__m256i words) {
  return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(words, 4 * kIndex), _mm256_set1_epi32(15)));
}
template <int kIndex>
inline Vector nibble(Words words) {
  return {nibble<kIndex>(words.a), nibble<kIndex>(words.b)};
}

inline void transpose_eight(float* out, int64_t stride, const float* const* rows, int column) {
  __m256 a[8], b[8];
  for (int r = 0; r < 8; ++r) a[r] = _mm256_loadu_ps(rows[r] + column);
  for (int r = 0; r < 8; r += 2) {
    b[r] = _mm256_unpacklo_ps(a[r], a[r + 1]);
    b[r + 1] = _mm256_unpackhi_ps(a[r], a[r + 1]);
  }
  for (int r = 0; r < 8; r += 4) {
    for (int h = 0; h < 2; ++h) {
      a[r + 2 * h] = _mm256_shuffle_ps(b[r + h], b[r + h + 2], 0x44);
      a[r + 2 * h + 1] = _mm256_shuffle_ps(b[r + h], b[r + h + 2], 0xee);
    }
  }
  for (int c = 0; c < 4; ++c) {
    _mm256_storeu_ps(out + stride * c, _mm256_permute2f128_ps(a[c], a[4 + c], 0x20));
    _mm256_storeu_ps(out + stride * (c + 4), _mm256_permute2f128_ps(a[c], a[4 + c], 0x31));
  }
}
inline void transpose(float* out, int64_t stride, const float* const* rows) {
  for (int r = 0; r < 16; r += 8)
    for (int c = 0; c < 16; c += 8) transpose_eight(out + stride * c + r, stride, rows + r, c);
}

}  // namespace trireme::cpu::TRIREME_ISA
