#pragma once
// Runs a ShardSampler per shard of the vocabulary, each on a thread of this process.

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <cstring>
#include <random>
#include <span>
#include <thread>

#include "kernels/sample_rows.h"
#include "runtime/sampling/shard_sampler.h"

namespace trireme {

struct Meeting {
  explicit Meeting(int size) : barrier(size), data(size_t(size)) {}
  std::barrier<> barrier;
  std::vector<const void*> data;
  std::atomic<int> gathers{0};  // by rank 0
};

class ThreadGroup final : public Communicator {
 public:
  ThreadGroup(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return int(meeting_.data.size()); }
  void all_gather(TensorView out, TensorView in, const Stream& stream) override {
    if (rank_ == 0) ++meeting_.gathers;
    meeting_.data[size_t(rank_)] = in.data();
    stream.synchronize();
    meeting_.barrier.arrive_and_wait();
    for (int s = 0; s < size(); ++s)
      copy_async(static_cast<char*>(out.data()) + s * in.bytes(), meeting_.data[size_t(s)], size_t(in.bytes()),
                 in.device(), stream);
    stream.synchronize();
    meeting_.barrier.arrive_and_wait();
  }
  void all_reduce_sum(TensorView, const Stream&) override { CHECK(false); }
  void reduce_scatter_sum(TensorView, TensorView, const Stream&) override { CHECK(false); }
  void broadcast(TensorView, int, const Stream&) override { CHECK(false); }
  void send(TensorView, int, const Stream&) override { CHECK(false); }
  void recv(TensorView, int, const Stream&) override { CHECK(false); }

 private:
  Meeting& meeting_;
  int rank_;
};

struct Problem {
  int64_t vocab = 0;
  SampleBatch batch;
  std::vector<float> logits;           // [rows, vocab]
  std::vector<int32_t> lengths = {7};  // [slots]
  std::vector<uint16_t> counts;        // [slots, vocab], or empty

  std::span<const float> row(size_t r) const { return {logits.data() + r * size_t(vocab), size_t(vocab)}; }
  void add(const SampleRow& row, const std::vector<float>& values) {
    vocab = int64_t(values.size());
    batch.rows.push_back(row);
    logits.insert(logits.end(), values.begin(), values.end());
  }
};

template <typename T>
Tensor upload(const std::vector<T>& values, DType dtype, std::initializer_list<int64_t> dims, Device device) {
  Tensor tensor(dtype, dims, device);
  const Stream stream(device);
  copy_async(tensor.data(), values.data(), values.size() * sizeof(T), device, stream);
  stream.synchronize();
  return tensor;
}

template <typename T>
std::vector<T> columns(const std::vector<T>& matrix, int64_t width, Range range) {
  std::vector<T> part;
  for (size_t begin = 0; begin < matrix.size(); begin += size_t(width))
    part.insert(part.end(), matrix.begin() + int64_t(begin) + range.begin, matrix.begin() + int64_t(begin) + range.end);
  part.resize(std::max<size_t>(part.size(), 1));
  return part;
}

inline std::vector<SampleAnswer> run_shard(Device device, const Problem& problem, Range range, Communicator& group) {
  set_current_device(device);
  const int64_t rows = int64_t(problem.batch.rows.size()), width = range.size();
  const int64_t slots = int64_t(problem.lengths.size());
  const Stream stream(device);
  const Tensor logits =
      upload(columns(problem.logits, problem.vocab, range), DType::f32, {rows, std::max<int64_t>(width, 1)}, device);
  const Tensor length = upload(problem.lengths, DType::i32, {slots}, device);
  const Tensor counts =
      upload(columns(problem.counts, problem.vocab, range), DType::u16, {slots, std::max<int64_t>(width, 1)}, device);
  SlotState state;
  state.length = length;
  if (!problem.counts.empty()) state.counts = TensorView(counts.data(), DType::u16, {slots, width}, device);
  ShardSampler sampler(device, group, {problem.vocab, range, int(rows), 2});
  sampler.enqueue(1, problem.batch, TensorView(logits.data(), DType::f32, {rows, width}, device), state, stream);
  std::vector<int32_t> ids(static_cast<size_t>(rows));
  copy_async(ids.data(), sampler.drawn_ids(1, rows).data(), ids.size() * sizeof(int32_t), device, stream);
  stream.synchronize();
  std::vector<SampleAnswer> answers(sampler.answers(1), sampler.answers(1) + rows);
  for (size_t r = 0; r < ids.size(); ++r)
    EXPECT_EQ(ids[r], problem.batch.rows[r].kind == int32_t(SampleKind::score) ? -1 : answers[r].id);
  return answers;
}

inline std::vector<Range> cut_vocabulary(int64_t vocab, int shards) {
  switch (shards) {
    case 1:
      return {{0, vocab}};
    case 2:
      return {{0, vocab * 3 / 10}, {vocab * 3 / 10, vocab}};
    case 3:
      return {{0, vocab / 2}, {vocab / 2, vocab / 2}, {vocab / 2, vocab}};
    default:
      return {
          {0, vocab / 7}, {vocab / 7, vocab / 5}, {vocab / 5, vocab / 5}, {vocab / 5, vocab - 1}, {vocab - 1, vocab}};
  }
}

struct Outcome {
  std::vector<SampleAnswer> answers;
  int gathers = 0;
};

// Runs the problem on `shards` shards; every shard must come to the same answers, bit for bit.
inline Outcome run(Device device, const Problem& problem, int shards) {
  const std::vector<Range> ranges = cut_vocabulary(problem.vocab, shards);
  Meeting meeting(shards);
  std::vector<std::vector<SampleAnswer>> answers(ranges.size());
  std::vector<std::thread> threads;
  for (size_t s = 0; s < ranges.size(); ++s)
    threads.emplace_back([&, s] {
      ThreadGroup group(meeting, int(s));
      answers[s] = run_shard(device, problem, ranges[s], group);
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t s = 1; s < ranges.size(); ++s)
    for (size_t r = 0; r < answers[0].size(); ++r)
      EXPECT_EQ(std::memcmp(&answers[0][r], &answers[s][r], sizeof(SampleAnswer)), 0) << "shard " << s << " row " << r;
  return {answers[0], meeting.gathers};
}

}  // namespace trireme
