#include "kernels/fused_all_reduce.h"

#include <chrono>
#include <thread>

#include "tests/support/backend.h"
#include "tests/support/peer_threads.h"
#include "tests/support/tensors.h"

namespace trireme::test {
namespace {

constexpr int64_t kAreaBytes = PeerRank::kAreaBytes;
constexpr float kEps = 1e-5f;
constexpr AllReduceForm kForms[] = {AllReduceForm::one_shot, AllReduceForm::two_shot, AllReduceForm::two_shot_dense};

// What a call of all ranks starts from, and what must come of it.
struct Case {
  Case(int ranks, int64_t r, int64_t c, bool with_bias, Device device, uint32_t seed) : rows(r), cols(c) {
    const DType activation = activation_dtype(device);
    hidden = rounded(random_values(rows * cols, seed, 2), activation);
    weight = random_values(cols, seed + 1, 2);
    if (with_bias) bias = rounded(random_values(cols, seed + 2), activation);
    for (int rank = 0; rank < ranks; ++rank) {
      partials.push_back(rounded(random_values(rows * cols, seed + 3 + uint32_t(rank)), activation));
      for (size_t i = 0; i < partials.back().size(); i += 7) partials.back()[i] = i % 2 ? 0.0f : -0.0f;
      for (size_t i = 0; i < partials.back().size() && i < 4; ++i) partials.back()[i] = 0;  // a whole word
    }
    if (device.is_cpu())
      add_up<double>(activation);
    else
      add_up<float>(activation);
  }

  int64_t rows, cols;
  Values hidden, weight, bias;
  std::vector<Values> partials;
  Values expected_hidden, expected_sum;
  std::vector<double> expected_normed;

 private:
  // In the order and the type that the op promises.
  template <typename Wide>
  void add_up(DType activation) {
    for (int64_t i = 0; i < rows * cols; ++i) {
      Wide sum = 0;
      for (const Values& partial : partials) sum += Wide(partial[size_t(i)]);
      expected_sum.push_back(float(sum));
      Wide total = sum + Wide(hidden[size_t(i)]);
      if (!bias.empty()) total += Wide(bias[size_t(i % cols)]);
      expected_hidden.push_back(float(total));
    }
    expected_hidden = rounded(std::move(expected_hidden), activation);
    expected_sum = rounded(std::move(expected_sum), activation);
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (int64_t c = 0; c < cols; ++c) squares += std::pow(double(expected_hidden[size_t(r * cols + c)]), 2);
      const double scale = 1 / std::sqrt(squares / double(cols) + double(kEps));
      for (int64_t c = 0; c < cols; ++c)
        expected_normed.push_back(double(expected_hidden[size_t(r * cols + c)]) * scale * double(weight[size_t(c)]));
    }
  }
};

// A rank's tensors of a case; rows lie apart.
struct Operands {
  Operands(const Case& c, PeerRank& rank) {
    const Stream& stream = rank.stream;
    const DType activation = activation_dtype(rank.device), partial_type = partial_dtype(rank.device);
    hidden = strided(owners[0], c.rows, c.cols, 8, activation, stream);
    normed = strided(owners[1], c.rows, c.cols, 16, activation, stream);
    partial = strided(owners[2], c.rows, c.cols, 24, partial_type, stream);
    upload_rows(hidden, c.hidden, stream);
    upload_rows(partial, c.partials[size_t(rank.buffers.rank)], stream);
    weight = to_device(c.weight, {c.cols}, DType::f32, stream);
    if (!c.bias.empty()) bias = to_device(c.bias, {c.cols}, activation, stream);
  }
  TensorView bias_view() const { return bias ? bias.view() : TensorView(); }

  Tensor owners[3], weight, bias;
  TensorView hidden, normed, partial;
};

class FusedAllReduceTest : public BackendTest {
 protected:
  void check_case(PeerThreads& group, const Case& c, AllReduceForm form) {
    std::vector<std::unique_ptr<Operands>> operands(static_cast<size_t>(group.size()));
    const auto of = [&](PeerRank& rank) -> Operands& { return *operands[size_t(rank.buffers.rank)]; };
    group.each([&](PeerRank& rank) { operands[size_t(rank.buffers.rank)] = std::make_unique<Operands>(c, rank); },
               [&](PeerRank& rank) {
                 const Operands& o = of(rank);
                 fused_all_reduce(o.normed, o.hidden, o.partial, o.bias_view(), {o.weight, kEps}, {rank.buffers, form},
                                  rank.stream);
               });
    for (int i = 0; i < group.size(); ++i) {
      SCOPED_TRACE("rank " + std::to_string(i));
      PeerRank& rank = group.rank(i);
      set_current_device(rank.device);
      ASSERT_EQ(*rank.buffers.status, 0u);
      expect_close(to_host(of(rank).hidden, rank.stream), c.expected_hidden, 0);
      expect_close(to_host(of(rank).normed, rank.stream), c.expected_normed, tolerance());
      expect_identical(to_host(of(rank).normed, rank.stream), to_host(operands[0]->normed, group.rank(0).stream),
                       "replicated");
    }
    set_current_device(device());
  }
};

TEST_P(FusedAllReduceTest, SumsInRankOrderWhateverTheShape) {
  for (const int ranks : {2, 3, 4, 8}) {
    PeerThreads group(device(), ranks);
    if (!group.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
    uint32_t seed = 1;
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 8},
                                     {1, 576},
                                     {3, 64},
                                     {5, 4096},
                                     {7, 8192},
                                     {13, 1032},
                                     {2, 16384},
                                     {1, 4104},
                                     {9, 120}})
      for (const AllReduceForm form : kForms)
        for (const bool with_bias : {false, true}) {
          SCOPED_TRACE(testing::Message() << ranks << " ranks, " << rows << " x " << cols << " form " << int(form));
          ASSERT_GE(all_reduce_rows({group.rank(0).buffers, form}, cols, device()), rows);
          check_case(group, Case(ranks, rows, cols, with_bias, device(), ++seed), form);
          if (HasFatalFailure()) return;
        }
  }
}

