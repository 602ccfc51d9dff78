// The loops of kernels/cpu/linear.cpp. Included once per loops_*.cpp.
//
// Up to 3 tokens: weights go from their storage straight into registers (direct). More: one granule of K of a few
// panels is expanded to float32 once per block of tokens and multiplied in register tiles (blocked). Both compute, per
// element, the chain s = fma(x[k], w[k], s) over a granule and add the granules in float64, so they agree bit by bit.

namespace trireme::cpu::TRIREME_ISA {

inline constexpr int kTokenBlock = 48;

// A storage format: granule() runs the chains of tokens x panels over [k, k + count); expand() writes [k, k + count) of
// one panel as float32 [count, 16] and returns where they begin.
template <typename Element, Vector (*kLoad)(const Element*)>
struct PlainFormat {
  template <int kTokens, int kPanels>
  static inline void granule(Vector (&sum)[kTokens][kPanels], const float* const (&x)[kTokens],
                             const std::byte* const (&panel)[kPanels], int64_t k, int64_t count) {
    const Element* w[kPanels];
    for (int p = 0; p < kPanels; ++p) w[p] = reinterpret_cast<const Element*>(panel[p]) + k * kPanelRows;
#pragma GCC unroll 4
    for (int64_t i = 0; i < count; ++i) {
      Vector weights[kPanels];
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) weights[p] = kLoad(w[p] + i * kPanelRows);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        const Vector value = broadcast(x[t][k + i]);
#pragma GCC unroll 8
        for (int p = 0; p < kPanels; ++p) sum[t][p] = fma(value, weights[p], sum[t][p]);
      }
    }
  }

  static inline const float* expand(float* tile, const std::byte* panel, int64_t k, int64_t count) {
    const Element* w = reinterpret_cast<const Element*>(panel) + k * kPanelRows;
    if constexpr (sizeof(Element) == sizeof(float)) return reinterpret_cast<const float*>(w);
    for (int64_t i = 0; i < count; ++i) store(tile + i * kPanelRows, kLoad(w + i * kPanelRows));
    return tile;
  }
};

using F32Format = PlainFormat<float, load>;
using Bf16Format = PlainFormat<uint16_t, load_bf16>;
using F16Format = PlainFormat<uint16_t, load_f16>;

// A block format gives Header (the scales of 16 rows) and value<i>, element i of eight at a group of eight k.
template <typename Block>
struct BlockFormat {
  template <int kTokens, int kPanels, int kIndex>
  static inline void eighth(Vector (&sum)[kTokens][kPanels], const float* const (&x)[kTokens],
                            const typename Block::Header (&header)[kPanels],
                            const typename Block::Group (&group)[kPanels], int64_t k) {
    Vector weights[kPanels];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) weights[p] = Block::template value<kIndex>(header[p], group[p]);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const Vector value = broadcast(x[t][k + kIndex]);
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) sum[t][p] = fma(value, weights[p], sum[t][p]);
    }
    if constexpr (kIndex < 7) eighth<kTokens, kPanels, kIndex + 1>(sum, x, header, group, k);
  }

  template <int kTokens, int kPanels>
  static inline void granule(Vector (&sum)[kTokens][kPanels], const float* const (&x)[kTokens],
                             const std::byte* const (&panel)[kPanels], int64_t k, int64_t count) {
    for (int64_t b = k / kBlockK; b < (k + count) / kBlockK; ++b) {
      typename Block::Header header[kPanels];
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) header[p] = Block::header(panel[p] + b * Block::kBytes);
      for (int g = 0; g < 4; ++g) {
        typename Block::Group group[kPanels];
#pragma GCC unroll 8
        for (int p = 0; p < kPanels; ++p) group[p] = Block::group(panel[p] + b * Block::kBytes, g);
        eighth<kTokens, kPanels, 0>(sum, x, header, group, b * kBlockK + 8 * g);
      }
    }
  }

  template <int kIndex>
  static inline void expand_eighth(float* out, const typename Block::Header& header,
                                   const typename Block::Group& group) {
    store(out + kIndex * kPanelRows, Block::template value<kIndex>(header, group));
    if constexpr (kIndex < 7) expand_eighth<kIndex + 1>(out, header, group);
  }

  // Whole blocks: the tile has room for the ends of the first and the last.
  static inline const float* expand(float* tile, const std::byte* panel, int64_t k, int64_t count) {
    const int64_t first = k / kBlockK, last = (k + count + kBlockK - 1) / kBlockK;
    float* out = tile;
    for (int64_t b = first; b < last; ++b) {
      const typename Block::Header header = Block::header(panel + b * Block::kBytes);
      for (int g = 0; g < 4; ++g, out += 8 * kPanelRows)
        expand_eighth<0>(out, header, Block::group(panel + b * Block::kBytes, g));
    }
    return tile + (k - first * kBlockK) * kPanelRows;
  }
};

