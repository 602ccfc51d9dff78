#include "kernels/peer_gather.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/support/backend.h"
#include "tests/support/peer_threads.h"

namespace trireme::test {
namespace {

using Bytes = std::vector<std::byte>;

class PeerGatherTest : public BackendTest {
 protected:
  // What every rank has in call `number`: any bits, with many words of zero and of the messages' own special values.
  static Bytes part(int rank, int number, int64_t bytes) {
    std::mt19937 generator(uint32_t(1 + rank + 100 * number));
    Bytes values(static_cast<size_t>(bytes));
    for (size_t word = 0; word < values.size() / 4; ++word) {
      constexpr uint32_t kSpecial[] = {0, 0x80000000u, 1, 8, 0xffffffffu};
      const uint32_t value = generator() % 2 ? generator() : kSpecial[generator() % std::size(kSpecial)];
      std::memcpy(values.data() + 4 * word, &value, 4);
    }
    return values;
  }

  // All ranks' calls of the given sizes, one behind the other.
  void check(PeerThreads& group, const std::vector<int64_t>& sizes) {
    const int ranks = group.size();
    std::vector<std::vector<Tensor>> ins(static_cast<size_t>(ranks)), outs(static_cast<size_t>(ranks));
    group.each(
        [&](PeerRank& rank) {
          const auto r = size_t(rank.buffers.rank);
          for (size_t i = 0; i < sizes.size(); ++i) {
            ins[r].emplace_back(DType::u8, std::initializer_list<int64_t>{sizes[i]}, rank.device);
            outs[r].emplace_back(DType::u8, std::initializer_list<int64_t>{ranks, sizes[i]}, rank.device);
            const Bytes own = part(int(r), int(i), sizes[i]);
            copy_async(ins[r][i].data(), own.data(), own.size(), rank.device, rank.stream);
            rank.stream.synchronize();
          }
        },
        [&](PeerRank& rank) {
          const auto r = size_t(rank.buffers.rank);
          for (size_t i = 0; i < sizes.size(); ++i) peer_all_gather(outs[r][i], ins[r][i], rank.buffers, rank.stream);
        });
    for (int r = 0; r < ranks; ++r) {
      PeerRank& rank = group.rank(r);
      set_current_device(rank.device);
      ASSERT_EQ(rank.buffers.status_now(), 0u);
      for (size_t i = 0; i < sizes.size(); ++i) {
        Bytes got(static_cast<size_t>(ranks * sizes[i])), expected;
        copy_async(got.data(), outs[size_t(r)][i].data(), got.size(), rank.device, rank.stream);
        rank.stream.synchronize();
        for (int from = 0; from < ranks; ++from) {
          const Bytes of_rank = part(from, int(i), sizes[i]);
          expected.insert(expected.end(), of_rank.begin(), of_rank.end());
        }
        ASSERT_EQ(got, expected) << "rank " << r << ", call " << i << " of " << sizes[i] << " bytes";
      }
    }
    set_current_device(device());
  }
};

TEST_P(PeerGatherTest, EveryRankGetsEveryonesBits) {
  for (const int ranks : {2, 3, 4, 8}) {
    PeerThreads group(device(), ranks);
    if (!group.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
    const int64_t most = peer_gather_bytes(group.rank(0).buffers, device()) / 4 * 4;
    check(group, {4, 8, 12, 16, 4000, 48 * 7, 4, most, 20, 100'000, 4, 4, 4, 32});
  }
}

TEST_P(PeerGatherTest, RefusesWhatDoesNotFit) {
  PeerThreads group(device(), 2);
  const int64_t most = peer_gather_bytes(group.rank(0).buffers, device());
  EXPECT_GE(most, PeerRank::kAreaBytes / 2);
  const auto gather = [&](int64_t bytes) {
    const Tensor in(DType::u8, {bytes}, device()), out(DType::u8, {2, bytes}, device());
    peer_all_gather(out, in, group.rank(0).buffers, group.rank(0).stream);
  };
  EXPECT_THROW(gather((most + 8) / 4 * 4), InternalError);
  EXPECT_THROW(gather(6), InternalError);
  gather(0);
}

INSTANTIATE_BACKENDS(PeerGatherTest);

}  // namespace
}  // namespace trireme::test
