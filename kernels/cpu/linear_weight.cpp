// Making, loading and filling linear weights: the panels of linear_layout.h.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cpu/linear_layout.h"
#include "kernels/cpu/panel_elements.h"
#include "kernels/cpu/small_floats.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/transpose_tile.h"
#include "kernels/linear.h"
#include "kernels/random_fill.h"

namespace trireme::cpu {
namespace {

std::byte* panel_of_row(LinearWeight& weight, int64_t n) {
  return static_cast<std::byte*>(weight.data.data()) + n / kPanelRows * panel_bytes(weight.storage, weight.in_features);
}

// row[k] in float32 from `source` elements.
void widen_row(float* row, const std::byte* elements, DType source, int64_t cols) {
  const auto each = [&](auto sample, auto convert) {
    for (int64_t k = 0; k < cols; ++k) {
      std::memcpy(&sample, elements + k * int64_t(sizeof sample), sizeof sample);
      row[k] = convert(sample);
    }
  };
  switch (source) {
    case DType::f32:
      std::memcpy(row, elements, size_t(cols) * 4);
      return;
    case DType::bf16:
      return each(uint16_t(), bf16_to_f32);
    case DType::f16:
      return each(uint16_t(), f16_to_f32);
    case DType::f64:
      return each(double(), [](double value) { return float(value); });
    case DType::f8_e4m3:
      return each(uint8_t(), f8_e4m3_to_f32);
    case DType::f8_e5m2:
      return each(uint8_t(), f8_e5m2_to_f32);
    default:
      CHECK(false) << "load_linear_rows: source" << dtype_name(source);
  }
}

// Elements that keep their bits: `rows` (at most 16) of one panel, transposed.
template <typename Element, typename Vector>
void copy_panel(std::byte* panel, int64_t lane, int64_t rows, const std::byte* source, int64_t cols) {
  constexpr int64_t kTile = int64_t(sizeof(Vector) / sizeof(Element)), kSize = sizeof(Element);
  const int64_t tiled_rows = rows / kTile * kTile, tiled_cols = cols / kTile * kTile;
  for (int64_t k = 0; k < tiled_cols; k += kTile)
    for (int64_t r = 0; r < tiled_rows; r += kTile)
      transpose_tile<Vector>(panel + (k * kPanelRows + lane + r) * kSize, kPanelRows * kSize,
                             source + (r * cols + k) * kSize, cols * kSize);
  for (int64_t k = 0; k < cols; ++k)
    for (int64_t r = k < tiled_cols ? tiled_rows : 0; r < rows; ++r)
      std::memcpy(panel + (k * kPanelRows + lane + r) * kSize, source + (r * cols + k) * kSize, size_t(kSize));
}

// GGUF's q8_0: f16 scale, 32 int8.
void copy_q8_row(std::byte* panel, int64_t lane, const std::byte* row, int64_t cols) {
  for (int64_t b = 0; b < cols / kBlockK; ++b, panel += kQ8BlockBytes, row += 34) {
    std::memcpy(panel + 2 * lane, row, 2);
    for (int64_t k = 0; k < kBlockK; ++k) panel[kQ8Values + k * kPanelRows + lane] = row[2 + k];
  }
}

// GGUF's q4_1: f16 scale, f16 minimum, 16 bytes whose low nibbles are elements 0-15 and high nibbles 16-31.
void copy_q4_row(std::byte* panel, int64_t lane, const std::byte* row, int64_t cols) {
  for (int64_t b = 0; b < cols / kBlockK; ++b, panel += kQ4BlockBytes, row += 20) {
    std::memcpy(panel + 2 * lane, row, 2);
    std::memcpy(panel + kQ4Minimums + 2 * lane, row + 2, 2);
    for (int64_t g = 0; g < 4; ++g) {
      uint32_t word = 0;
      for (int64_t j = 0; j < 8; ++j) {
        const uint32_t byte = uint32_t(row[4 + (8 * g + j) % 16]);
        word |= (g < 2 ? byte & 15u : byte >> 4) << (4 * j);
      }
      std::memcpy(panel + kQ4Words + (g * kPanelRows + lane) * 4, &word, 4);
    }
  }
}

struct LoadJob {
  LinearWeight& weight;
  int64_t row_begin, row_end;
  const std::byte* rows;
  DType source;
};

// The job's rows that lie in one panel.
void load_panel(const LoadJob& job, int64_t panel_index) {
  LinearWeight& weight = job.weight;
  const int64_t cols = weight.in_features, row_bytes = dtype_bytes(job.source, cols);
  const int64_t begin = std::max(job.row_begin, panel_index * kPanelRows),
                end = std::min(job.row_end, (panel_index + 1) * kPanelRows);
  std::byte* panel = panel_of_row(weight, begin);
  const std::byte* rows = job.rows + (begin - job.row_begin) * row_bytes;
  const int64_t lane = begin % kPanelRows, count = end - begin;
  if (weight.storage == DType::q8_0 || weight.storage == DType::q4_1) {
    const auto copy_row = weight.storage == DType::q8_0 ? copy_q8_row : copy_q4_row;
    for (int64_t r = 0; r < count; ++r) copy_row(panel, lane + r, rows + r * row_bytes, cols);
  } else if (weight.storage == job.source) {
    if (job.source == DType::f32)
      copy_panel<uint32_t, U32x4>(panel, lane, count, rows, cols);
    else
      copy_panel<uint16_t, U16x8>(panel, lane, count, rows, cols);
  } else {
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < count; ++r) {
      widen_row(row.data(), rows + r * row_bytes, job.source, cols);
      write_panel_row(weight, begin + r, row.data());
    }
  }
}

// Block storages: one scale for all (rounded to f16), values on its grid.
void fill_block_row(LinearWeight& weight, int64_t n, uint64_t row_key, float scale, int64_t column_offset) {
  std::byte* panel = panel_of_row(weight, n);
  const int64_t lane = n % kPanelRows;
  const bool q8 = weight.storage == DType::q8_0;
  const uint16_t step = f32_to_f16(q8 ? scale / 127 : scale / 7.5f), minimum = f32_to_f16(-scale);
  std::vector<std::byte> row(size_t(dtype_bytes(weight.storage, weight.in_features)));
  for (int64_t b = 0; b < weight.in_features / kBlockK; ++b) {
    std::byte* block = row.data() + b * dtype_block_bytes(weight.storage);
    std::memcpy(block, &step, 2);
    if (!q8) std::memcpy(block + 2, &minimum, 2);
    for (int64_t k = 0; k < kBlockK; ++k) {
      const float unit = random_fill_value(row_key, column_offset + b * kBlockK + k, 1.0f);
      if (q8)
        block[2 + k] = std::byte(int8_t(std::lrintf(unit * 127)));
      else
        block[4 + k % 16] |= std::byte(uint32_t((unit + 1) * 8) << (k < 16 ? 0 : 4));
    }
  }
  (q8 ? copy_q8_row : copy_q4_row)(panel, lane, row.data(), weight.in_features);
}

}  // namespace