struct Q8Block {
  static constexpr int64_t kBytes = kQ8BlockBytes;
  struct Header {
    Vector scale;
  };
  using Group = const int8_t*;
  static inline Header header(const std::byte* block) { return {load_f16(reinterpret_cast<const uint16_t*>(block))}; }
  static inline Group group(const std::byte* block, int g) {
    return reinterpret_cast<const int8_t*>(block + kQ8Values) + g * 8 * kPanelRows;
  }
  template <int kIndex>
  static inline Vector value(const Header& header, Group group) {
    return mul(header.scale, load_i8(group + kIndex * kPanelRows));
  }
};

struct Q4Block {  // scale * q is exact in float32 (11 + 4 bits), so the fma equals a multiply and an add
  static constexpr int64_t kBytes = kQ4BlockBytes;
  struct Header {
    Vector scale, minimum;
  };
  using Group = Words;
  static inline Header header(const std::byte* block) {
    const auto* halves = reinterpret_cast<const uint16_t*>(block);
    return {load_f16(halves), load_f16(halves + kQ4Minimums / 2)};
  }
  static inline Group group(const std::byte* block, int g) {
    return load_words(reinterpret_cast<const uint32_t*>(block + kQ4Words) + g * kPanelRows);
  }
  template <int kIndex>
  static inline Vector value(const Header& header, const Group& group) {
    return fma(nibble<kIndex>(group), header.scale, header.minimum);
  }
};

// Rounds once, or keeps float64; `rows` of the panel exist.
inline void write_panel(const LinearTask& task, int64_t token, int64_t panel, Doubles total) {
  const int64_t n = panel * kPanelRows;
  const int rows = int(task.out_features - n < kPanelRows ? task.out_features - n : kPanelRows);
  if (task.bias) total = add(total, load_part(task.bias + n, rows));
  if (task.out_f64) {
    double* out = static_cast<double*>(task.out) + token * task.out_stride + n;
    if (rows == kPanelRows) return store_doubles(out, total);
    double padded[kPanelRows];
    store_doubles(padded, total);
    for (int r = 0; r < rows; ++r) out[r] = padded[r];
  } else {
    float* out = static_cast<float*>(task.out) + token * task.out_stride + n;
    if (rows == kPanelRows)
      store(out, to_floats(total));
    else
      store_part(out, to_floats(total), rows);
  }
}

template <typename Format, int kTokens, int kPanels>
inline void direct_panels(const LinearTask& task, int64_t first_panel, int64_t first_token) {
  const float* x[kTokens];
  const std::byte* panel[kPanels];
  Doubles total[kTokens][kPanels];
  for (int t = 0; t < kTokens; ++t) x[t] = task.x + (first_token + t) * task.x_stride;
  for (int p = 0; p < kPanels; ++p) panel[p] = task.panels + (first_panel + p) * task.panel_bytes;
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) total[t][p] = zero_doubles();
  for (int64_t k = 0; k < task.in_features; k += task.granule) {
    const int64_t count = task.in_features - k < task.granule ? task.in_features - k : task.granule;
    Vector sum[kTokens][kPanels];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) sum[t][p] = broadcast(0.0f);
    Format::template granule<kTokens, kPanels>(sum, x, panel, k, count);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) total[t][p] = add(total[t][p], sum[t][p]);
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) write_panel(task, first_token + t, first_panel + p, total[t][p]);
}

template <typename Format, int kTokens>
void direct(const LinearTask& task, int64_t panel_begin, int64_t panel_end, int64_t token) {
  constexpr int kPanels = kTokens > 2 && kDirectPanels > 2 ? 2 : kDirectPanels;
  int64_t panel = panel_begin;
  for (; panel + kPanels <= panel_end; panel += kPanels) direct_panels<Format, kTokens, kPanels>(task, panel, token);
  if constexpr (kPanels > 1)
    for (; panel < panel_end; ++panel) direct_panels<Format, kTokens, 1>(task, panel, token);
}

