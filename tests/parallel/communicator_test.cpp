// Every test runs on all ranks of the world as one group and is written once for both back ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "base/half.h"
#include "parallel/cluster.h"

namespace trireme {
namespace {

int world_size() {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  return size ? std::atoi(size) : 1;
}

// A value that every rank can compute for every other.
double value_of(int rank, int64_t i) { return double((rank + 1) * 1000 + i % 997); }

class CommunicatorTest : public testing::TestWithParam<DeviceKind> {
 protected:
  void SetUp() override {
    if (GetParam() == DeviceKind::cuda && cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
    if (GetParam() == DeviceKind::cuda && cuda_device_count() < world_size()) GTEST_SKIP() << "fewer GPUs than ranks";
    join(world_size(), 1);
  }
  void TearDown() override {
    stream_.reset();
    cluster_.reset();
  }
  void join(int tp, int pp) {
    stream_.reset();
    cluster_.reset();
    cluster_ = std::make_unique<Cluster>(ClusterOptions{.tp = tp, .pp = pp, .device = GetParam()});
    stream_ = std::make_unique<Stream>(cluster_->device());
  }

  Communicator& group() { return cluster_->tp_group(); }
  int rank() { return cluster_->topology().rank(); }
  int size() { return cluster_->topology().world(); }
  const Stream& stream() { return *stream_; }
  void barrier() { cluster_->barrier(); }

  template <typename T>
  Tensor upload(DType dtype, const std::vector<T>& values) {
    Tensor tensor(dtype, {int64_t(values.size())}, cluster_->device());
    copy_async(tensor.data(), values.data(), values.size() * sizeof(T), cluster_->device(), stream());
    stream().synchronize();
    return tensor;
  }
  template <typename T>
  std::vector<T> download(const TensorView& view) {
    std::vector<T> values(size_t(view.elements()));
    copy_async(values.data(), view.data(), values.size() * sizeof(T), cluster_->device(), stream());
    stream().synchronize();
    return values;
  }
  template <typename T>
  std::vector<T> values_of(int rank, int64_t count) {
    std::vector<T> values(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) values[size_t(i)] = T(value_of(rank, i));
    return values;
  }

  template <typename T>
  void check_all_reduce(DType dtype, int64_t count) {
    SCOPED_TRACE(std::string(dtype_name(dtype)) + " x " + std::to_string(count));
    const Tensor data = upload(dtype, values_of<T>(rank(), count));
    group().all_reduce_sum(data, stream());
    const std::vector<T> got = download<T>(data);
    for (int64_t i = 0; i < count; ++i) {
      double expected = 0;
      for (int r = 0; r < size(); ++r) expected += value_of(r, i);
      ASSERT_EQ(double(got[size_t(i)]), expected) << "element " << i;
    }
  }

  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<Stream> stream_;
};

TEST_P(CommunicatorTest, AllReduceSumsEveryTypeAtOddSizes) {
  for (int64_t count : {0, 1, 3, 500, 2047, 2049, 9999, 70001}) {   // whole, in slices, uneven slices
    check_all_reduce<float>(DType::f32, count);
    check_all_reduce<double>(DType::f64, count);
    check_all_reduce<int32_t>(DType::i32, count);
    check_all_reduce<int64_t>(DType::i64, count);
  }
}

TEST_P(CommunicatorTest, AllReduceSumsMoreThanOneBlock) { check_all_reduce<double>(DType::f64, (1 << 20) + 4321); }

TEST_P(CommunicatorTest, AllReduceSumsBf16) {
  std::vector<uint16_t> values(1000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = f32_to_bf16(float(rank() + int(i % 16)));
  const Tensor data = upload(DType::bf16, values);
  group().all_reduce_sum(data, stream());
  const std::vector<uint16_t> got = download<uint16_t>(data);
  for (size_t i = 0; i < values.size(); ++i)
    ASSERT_EQ(bf16_to_f32(got[i]), float(size() * int(i % 16) + size() * (size() - 1) / 2)) << i;
}

TEST_P(CommunicatorTest, AllGatherIsRankMajorForAnyType) {
  for (int64_t count : {0, 1, 77, 5000, 40000}) {
    std::vector<uint8_t> own(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) own[size_t(i)] = uint8_t(rank() * 31 + i);
    const Tensor in = upload(DType::u8, own);
    const Tensor out(DType::u8, {size(), count}, cluster_->device());
    group().all_gather(out, in, stream());
    const std::vector<uint8_t> got = download<uint8_t>(out);
    for (int r = 0; r < size(); ++r)
      for (int64_t i = 0; i < count; ++i) ASSERT_EQ(got[size_t(r * count + i)], uint8_t(r * 31 + i)) << r << " " << i;
  }
}

TEST_P(CommunicatorTest, AllGatherWorksInPlace) {
  const Tensor out(DType::i32, {size(), 600}, cluster_->device());
  const TensorView own = out.view().select(rank());
  const std::vector<int32_t> values = values_of<int32_t>(rank(), 600);
  copy_async(own.data(), values.data(), 600 * 4, cluster_->device(), stream());
  group().all_gather(out, own, stream());
  const std::vector<int32_t> got = download<int32_t>(out);
  for (int r = 0; r < size(); ++r)
    for (int i = 0; i < 600; ++i) ASSERT_EQ(got[size_t(r * 600 + i)], int32_t(value_of(r, i)));
}

TEST_P(CommunicatorTest, ReduceScatterGivesEachRankItsSum) {
  for (int64_t count : {0, 1, 100, 3001, 300007}) {
    const Tensor in(DType::f32, {size(), count}, cluster_->device());
    std::vector<float> values;
    for (int part = 0; part < size(); ++part)
      for (int64_t i = 0; i < count; ++i) values.push_back(float(value_of(rank(), i) + part));
    copy_async(in.data(), values.data(), values.size() * 4, cluster_->device(), stream());
    const Tensor out(DType::f32, {count}, cluster_->device());
    group().reduce_scatter_sum(out, in, stream());
    const std::vector<float> got = download<float>(out);
    for (int64_t i = 0; i < count; ++i) {
      double expected = 0;
      for (int r = 0; r < size(); ++r) expected += value_of(r, i) + rank();
      ASSERT_EQ(double(got[size_t(i)]), expected) << "element " << i << " of " << count;
    }
  }
}

TEST_P(CommunicatorTest, BroadcastsFromEveryRootInOrder) {
  for (int round = 0; round < 3; ++round)
    for (int root = 0; root < size(); ++root)
      for (int64_t count : {0, 1, 5000, 100000}) {
        const Tensor data = upload(DType::i32, values_of<int32_t>(rank() == root ? root + round : 99, count));
        group().broadcast(data, root, stream());
        ASSERT_EQ(download<int32_t>(data), values_of<int32_t>(root + round, count)) << root << " " << count;
      }
}

TEST_P(CommunicatorTest, MixedCollectivesStayInOrder) {
  for (int i = 0; i < 50; ++i) {
    check_all_reduce<double>(DType::f64, 1 + i * 97);
    const Tensor data = upload(DType::i32, values_of<int32_t>(i, 10));
    group().broadcast(data, i % size(), stream());
    ASSERT_EQ(download<int32_t>(data), values_of<int32_t>(i, 10));
  }
}

TEST_P(CommunicatorTest, PipelineDeliversWithSeveralMessagesInFlight) {
  join(1, world_size());
  Communicator &previous = cluster_->from_previous_stage(), &next = cluster_->to_next_stage();
  const int stage = cluster_->topology().stage();
  constexpr int kMessages = 12;
  // Sizes around the eager pieces and far beyond; every stage adds one and passes on.
  const int64_t counts[] = {1, 999, 1000, 1001, 8192, 8193, 200000};
  const auto count_of = [&](int message) { return counts[message % 7]; };
  for (int message = 0; message < kMessages; ++message) {
    std::vector<float> values = values_of<float>(message, count_of(message));
    Tensor data = upload(DType::f32, values);
    if (stage > 0) {
      previous.recv(data, 0, stream());
      values = download<float>(data);
      for (int64_t i = 0; i < count_of(message); ++i)
        ASSERT_EQ(values[size_t(i)], float(value_of(message, i) + stage)) << "message " << message << " element " << i;
    }
    for (float& value : values) value += 1;
    data = upload(DType::f32, values);
    if (stage + 1 < size()) next.send(data, 1, stream());
    stream().synchronize();
  }
}

TEST_P(CommunicatorTest, FeedbackRunsBesideForwardTraffic) {
  join(1, world_size());
  const int stage = cluster_->topology().stage(), last = size() - 1;
  Communicator &previous = cluster_->from_previous_stage(), &next = cluster_->to_next_stage();
  Communicator& feedback = cluster_->pipeline_feedback();
  for (int step = 0; step < 20; ++step) {
    const Tensor hidden = upload(DType::f32, values_of<float>(step, 2000));
    if (stage > 0) previous.recv(hidden, 0, stream());
    if (stage < last) next.send(hidden, 1, stream());
    const Tensor ids = upload(DType::i32, values_of<int32_t>(stage == last ? step : 500, 7));
    feedback.broadcast(ids, last, stream());
    ASSERT_EQ(download<int32_t>(ids), values_of<int32_t>(step, 7));
    ASSERT_EQ(download<float>(hidden), values_of<float>(step, 2000));
  }
}

TEST_P(CommunicatorTest, RefusesWhatNoRankCanDo) {
  const Tensor data(DType::f32, {4, 4}, cluster_->device());
  const Tensor wrong(DType::f32, {size() * 4 + 1}, cluster_->device());
  EXPECT_THROW(group().all_reduce_sum(data.view().slice(1, 0, 2), stream()), InternalError);   // not contiguous
  EXPECT_THROW(group().all_gather(wrong, data.view().select(0), stream()), InternalError);
  EXPECT_THROW(group().broadcast(data, size(), stream()), InternalError);
  EXPECT_THROW(group().send(data, rank(), stream()), InternalError);
  EXPECT_THROW(group().recv(data, -1, stream()), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Cpu, CommunicatorTest, testing::Values(DeviceKind::cpu));
INSTANTIATE_TEST_SUITE_P(Cuda, CommunicatorTest, testing::Values(DeviceKind::cuda));

// What only the CPU back end promises.
using CpuCommunicator = CommunicatorTest;
INSTANTIATE_TEST_SUITE_P(Cpu, CpuCommunicator, testing::Values(DeviceKind::cpu));

// 48 float32 partial sums per element, dealt to however many ranks there are and added in float64: exact in
// this range, so every world, message size and position gives the same bits.
TEST_P(CpuCommunicator, Float64SumsOfFloat32ValuesDependOnNeitherWorldNorSize) {
  constexpr int kTerms = 48;
  const auto term = [](int64_t i, int k) {   // 24 significant bits at 8 magnitudes
    return float((i * 7919 + k * 104729) % 16777213) / float(1 << (20 - k % 8));
  };
  for (int64_t count : {1, 72, 576, 2304, 9216, 100000}) {
    std::vector<double> own(static_cast<size_t>(count)), expected(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i)
      for (int k = 0; k < kTerms; ++k) {
        expected[size_t(i)] += double(term(i, k));
        if (k * size() / kTerms == rank()) own[size_t(i)] += double(term(i, k));
      }
    const Tensor data = upload(DType::f64, own);
    group().all_reduce_sum(data, stream());
    ASSERT_EQ(std::memcmp(data.data(), expected.data(), size_t(count) * 8), 0) << count << " elements";
  }
}

// Inexact values: a row's bits may not change with the number of rows it travels with.
TEST_P(CpuCommunicator, ARowKeepsItsBitsInAnyBatch) {
  for (DType dtype : {DType::f32, DType::f64}) {
    const size_t width = size_t(dtype_bytes(dtype, 1));
    std::mt19937_64 random{uint64_t(rank())};
    std::normal_distribution<double> normal;
    constexpr int64_t kRows = 600, kColumns = 576;
    Tensor all(dtype, {kRows, kColumns}, kCpu), one(dtype, {1, kColumns}, kCpu);
    for (int64_t i = 0; i < kRows * kColumns; ++i) {
      const double value = normal(random);
      if (dtype == DType::f32) all.as<float>()[i] = float(value);
      else all.as<double>()[i] = value;
    }
    for (int64_t row : {0, 1, 299, 599}) {
      std::memcpy(one.data(), all.view().select(row).data(), kColumns * width);
      Tensor batch(dtype, {kRows, kColumns}, kCpu);
      std::memcpy(batch.data(), all.data(), size_t(kRows * kColumns) * width);
      group().all_reduce_sum(batch, stream());
      group().all_reduce_sum(one, stream());
      ASSERT_EQ(std::memcmp(batch.view().select(row).data(), one.data(), kColumns * width), 0) << "row " << row;
    }
  }
}

TEST_P(CpuCommunicator, SendsDoNotWaitForTheReceiver) {
  join(1, world_size());
  if (size() < 2) GTEST_SKIP() << "one rank";
  Communicator &previous = cluster_->from_previous_stage(), &next = cluster_->to_next_stage();
  const int stage = cluster_->topology().stage();
  for (int64_t count : {100, 5000, 500000}) {
    barrier();
    const auto begin = std::chrono::steady_clock::now();
    for (int message = 0; message < 8 && stage == 0; ++message)
      next.send(upload(DType::f32, values_of<float>(message, count)), 1, stream());   // the source dies at once
    const auto taken = std::chrono::steady_clock::now() - begin;
    if (stage == 0) {
      EXPECT_LT(taken, std::chrono::milliseconds(1200)) << count;   // the receiver sleeps longer
    }
    if (stage == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1500));
      for (int message = 0; message < 8; ++message) {
        const Tensor data(DType::f32, {count}, kCpu);
        previous.recv(data, 0, stream());
        ASSERT_EQ(download<float>(data), values_of<float>(message, count));
      }
    }
    barrier();
  }
}

// A stage that has sent its output computes: it does not enter MPI for as long as a step takes.
TEST_P(CpuCommunicator, ActivationsArriveWhileTheirSenderComputes) {
  join(1, world_size());
  if (size() < 2) GTEST_SKIP() << "one rank";
  Communicator &previous = cluster_->from_previous_stage(), &next = cluster_->to_next_stage();
  const int stage = cluster_->topology().stage();
  constexpr auto kStep = std::chrono::milliseconds(1500);
  for (int64_t count : {5000, 300000, 3000000}) {   // of 12 MB at most
    barrier();
    if (stage == 0) {
      next.send(upload(DType::f32, values_of<float>(1, count)), 1, stream());
      std::this_thread::sleep_for(kStep);
    }
    if (stage == 1) {
      const Tensor data(DType::f32, {count}, kCpu);
      const auto begin = std::chrono::steady_clock::now();
      previous.recv(data, 0, stream());
      EXPECT_LT(std::chrono::steady_clock::now() - begin, kStep * 2 / 3) << count;
      EXPECT_EQ(download<float>(data), values_of<float>(1, count));
    }
    barrier();
  }
}

TEST_P(CpuCommunicator, WaitsAtTheBoundOfPendingSendsUntilThereIsRoom) {
  join(1, world_size());
  if (size() < 2) GTEST_SKIP() << "one rank";
  Communicator &previous = cluster_->from_previous_stage(), &next = cluster_->to_next_stage();
  const int stage = cluster_->topology().stage();
  constexpr int kMessages = 100;   // three times the bound, of a size that MPI cannot buffer
  for (int message = 0; message < kMessages; ++message) {
    const Tensor data = upload(DType::i32, values_of<int32_t>(stage == 0 ? message : 0, 20000));
    if (stage == 0) next.send(data, 1, stream());
    if (stage == 1) previous.recv(data, 0, stream());
    if (stage == 1) {
      ASSERT_EQ(download<int32_t>(data), values_of<int32_t>(message, 20000));
    }
  }
  barrier();
}

// A decode step of a 30-layer model: 60 all-reduces with work in between.
TEST_P(CpuCommunicator, PrintsTheLatencyOfAStep) {
  if (!std::getenv("TRIREME_MEASURE")) GTEST_SKIP() << "measures; set TRIREME_MEASURE=1";
  const auto work = [](double microseconds) {
    timespec start, now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    while (double(now.tv_sec - start.tv_sec) * 1e6 + double(now.tv_nsec - start.tv_nsec) * 1e-3 < microseconds);
  };
  constexpr int kAllReduces = 60, kSteps = 10;
  for (int64_t rows : {1, 4, 32, 512})
    for (double work_us : {0.0, 100.0}) {
      if (rows > 100 && work_us > 0) continue;
      const Tensor data(DType::f64, {rows, 576}, kCpu);
      std::fill_n(data.as<double>(), rows * 576, 0.0);
      std::vector<double> milliseconds;
      for (int step = 0; step < (rows > 100 ? 1 : kSteps); ++step) {
        barrier();
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < kAllReduces; ++i) {
          work(work_us);
          group().all_reduce_sum(data, stream());
        }
        const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
        milliseconds.push_back(taken.count());
      }
      std::sort(milliseconds.begin(), milliseconds.end());
      if (rank() == 0)
        std::printf("%d ranks: 60 x (%3.0f us work + all_reduce of %6.1f KB): best %.2f ms, median %.2f ms\n", size(),
                    work_us, double(rows) * 576 * 8 / 1000, milliseconds.front(),
                    milliseconds[milliseconds.size() / 2]);
    }
}

}  // namespace
}  // namespace trireme
