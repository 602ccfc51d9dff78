#include "runtime/upload_queue.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"

namespace trireme::test {
namespace {

constexpr int64_t kColumns = 1024;
constexpr std::chrono::milliseconds kLong(60'000);

// Tensors of int32, [rows, kColumns]; element (r, c) of tensor t is t * 1'000'000'007 + r * kColumns + c.
class CountingSource final : public TensorSource {
 public:
  explicit CountingSource(std::vector<int64_t> rows) {
    for (size_t t = 0; t < rows.size(); ++t)
      tensors_.push_back({.name = std::to_string(t), .dtype = DType::i32, .shape = {rows[t], kColumns}, .file = "f"});
  }
  static int32_t value(int64_t tensor, int64_t row, int64_t column) {
    return int32_t(tensor * 1'000'000'007 + row * kColumns + column);
  }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  void read(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
            std::byte* destination) const override {
    if (tensor.name == fails) throw CheckpointError("tensor " + tensor.name);
    for (int64_t r = row_begin; r < row_end; ++r)
      for (int64_t c = column_begin; c < column_end; ++c, destination += 4) {
        const int32_t element = value(&tensor - tensors_.data(), r, c);
        std::memcpy(destination, &element, 4);
      }
  }
  std::string fails;

 private:
  std::vector<TensorInfo> tensors_;
};

UploadQueue::Job copy_job(const TensorInfo& tensor, Range rows, Range columns, std::vector<int32_t>& to) {
  to.assign(size_t(rows.size() * columns.size()), 0);
  return {&tensor, rows, columns, {}, false, [=, &to](Range chunk, const std::byte* bytes, void*, const Stream&) {
            std::memcpy(to.data() + (chunk.begin - rows.begin) * columns.size(), bytes,
                        size_t(chunk.size() * columns.size()) * 4);
          }};
}

TEST(UploadQueue, EverySliceArrivesWholeInManyRounds) {
  const CountingSource source({1, 3000, 50, 5000, 1025});
  UploadQueue queue(source, kCpu, 3);
  int64_t bytes = 0;
  for (int round = 0; round < 3; ++round) {
    std::vector<std::vector<int32_t>> arrived(source.tensors().size());
    const Range columns{round * 64, kColumns - round};
    for (size_t t = 0; t < arrived.size(); ++t) {
      const int64_t rows = source.tensors()[t].rows();
      queue.add(copy_job(source.tensors()[t], {rows / 3, rows}, columns, arrived[t]));
      bytes += int64_t(arrived[t].size()) * 4;
    }
    ASSERT_TRUE(queue.wait_for(kLong));
    EXPECT_EQ(queue.bytes_read(), bytes);
    for (size_t t = 0; t < arrived.size(); ++t)
      for (int64_t i = 0; i < int64_t(arrived[t].size()); ++i)
        ASSERT_EQ(arrived[t][size_t(i)],
                  CountingSource::value(int64_t(t), source.tensors()[t].rows() / 3 + i / columns.size(),
                                        columns.begin + i % columns.size()));
  }
}

TEST(UploadQueue, ConvertsOnTheWay) {
  const CountingSource source({9000});
  std::vector<int64_t> sums(9000);
  UploadQueue::Job job{&source.tensors()[0], {0, 9000}, {0, kColumns}, {}, false, {}};
  job.conversion = {8, [](int64_t rows, const std::byte* stored, std::byte* converted) {
                      for (int64_t r = 0; r < rows; ++r) {
                        std::vector<int32_t> row(kColumns);
                        std::memcpy(row.data(), stored + r * kColumns * 4, kColumns * 4);
                        int64_t sum = 0;
                        for (const int32_t element : row) sum += element;
                        std::memcpy(converted + r * 8, &sum, 8);
                      }
                    }};
  job.deliver = [&](Range chunk, const std::byte* bytes, void*, const Stream&) {
    std::memcpy(&sums[size_t(chunk.begin)], bytes, size_t(chunk.size()) * 8);
  };
  UploadQueue queue(source, kCpu);
  queue.add(job);
  ASSERT_TRUE(queue.wait_for(kLong));
  for (int64_t r = 0; r < 9000; ++r)
    ASSERT_EQ(sums[size_t(r)], kColumns * r * kColumns + kColumns * (kColumns - 1) / 2);
}

TEST(UploadQueue, TheFirstErrorComesOutOnceAllHasEnded) {
  CountingSource source({20000, 20000});
  source.fails = "1";
  std::vector<int32_t> first, second;
  UploadQueue queue(source, kCpu, 2);
  queue.add(copy_job(source.tensors()[0], {0, 20000}, {0, kColumns}, first));
  queue.add(copy_job(source.tensors()[1], {0, 20000}, {0, kColumns}, second));
  EXPECT_THROW(queue.wait_for(kLong), CheckpointError);
  queue.add(copy_job(source.tensors()[0], {0, 20000}, {0, kColumns}, first));
  EXPECT_THROW(queue.wait_for(kLong), CheckpointError);
}

TEST(UploadQueue, EndsInTheMiddleOfItsWork) {
  const CountingSource source({50000});
  std::vector<int32_t> to;
  UploadQueue queue(source, kCpu, 2);
  queue.add(copy_job(source.tensors()[0], {0, 50000}, {0, kColumns}, to));
}

TEST(UploadQueue, NothingToUploadIsDoneAtOnce) {
  const CountingSource source({10});
  std::vector<int32_t> to;
  UploadQueue queue(source, kCpu, 2);
  ASSERT_TRUE(queue.wait_for(kLong));
  queue.add(copy_job(source.tensors()[0], {4, 4}, {0, kColumns}, to));
  queue.add(copy_job(source.tensors()[0], {0, 10}, {7, 7}, to));
  ASSERT_TRUE(queue.wait_for(kLong));
  EXPECT_EQ(queue.bytes_read(), 0);
}

}  // namespace
}  // namespace trireme::test