// More rows than blocks.
TEST_P(FusedAllReduceTest, ABlockTakesSeveralRows) {
  for (const int ranks : {2, 4}) {
    PeerThreads group(device(), ranks);
    if (!group.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
    for (int i = 0; i < ranks; ++i) group.rank(i).buffers.max_blocks = 3 + i;
    for (const AllReduceForm form : kForms) check_case(group, Case(ranks, 50, 1024, false, device(), 7), form);
  }
}

// More rows than an area takes, and not whole numbers of pieces; more than a GPU has processors, so two blocks share
// one.
TEST_P(FusedAllReduceTest, LongSumsGoPieceByPiece) {
  for (const int ranks : {2, 3, 4}) {
    PeerThreads group(device(), ranks);
    if (!group.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
    for (const AllReduceForm form : kForms)
      for (const int64_t cols : {1024, 2048}) {
        const int64_t most = all_reduce_rows({group.rank(0).buffers, form}, cols, device());
        check_case(group, Case(ranks, 2 * most + 3, cols, true, device(), 11), form);
      }
  }
}

TEST_P(FusedAllReduceTest, AllFormsGiveTheSameBits) {
  constexpr int kRanks = 3;
  PeerThreads group(device(), kRanks);
  if (!group.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
  Case c(kRanks, 10, 576, false, device(), 17);
  for (Values& partial : c.partials) std::fill_n(partial.begin(), 64, 0.0f);  // words of zero as results
  std::vector<std::vector<double>> sums(std::size(kForms) * kRanks);
  for (const AllReduceForm form : kForms) {
    std::vector<std::unique_ptr<Operands>> operands(kRanks);
    group.each([&](PeerRank& rank) { operands[size_t(rank.buffers.rank)] = std::make_unique<Operands>(c, rank); },
               [&](PeerRank& rank) {
                 const TensorView partial = operands[size_t(rank.buffers.rank)]->partial;
                 peer_all_reduce(partial, {rank.buffers, form}, rank.stream);
                 sums[size_t(int(form) * kRanks + rank.buffers.rank)] = to_host(partial, rank.stream);
               });
  }
  set_current_device(device());
  for (const auto& other : sums) expect_identical(other, sums[0], "a form or a rank");
}

TEST_P(FusedAllReduceTest, WithoutANormOrAResidual) {
  for (const int ranks : {2, 4}) {
    PeerThreads group(device(), ranks);
    if (!group.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
    const Case c(ranks, 6, 576, true, device(), 5);
    for (const AllReduceForm form : kForms) {
      std::vector<std::unique_ptr<Operands>> operands(static_cast<size_t>(ranks));
      group.each([&](PeerRank& rank) { operands[size_t(rank.buffers.rank)] = std::make_unique<Operands>(c, rank); },
                 [&](PeerRank& rank) {
                   const Operands& o = *operands[size_t(rank.buffers.rank)];
                   const PeerSum sum{rank.buffers, form};
                   fused_all_reduce(TensorView(), o.hidden, o.partial, o.bias_view(), {}, sum, rank.stream);
                   peer_all_reduce(o.partial, sum, rank.stream);
                 });
      for (int i = 0; i < ranks; ++i) {
        set_current_device(group.rank(i).device);
        expect_close(to_host(operands[size_t(i)]->hidden, group.rank(i).stream), c.expected_hidden, 0);
        expect_close(to_host(operands[size_t(i)]->partial, group.rank(i).stream), c.expected_sum,
                     device().is_cpu() ? 1e-7 : 0);
      }
    }
    set_current_device(device());
  }
}

// Calls of all sizes and both forms behind each other, ranks at different paces: what one call leaves in an area is no
// data of a later one.
TEST_P(FusedAllReduceTest, AreasAreCleanForEveryCall) {
  constexpr int kRanks = 3, kCalls = 60;
  PeerThreads group(device(), kRanks);
  if (!group.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
  std::vector<Case> cases;
  for (uint32_t i = 0; i < kCalls; ++i)
    cases.emplace_back(kRanks, 1 + i * 7 % 11, 8 * (1 + int64_t(i) * 13 % 40), false, device(), 100 + 10 * i);
  std::vector<std::vector<std::unique_ptr<Operands>>> operands(kRanks);
  group.each(
      [&](PeerRank& rank) {
        for (const Case& c : cases) operands[size_t(rank.buffers.rank)].push_back(std::make_unique<Operands>(c, rank));
      },
      [&](PeerRank& rank) {
        for (int i = 0; i < kCalls; ++i) {
          const Operands& o = *operands[size_t(rank.buffers.rank)][size_t(i)];
          if (i % 16 == 5 * rank.buffers.rank) std::this_thread::sleep_for(std::chrono::milliseconds(3));
          fused_all_reduce(o.normed, o.hidden, o.partial, TensorView(), {o.weight, kEps},
                           {rank.buffers, kForms[i % 7 % 3]}, rank.stream);
        }
      });
  for (int rank = 0; rank < kRanks; ++rank)
    for (int i = 0; i < kCalls; ++i) {
      SCOPED_TRACE("rank " + std::to_string(rank) + " call " + std::to_string(i));
      set_current_device(group.rank(rank).device);
      expect_close(to_host(operands[size_t(rank)][size_t(i)]->hidden, group.rank(rank).stream),
                   cases[size_t(i)].expected_hidden, 0);
      if (HasFailure()) return;
    }
  set_current_device(device());
}

TEST_P(FusedAllReduceTest, AGraphIsReplayed) {
  if (!Graph::supported(device())) GTEST_SKIP() << "nothing is recorded on the CPU";
  constexpr int kRanks = 2, kCalls = 5, kReplays = 7;
  PeerThreads group(device(), kRanks);
  if (!group.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
  const Case c(kRanks, 4, 576, false, device(), 3);
  std::vector<std::unique_ptr<Operands>> operands(kRanks);
  std::vector<Graph> graphs(kRanks);
  const auto record = [&](PeerRank& rank) {
    auto& o = operands[size_t(rank.buffers.rank)] = std::make_unique<Operands>(c, rank);
    graphs[size_t(rank.buffers.rank)] = Graph::record(rank.stream, [&] {
      for (int i = 0; i < kCalls; ++i)
        fused_all_reduce(TensorView(), o->hidden, o->partial, TensorView(), {}, {rank.buffers, kForms[i % 3]},
                         rank.stream);
    });
  };
  group.each(record, [&](PeerRank& rank) {
    for (int i = 0; i < kReplays; ++i) graphs[size_t(rank.buffers.rank)].launch(rank.stream);
  });
  Values expected = c.hidden;
  for (size_t i = 0; i < expected.size(); ++i)
    for (int call = 0; call < kCalls * kReplays; ++call)
      expected[i] = bf16_to_f32(f32_to_bf16(c.partials[0][i] + c.partials[1][i] + expected[i]));
  for (int rank = 0; rank < kRanks; ++rank)
    expect_close(to_host(operands[size_t(rank)]->hidden, group.rank(rank).stream), expected, 0);
}

TEST_P(FusedAllReduceTest, AWaitThatIsTooLongSetsTheStatusAndEnds) {
  PeerThreads group(device(), 2);
  if (!group.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
  PeerRank& rank = group.rank(0);
  rank.buffers.timeout_ns = 50'000'000;
  const Case c(2, 3, 64, false, device(), 3);
  for (const AllReduceForm form : kForms) {
    const Operands o(c, rank);
    const PeerSum sum{rank.buffers, form};
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 20; ++i)  // only the first waits
      fused_all_reduce(o.normed, o.hidden, o.partial, TensorView(), {o.weight, kEps}, sum, rank.stream);
    rank.stream.synchronize();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
    EXPECT_EQ(*rank.buffers.status, 2u);  // 1 + the rank that did not come
    EXPECT_TRUE(rank.buffers.failed());
  }
}

TEST_P(FusedAllReduceTest, SaysHowManyRowsAnAreaTakes) {
  PeerThreads group(device(), 2);
  for (const AllReduceForm form : kForms) {
    EXPECT_GE(all_reduce_rows({group.rank(0).buffers, form}, 4096, device()), 16);
    EXPECT_LT(all_reduce_rows({group.rank(0).buffers, form}, 4096, device()), 4096);
    EXPECT_EQ(all_reduce_rows({group.rank(0).buffers, form}, kAreaBytes, device()), 0);
  }
}

INSTANTIATE_BACKENDS(FusedAllReduceTest);

}  // namespace
}  // namespace trireme::test
