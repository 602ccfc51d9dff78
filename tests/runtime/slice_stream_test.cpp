#include "runtime/slice_stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <numeric>

#include "base/error.h"

namespace trireme::test {
namespace {

// A matrix of int32 whose element (r, c) is r * columns + c; fails at a given row.
class CountingSource final : public TensorSource {
 public:
  CountingSource(int64_t rows, int64_t columns) {
    tensors_.push_back({.name = "w", .dtype = DType::i32, .shape = {rows, columns}, .file = "f", .bytes = 0});
  }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  void read(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
            std::byte* destination) const override {
    ++reads;
    for (int64_t r = row_begin; r < row_end; ++r) {
      if (r == fail_at) throw CheckpointError("row " + std::to_string(r));
      for (int64_t c = column_begin; c < column_end; ++c, destination += 4) {
        const auto value = int32_t(r * tensor.columns() + c);
        std::memcpy(destination, &value, 4);
      }
    }
  }
  mutable std::atomic<int> reads = 0;
  int64_t fail_at = -1;

 private:
  std::vector<TensorInfo> tensors_;
};

TEST(SliceStream, ChunksComeInOrderWhateverTheSizes) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{1, 1}, {37, 5}, {1000, 1000}, {5000, 700}, {3, 3'000'000}, {40000, 64}}) {
    const CountingSource source(rows, columns);
    SliceStream stream(source);
    for (int round = 0; round < 3; ++round) {
      const Range wanted{rows / 3, rows - rows / 5}, part{columns / 4, columns};
      int64_t next = wanted.begin;
      stream.read(source.tensors()[0], wanted, part, 16, {}, [&](Range chunk, const std::byte* bytes) {
        ASSERT_EQ(chunk.begin, next);
        ASSERT_TRUE(chunk.end == wanted.end || chunk.size() % 16 == 0) << chunk.size();
        next = chunk.end;
        std::vector<int32_t> values(size_t(chunk.size() * part.size()));
        std::memcpy(values.data(), bytes, values.size() * 4);
        for (int64_t i = 0; i < int64_t(values.size()); i += 97)
          ASSERT_EQ(values[size_t(i)], (chunk.begin + i / part.size()) * columns + part.begin + i % part.size());
      });
      EXPECT_EQ(next, wanted.end);
    }
  }
}

TEST(SliceStream, ConvertsOnTheWay) {
  const CountingSource source(20000, 100);
  SliceStream stream(source);
  const SliceStream::Conversion row_sums = {8, [](int64_t rows, const std::byte* stored, std::byte* converted) {
                                              for (int64_t r = 0; r < rows; ++r) {
                                                std::vector<int32_t> row(100);
                                                std::memcpy(row.data(), stored + r * 400, 400);
                                                const int64_t sum = std::accumulate(row.begin(), row.end(), int64_t(0));
                                                std::memcpy(converted + r * 8, &sum, 8);
                                              }
                                            }};
  int64_t seen = 0;
  stream.read(source.tensors()[0], {0, 20000}, {0, 100}, 16, row_sums, [&](Range chunk, const std::byte* bytes) {
    for (int64_t r = chunk.begin; r < chunk.end; ++r, ++seen) {
      int64_t sum;
      std::memcpy(&sum, bytes + (r - chunk.begin) * 8, 8);
      ASSERT_EQ(sum, r * 10000 + 4950);
    }
  });
  EXPECT_EQ(seen, 20000);
}

// After a failure of the source or of the consumer the stream serves the next read as if nothing had been.
TEST(SliceStream, FailuresComeOutAndEndTheRead) {
  CountingSource source(50000, 100);
  SliceStream stream(source);
  const auto read = [&](const SliceStream::Consumer& consume) {
    stream.read(source.tensors()[0], {0, 50000}, {0, 100}, 16, {}, consume);
  };
  for (const int64_t row : {0, 20000, 49999}) {
    source.fail_at = row;
    EXPECT_THROW(read([](Range, const std::byte*) {}), CheckpointError);
  }
  source.fail_at = -1;
  EXPECT_THROW(read([](Range, const std::byte*) { throw std::runtime_error("consumer"); }), std::runtime_error);
  int64_t rows = 0;
  read([&](Range chunk, const std::byte*) { rows += chunk.size(); });
  EXPECT_EQ(rows, 50000);
}

TEST(SliceStream, NothingToReadIsNoRead) {
  const CountingSource source(10, 10);
  SliceStream stream(source);
  stream.read(source.tensors()[0], {4, 4}, {0, 10}, 16, {}, [](Range, const std::byte*) { FAIL(); });
  EXPECT_EQ(source.reads, 0);
}

}  // namespace
}  // namespace trireme::test
