#include "runtime/load_progress.h"

#include <gtest/gtest.h>

namespace trireme::test {
namespace {

class ListedSource final : public TensorSource {
 public:
  explicit ListedSource(std::vector<TensorInfo> tensors) : tensors_(std::move(tensors)) {}
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  void read(const TensorInfo&, int64_t, int64_t, int64_t, int64_t, std::byte*) const override {}

 private:
  std::vector<TensorInfo> tensors_;
};

TEST(LoadProgress, TheLineSaysHowMuchHowFastHowLong) {
  EXPECT_EQ(load_progress_text(3'200'000'000, 13'500'000'000, 2.0),
            "loading weights: 3.2 of about 13.5 GB, 1.60 GB/s, 6 s left");
  EXPECT_EQ(load_progress_text(0, 13'500'000'000, 2.0), "loading weights: 0.0 of about 13.5 GB, 0.00 GB/s");
  EXPECT_EQ(load_progress_text(14'000'000'000, 13'500'000'000, 7.0),
            "loading weights: 14.0 of about 14.0 GB, 2.00 GB/s");
}

TEST(LoadProgress, ARankExpectsItsStageAndItsShare) {
  const auto tensor = [](const std::string& name, int64_t bytes) {
    TensorInfo info;
    info.name = name;
    info.bytes = bytes;
    return info;
  };
  const ListedSource source({tensor("model.embed_tokens.weight", 1000),
                             tensor("model.layers.0.mlp.up_proj.weight", 100),
                             tensor("model.layers.1.mlp.up_proj.weight", 200),
                             tensor("transformer.h.2.ln_1.weight", 40), tensor("model.layers.3.x", 8)});
  EXPECT_EQ(expected_load_bytes(source, Topology(1, 1, 1, 0), 4), 1348);
  EXPECT_EQ(expected_load_bytes(source, Topology(4, 2, 2, 2), 4), 650);  // stage 0: the embedding, layers 0 and 1
  EXPECT_EQ(expected_load_bytes(source, Topology(4, 1, 4, 2), 4), 200);  // stage 1: layer 1
}

}  // namespace
}  // namespace trireme::test