// totals[t, p] += the granule's chains of kTokens tokens and kPanels panels; totals: [tokens, kTilePanels, 16].
template <int kTokens, int kPanels>
void multiply_tile(double* totals, const float* x, int64_t x_stride, const float* const* weights, int64_t count) {
  Vector sum[kTokens][kPanels];
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) sum[t][p] = broadcast(0.0f);
  const float* w[kPanels];
  for (int p = 0; p < kPanels; ++p) w[p] = weights[p];
  for (int64_t k = 0; k < count; ++k) {
    Vector column[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) column[p] = load(w[p] + k * kPanelRows);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const Vector value = broadcast(x[t * x_stride + k]);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) sum[t][p] = fma(value, column[p], sum[t][p]);
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      double* total = totals + (t * kTilePanels + p) * kPanelRows;
      store_doubles(total, add(load_doubles(total), sum[t][p]));
    }
  }
}

using TileFunction = void (*)(double*, const float*, int64_t, const float* const*, int64_t);

template <int kPanels, int... kTokens>
TileFunction tile_function(int tokens, std::integer_sequence<int, kTokens...>) {
  static constexpr TileFunction kTable[] = {multiply_tile<kTokens + 1, kPanels>...};
  return kTable[tokens - 1];
}

// One group of kPanels panels, one block of at most kTokenBlock tokens.
template <typename Format, int kPanels>
void blocked(const LinearTask& task, int64_t panel, int64_t token_begin, int tokens) {
  alignas(64) double totals[kTokenBlock * kTilePanels * kPanelRows];
  alignas(64) float tiles[kPanels][(kMaxGranule + 2 * kBlockK) * kPanelRows];
  for (int64_t i = 0; i < tokens * kTilePanels * kPanelRows; ++i) totals[i] = 0;
  const int tile_count = (tokens + kTileTokens - 1) / kTileTokens;
  for (int64_t k = 0; k < task.in_features; k += task.granule) {
    const int64_t count = task.in_features - k < task.granule ? task.in_features - k : task.granule;
    const float* weights[kPanels];
    for (int p = 0; p < kPanels; ++p)
      weights[p] = Format::expand(tiles[p], task.panels + (panel + p) * task.panel_bytes, k, count);
    for (int i = 0; i < tile_count; ++i) {  // tiles of nearly equal height
      const int first = tokens * i / tile_count, last = tokens * (i + 1) / tile_count;
      const auto multiply = tile_function<kPanels>(last - first, std::make_integer_sequence<int, kTileTokens>());
      multiply(totals + first * kTilePanels * kPanelRows, task.x + (token_begin + first) * task.x_stride + k,
               task.x_stride, weights, count);
    }
  }
  for (int t = 0; t < tokens; ++t)
    for (int p = 0; p < kPanels; ++p)
      write_panel(task, token_begin + t, panel + p, load_doubles(totals + (t * kTilePanels + p) * kPanelRows));
}

template <typename Format>
void linear_format(const LinearTask& task, int64_t panel_begin, int64_t panel_end, int64_t token_begin,
                   int64_t token_end) {
  const bool whole_blocks = !is_block_dtype(task.storage) || task.granule % kBlockK == 0;
  if (whole_blocks) {
    switch (token_end - token_begin) {
      case 1:
        return direct<Format, 1>(task, panel_begin, panel_end, token_begin);
      case 2:
        return direct<Format, 2>(task, panel_begin, panel_end, token_begin);
      case 3:
        return direct<Format, 3>(task, panel_begin, panel_end, token_begin);
      default:
        break;
    }
  }
  for (int64_t token = token_begin; token < token_end; token += kTokenBlock) {
    const int tokens = int(token_end - token < kTokenBlock ? token_end - token : kTokenBlock);
    int64_t panel = panel_begin;
    for (; panel + kTilePanels <= panel_end; panel += kTilePanels)
      blocked<Format, kTilePanels>(task, panel, token, tokens);
    if constexpr (kTilePanels > 1)
      for (; panel < panel_end; ++panel) blocked<Format, 1>(task, panel, token, tokens);
  }
}

inline void linear(const LinearTask& task, int64_t panel_begin, int64_t panel_end, int64_t token_begin,
                   int64_t token_end) {
  switch (task.storage) {
    case DType::f32:
      return linear_format<F32Format>(task, panel_begin, panel_end, token_begin, token_end);
    case DType::bf16:
      return linear_format<Bf16Format>(task, panel_begin, panel_end, token_begin, token_end);
    case DType::f16:
      return linear_format<F16Format>(task, panel_begin, panel_end, token_begin, token_end);
    case DType::q8_0:
      return linear_format<BlockFormat<Q8Block>>(task, panel_begin, panel_end, token_begin, token_end);
    case DType::q4_1:
      return linear_format<BlockFormat<Q4Block>>(task, panel_begin, panel_end, token_begin, token_end);
    default:
      break;  // checked where the weight is made
  }
}

}  // namespace trireme::cpu::TRIREME_ISA
