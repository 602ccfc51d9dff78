#pragma once
// Runs a ShardSampler per shard of the vocabulary, each on a thread of this process. With `peers` the shards exchange
// through their memory, each on its rank's device; else by a communicator between the threads, all on one device.

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <thread>

#include "kernels/sample_rows.h"
#include "runtime/sampling/shard_sampler.h"
#include "tests/support/peer_threads.h"

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

// One shard's part of a problem, on the device, and its sampler.
class ShardOfProblem {
 public:
  ShardOfProblem(Device device, const Problem& problem, Range range, Communicator& group,
                 const PeerBuffers* peers = nullptr)
      : problem_(problem),
        device_(device),
        rows_(int64_t(problem.batch.rows.size())),
        stream_(device),
        logits_(upload(columns(problem.logits, problem.vocab, range), DType::f32,
                       {rows_, std::max<int64_t>(range.size(), 1)}, device)),
        logits_view_(logits_.data(), DType::f32, {rows_, range.size()}, device),
        length_(upload(problem.lengths, DType::i32, {int64_t(problem.lengths.size())}, device)),
        counts_(upload(columns(problem.counts, problem.vocab, range), DType::u16,
                       {int64_t(problem.lengths.size()), std::max<int64_t>(range.size(), 1)}, device)),
        sampler_(device, group, {problem.vocab, range, int(rows_), 2, peers}) {
    state_.length = length_;
    if (!problem.counts.empty())
      state_.counts = TensorView(counts_.data(), DType::u16, {length_.dim(0), range.size()}, device);
    if (peers) {  // what ops allocate at their first use must be there before anybody's kernel waits
      ShardSampler gathering(device, group, {problem.vocab, range, int(rows_), 2});
      gathering.enqueue(0, problem.batch, logits_view_, state_, stream_);
      stream_.synchronize();
    }
  }

  const ShardSampler& sampler() const { return sampler_; }

  // The drawn ids of every row, with the slots' lengths moved on by `positions`.
  std::vector<int32_t> draw(int entry, int32_t positions = 0) {
    std::vector<int32_t> lengths = problem_.lengths;
    for (int32_t& length : lengths) length += positions;
    copy_async(length_.data(), lengths.data(), lengths.size() * sizeof(int32_t), device_, stream_);
    sampler_.enqueue(entry, problem_.batch, logits_view_, state_, stream_);
    std::vector<int32_t> ids(static_cast<size_t>(rows_));
    copy_async(ids.data(), sampler_.drawn_ids(entry, rows_).data(), ids.size() * sizeof(int32_t), device_, stream_);
    stream_.synchronize();
    return ids;
  }

 private:
  const Problem& problem_;
  Device device_;
  int64_t rows_;
  Stream stream_;
  Tensor logits_;
  TensorView logits_view_;
  Tensor length_, counts_;
  SlotState state_;
  ShardSampler sampler_;
};

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

// function(shard index, ShardOfProblem) on one thread per shard; returns how often they gathered.
template <typename Function>
int on_shards(Device device, const Problem& problem, int shards, Function&& function,
              test::PeerThreads* peers = nullptr) {
  const std::vector<Range> ranges = cut_vocabulary(problem.vocab, shards);
  Meeting meeting(shards);
  std::vector<std::thread> threads;
  for (size_t s = 0; s < ranges.size(); ++s)
    threads.emplace_back([&, s] {
      const Device own = peers ? peers->rank(int(s)).device : device;
      set_current_device(own);
      ThreadGroup group(meeting, int(s));
      ShardOfProblem shard(own, problem, ranges[s], group, peers ? &peers->rank(int(s)).buffers : nullptr);
      meeting.barrier.arrive_and_wait();  // all memory is there
      if (s == 0) meeting.gathers = 0;
      meeting.barrier.arrive_and_wait();
      function(s, shard);
      meeting.barrier.arrive_and_wait();  // and stays while a peer's kernel may wait
    });
  for (std::thread& thread : threads) thread.join();
  return meeting.gathers;
}

struct Outcome {
  std::vector<SampleAnswer> answers;
  std::vector<std::vector<SampleEntry>> candidates;  // of each row; empty where it asks for none
  int gathers = 0;
};

inline void read_answers(Outcome& outcome, const Problem& problem, const ShardSampler& sampler, int entry) {
  for (size_t r = 0; r < problem.batch.rows.size(); ++r) {
    const SampleAnswer& answer = outcome.answers.emplace_back(sampler.answers(entry)[r]);
    const SampleEntry* found = is_beam(problem.batch.rows[r]) ? sampler.candidates(entry, int(r)) : nullptr;
    outcome.candidates.emplace_back(found, found + answer.candidate_count);
  }
}

template <typename T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

inline void expect_same(const Outcome& a, const Outcome& b, const std::string& what) {
  for (size_t r = 0; r < a.answers.size(); ++r) {
    EXPECT_TRUE(same_bits<SampleAnswer>({&a.answers[r], 1}, {&b.answers[r], 1})) << what << ", row " << r;
    EXPECT_TRUE(same_bits<SampleEntry>(a.candidates[r], b.candidates[r])) << what << ", candidates of row " << r;
  }
}

// Runs the problem on `shards` shards; every shard must come to the same answers, bit for bit.
inline Outcome run(Device device, const Problem& problem, int shards, test::PeerThreads* peers = nullptr) {
  std::vector<Outcome> outcomes(static_cast<size_t>(shards));
  const int gathers = on_shards(
      device, problem, shards,
      [&](size_t s, ShardOfProblem& shard) {
        const std::vector<int32_t> ids = shard.draw(1);
        read_answers(outcomes[s], problem, shard.sampler(), 1);
        for (size_t r = 0; r < ids.size(); ++r)
          EXPECT_EQ(ids[r], draws(problem.batch.rows[r]) ? outcomes[s].answers[r].id : -1);
      },
      peers);
  for (size_t s = 1; s < outcomes.size(); ++s) expect_same(outcomes[0], outcomes[s], "shard " + std::to_string(s));
  outcomes[0].gathers = gathers;
  return outcomes[0];
}

// Every row's draws at `steps` moments: step t has the slots' lengths moved on by t * positions_per_step. Every shard
// must draw the same. [steps, rows]
inline std::vector<int32_t> repeated_draws(Device device, const Problem& problem, int shards, int steps,
                                           int positions_per_step, test::PeerThreads* peers = nullptr) {
  std::vector<std::vector<int32_t>> ids(static_cast<size_t>(shards));
  on_shards(
      device, problem, shards,
      [&](size_t s, ShardOfProblem& shard) {
        for (int t = 0; t < steps; ++t) {
          const std::vector<int32_t> drawn = shard.draw(t % 2, t * positions_per_step);
          ids[s].insert(ids[s].end(), drawn.begin(), drawn.end());
        }
      },
      peers);
  for (size_t s = 1; s < ids.size(); ++s) EXPECT_EQ(ids[0], ids[s]) << "shard " << s;
  return ids[0];
}

}  // namespace trireme
