// Sixteen lanes on AVX-512: what each function means is in vector_portable.h. Included once, by
// loops_avx512.cpp, inside its target.

namespace trireme::cpu::TRIREME_ISA {

inline constexpr int kLanes = 16;
inline constexpr int kTileTokens = 12, kTilePanels = 2;
inline constexpr int kDirectPanels = 4;
inline constexpr int kScoreQueries = 6, kScoreVectors = 4;

struct Vector {
  __m512 v;
};
struct Doubles {
  __m512d low, high;
};
struct Words {
  __m512i v;
};

inline __mmask16 first_lanes(int count) { return __mmask16((1u << count) - 1u); }

inline Vector broadcast(float value) { return {_mm512_set1_ps(value)}; }
inline Vector load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vector a) { _mm512_storeu_ps(p, a.v); }
inline Vector load_part(const float* p, int count) { return {_mm512_maskz_loadu_ps(first_lanes(count), p)}; }
inline void store_part(float* p, Vector a, int count) { _mm512_mask_storeu_ps(p, first_lanes(count), a.v); }

inline Vector fma(Vector a, Vector b, Vector c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vector add(Vector a, Vector b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vector sub(Vector a, Vector b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vector mul(Vector a, Vector b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vector div(Vector a, Vector b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vector max(Vector a, Vector b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vector min(Vector a, Vector b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vector select_less(Vector a, Vector b, Vector x, Vector y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
inline Vector absolute(Vector a) { return {_mm512_abs_ps(a.v)}; }
inline Vector copy_sign(Vector a, Vector sign) {
  const __m512 mask = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(mask, a.v), _mm512_and_ps(mask, sign.v))};
}
inline Vector round_even(Vector a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vector power_of_two(Vector n) {
  const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23))};
}
inline Words low_bits(Vector n) { return {_mm512_and_si512(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(3))}; }
inline Words plus_one(Words a) { return {_mm512_add_epi32(a.v, _mm512_set1_epi32(1))}; }
inline Vector select_odd(Words q, Vector odd, Vector even) {
  return {_mm512_mask_blend_ps(_mm512_test_epi32_mask(q.v, _mm512_set1_epi32(1)), even.v, odd.v)};
}
inline Vector negate_if_bit1(Words q, Vector a) {
  const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(q.v, _mm512_set1_epi32(2)), 30);
  return {_mm512_xor_ps(a.v, _mm512_castsi512_ps(sign))};
}

inline float sum_lanes(Vector a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline float max_lanes(Vector a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

inline __m512d widen_low(Vector a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a.v)); }
inline __m512d widen_high(Vector a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1)); }
inline Doubles zero_doubles() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
inline Doubles load_doubles(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
inline void store_doubles(double* p, Doubles a) {
  _mm512_storeu_pd(p, a.low);
  _mm512_storeu_pd(p + 8, a.high);
}
inline Doubles add(Doubles a, Vector b) {
  return {_mm512_add_pd(a.low, widen_low(b)), _mm512_add_pd(a.high, widen_high(b))};
}
inline Doubles add_square(Doubles a, Vector b) {  // squares of float32 are exact in float64, so fma changes nothing
  return {_mm512_fmadd_pd(widen_low(b), widen_low(b), a.low), _mm512_fmadd_pd(widen_high(b), widen_high(b), a.high)};
}
inline double sum_lanes(Doubles a) {
  const __m512d eight = _mm512_add_pd(a.low, a.high);
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline Vector to_floats(Doubles a) {
  return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a.low)), _mm512_cvtpd_ps(a.high), 1)};
}

inline Vector load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline Vector load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline Vector load_i8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline Words load_words(const uint32_t* p) { return {_mm512_loadu_si512(p)}; }
// A table of the floats 0 to 15, looked up by the low four bits of each lane: shift, mask and conversion in one.
template <int kIndex>
inline Vector nibble(Words words) {
  const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return {_mm512_permutexvar_ps(kIndex == 0 ? words.v : _mm512_srli_epi32(words.v, 4 * kIndex), values)};
}

// In four rounds, each exchanging blocks of 1, 2, 4 and 8 elements between rows that far apart.
inline void transpose(float* out, int64_t stride, const float* const* rows) {
  __m512 a[16], b[16];
  for (int r = 0; r < 16; ++r) a[r] = _mm512_loadu_ps(rows[r]);
  for (int r = 0; r < 16; r += 2) {
    b[r] = _mm512_unpacklo_ps(a[r], a[r + 1]);
    b[r + 1] = _mm512_unpackhi_ps(a[r], a[r + 1]);
  }
  for (int r = 0; r < 16; r += 4) {
    for (int h = 0; h < 2; ++h) {
      const __m512d x = _mm512_castps_pd(b[r + h]), y = _mm512_castps_pd(b[r + h + 2]);
      a[r + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
      a[r + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
    }
  }
  for (int c = 0; c < 4; ++c) {  // a[4 g + c]: column c of each quarter, rows 4 g to 4 g + 3
    const __m512 even_low = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88),
                 odd_low = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd);
    const __m512 even_high = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88),
                 odd_high = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
    _mm512_storeu_ps(out + stride * c, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
    _mm512_storeu_ps(out + stride * (c + 4), _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
    _mm512_storeu_ps(out + stride * (c + 8), _mm512_shuffle_f32x4(even_low, even_high, 0xdd));
    _mm512_storeu_ps(out + stride * (c + 12), _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd));
  }
}

}  // namespace trireme::cpu::TRIREME_ISA