DType linear_storage(DType source, int64_t in_features) {
  const bool packed = source == DType::q8_0 || source == DType::q4_1;
  if (packed && in_features % kBlockK == 0) return source;
  return source == DType::bf16 || source == DType::f16 ? source : DType::f32;
}

LinearWeight make_linear_weight(Device device, DType source, int64_t out_features, int64_t in_features, int granule) {
  CHECK_LE(granule, kMaxGranule) << "make_linear_weight: granule";
  LinearWeight weight;
  weight.out_features = out_features;
  weight.in_features = in_features;
  weight.granule = granule;
  weight.storage = linear_storage(source, in_features);
  const int64_t bytes = panel_bytes(weight.storage, in_features), panels = panel_count(out_features);
  weight.data = Tensor(DType::u8, {panels, bytes}, device);
  if (panels > 0) std::memset(static_cast<std::byte*>(weight.data.data()) + (panels - 1) * bytes, 0, size_t(bytes));
  return weight;
}

void load_linear_rows(LinearWeight& weight, int64_t row_begin, int64_t count, const void* rows, DType source,
                      const Stream&) {
  CHECK(source == weight.storage || (is_float_dtype(source) && !is_block_dtype(weight.storage)))
      << "load_linear_rows:" << dtype_name(source) << "rows into" << dtype_name(weight.storage);
  const LoadJob job{weight, row_begin, row_begin + count, static_cast<const std::byte*>(rows), source};
  const int64_t first = row_begin / kPanelRows, last = (row_begin + count - 1) / kPanelRows + 1;
  parallel_ranges(last - first, worthwhile_chunks(last - first, weight.in_features * kPanelRows),
                  [&](int64_t begin, int64_t end) {
                    for (int64_t p = first + begin; p < first + end; ++p) load_panel(job, p);
                  });
}

void fill_linear_random(LinearWeight& weight, uint64_t seed, float scale, int64_t row_offset, int64_t column_offset,
                        const Stream&) {
  const int64_t rows = weight.out_features, cols = weight.in_features;
  parallel_ranges(rows, worthwhile_chunks(rows, cols * 4), [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t n = begin; n < end; ++n) {
      const uint64_t row_key = random_fill_row(seed, n + row_offset);
      if (is_block_dtype(weight.storage)) {
        fill_block_row(weight, n, row_key, scale, column_offset);
        continue;
      }
      for (int64_t k = 0; k < cols; ++k) row[size_t(k)] = random_fill_value(row_key, k + column_offset, scale);
      write_panel_row(weight, n, row.data());
    }
  });
}

}  // namespace trireme::cpu
