// Pieces of memory that the ranks of one host open in each other's processes.
#include "parallel/peer_memory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "base/tensor.h"
#include "parallel/cluster.h"
#include "tests/support/ranks.h"

namespace trireme::test {
namespace {

ClusterOptions options(DeviceKind device) { return {.tp = world_size(), .pp = 1, .device = device}; }

TEST(PeerMemory, TheCpuHasNone) {
  const Cluster cluster(options(DeviceKind::cpu));
  EXPECT_EQ(cluster.tp_peers(), nullptr);
}

class PeerMemoryCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    const int gpus = std::getenv("TRIREME_SHARE_GPUS") && cuda_device_count() > 0 ? world_size() : cuda_device_count();
    if (gpus < world_size()) GTEST_SKIP() << "needs " << world_size() << " GPUs, this host has " << cuda_device_count();
  }
};

TEST_F(PeerMemoryCuda, CanBeRefused) {
  ClusterOptions without = options(DeviceKind::cuda);
  without.peer_memory = false;
  const Cluster cluster(without);
  EXPECT_EQ(cluster.tp_peers(), nullptr);
}

// Twice: what one cluster leaves behind does not hinder the next.
TEST_F(PeerMemoryCuda, EveryRankSeesWhatOthersWriteIntoTheirOwn) {
  for (int round = 0; round < 2; ++round) {
    Cluster cluster(options(DeviceKind::cuda));
    const PeerBuffers* peers = cluster.tp_peers();
    if (world_size() == 1) {
      EXPECT_EQ(peers, nullptr);
      return;
    }
    if (!peers) GTEST_SKIP() << "the GPUs do not reach each other";
    ASSERT_EQ(peers->rank, world_rank());
    ASSERT_EQ(peers->size, world_size());
    EXPECT_FALSE(peers->failed());
    const Stream stream(cluster.device());
    const int64_t bytes = peer_memory_bytes(peers->area_bytes);
    std::vector<std::byte> values(static_cast<size_t>(bytes));
    copy_async(values.data(), peers->memory[size_t(peers->rank)], values.size(), cluster.device(), stream);
    stream.synchronize();
    EXPECT_EQ(values, std::vector<std::byte>(values.size())) << "not zero at first";
    cluster.barrier();
    const auto of = [](int rank, size_t i) { return std::byte(uint8_t(rank * 31 + int(i % 251))); };
    for (size_t i = 0; i < values.size(); ++i) values[i] = of(peers->rank, i);
    copy_async(peers->memory[size_t(peers->rank)], values.data(), values.size(), cluster.device(), stream);
    stream.synchronize();
    cluster.barrier();
    for (int rank = 0; rank < peers->size; ++rank) {
      copy_async(values.data(), peers->memory[size_t(rank)], values.size(), cluster.device(), stream);
      stream.synchronize();
      size_t wrong = 0;
      for (size_t i = 0; i < values.size(); ++i) wrong += values[i] != of(rank, i);
      EXPECT_EQ(wrong, 0u) << "of rank " << rank;
    }
    cluster.barrier();
  }
}

}  // namespace
}  // namespace trireme::test
