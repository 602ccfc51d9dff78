#include "gateway/generation_config.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace trireme {
namespace {

ModelAssets assets_with_defaults() {
  ModelAssets assets;
  assets.checkpoint.config.vocab_size = 10;
  assets.checkpoint.defaults.temperature = 0.7;
  assets.checkpoint.defaults.top_k = 20;
  return assets;
}

TEST(GenerationConfig, TheModelsOwnOrNone) {
  ModelAssets assets = assets_with_defaults();
  choose_generation_defaults(assets, "auto", "");
  EXPECT_EQ(assets.checkpoint.defaults.temperature, 0.7);
  choose_generation_defaults(assets, "vllm", "");
  EXPECT_FALSE(assets.checkpoint.defaults.temperature);
  EXPECT_FALSE(assets.checkpoint.defaults.top_k);
}

TEST(GenerationConfig, SingleValuesMayBeOverridden) {
  ModelAssets assets = assets_with_defaults();
  choose_generation_defaults(assets, "auto", R"({"temperature": 0.2, "max_new_tokens": 9})");
  EXPECT_EQ(assets.checkpoint.defaults.temperature, 0.2);
  EXPECT_EQ(assets.checkpoint.defaults.max_new_tokens, 9);
  EXPECT_EQ(assets.checkpoint.defaults.top_k, 20);
  EXPECT_THROW(choose_generation_defaults(assets, "auto", "{"), ConfigError);
}

TEST(GenerationConfig, AnotherFolder) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("trireme_gc_" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  std::ofstream(folder / "generation_config.json") << R"({"top_p": 0.5, "eos_token_id": [3]})";
  ModelAssets assets = assets_with_defaults();
  choose_generation_defaults(assets, folder, "");
  std::filesystem::remove_all(folder);
  EXPECT_FALSE(assets.checkpoint.defaults.temperature);
  EXPECT_EQ(assets.checkpoint.defaults.top_p, 0.5);
  EXPECT_EQ(assets.checkpoint.config.eos_token_ids, std::vector<int64_t>{3});
  try {
    choose_generation_defaults(assets, folder, "");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("--generation-config"), std::string::npos);
  }
}

}  // namespace
}  // namespace trireme
