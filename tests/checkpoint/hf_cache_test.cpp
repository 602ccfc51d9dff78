#include "checkpoint/hf_cache.h"

#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

// Sets the five variables that matter ("" unsets) and puts them back.
class HubEnvironment {
 public:
  HubEnvironment(const std::string& hub_cache, const std::string& hf_home, const std::string& xdg,
                 const std::string& home) {
    set("HF_HUB_CACHE", hub_cache);
    set("HF_HOME", hf_home);
    set("XDG_CACHE_HOME", xdg);
    set("HOME", home);
  }
  ~HubEnvironment() {
    for (const auto& [name, value] : saved_) value ? ::setenv(name, value->c_str(), 1) : ::unsetenv(name);
  }

 private:
  void set(const char* name, const std::string& value) {
    const char* old = std::getenv(name);
    saved_.emplace_back(name, old ? std::optional<std::string>(old) : std::nullopt);
    value.empty() ? ::unsetenv(name) : ::setenv(name, value.c_str(), 1);
  }
  std::vector<std::pair<const char*, std::optional<std::string>>> saved_;
};

const std::string kCommit(40, 'a');

TEST(HfCache, FollowsTheOrderOfVariables) {
  {
    HubEnvironment variables("/a", "/b", "/c", "/d");
    EXPECT_EQ(hub_cache_directory(), "/a");
  }
  {
    HubEnvironment variables("", "/b", "/c", "/d");
    EXPECT_EQ(hub_cache_directory(), "/b/hub");
  }
  {
    HubEnvironment variables("", "", "/c", "/d");
    EXPECT_EQ(hub_cache_directory(), "/c/huggingface/hub");
  }
  {
    HubEnvironment variables("", "", "", "/d");
    EXPECT_EQ(hub_cache_directory(), "/d/.cache/huggingface/hub");
  }
  {
    HubEnvironment variables("~/x", "", "", "/d");
    EXPECT_EQ(hub_cache_directory(), "/d/x");
  }
  HubEnvironment variables("", "", "", "");
  EXPECT_EQ(hub_cache_directory(), "");
  EXPECT_FALSE(find_in_hub_cache("org/name"));
}

TEST(HfCache, FindsTheSnapshotOfMain) {
  const TempDirectory cache;
  HubEnvironment variables(cache.path(), "", "", "/d");
  EXPECT_FALSE(find_in_hub_cache("org/name"));
  cache.write("models--org--name/refs/main", kCommit);
  EXPECT_FALSE(find_in_hub_cache("org/name"));
  cache.write("models--org--name/snapshots/" + kCommit + "/config.json", "{}");
  EXPECT_EQ(find_in_hub_cache("org/name"), cache.path() + "/models--org--name/snapshots/" + kCommit);
  cache.write("models--gpt2/refs/main", kCommit + "\n");
  cache.write("models--gpt2/snapshots/" + kCommit + "/config.json", "{}");
  EXPECT_TRUE(find_in_hub_cache("gpt2"));
}

TEST(HfCache, RefusesReferencesThatAreNoCommit) {
  const TempDirectory cache;
  HubEnvironment variables(cache.path(), "", "", "/d");
  for (const std::string& text : {std::string(), std::string("../../.."), std::string("main"), std::string(41, 'a')}) {
    cache.write("models--org--name/refs/main", text);
    expect_error([] { find_in_hub_cache("org/name"); }, {"refs/main", "hf download org/name"});
  }
}

TEST(HfCache, KnowsRepositoryNames) {
  for (const char* name : {"org/name", "gpt2", "meta-llama/Llama-3.1-8B", "a/b.c_d-e"})
    EXPECT_TRUE(is_repository_name(name)) << name;
  for (const char* name : {"", "/", "org/", "/name", "a/b/c", "../x", "a/..", "a..b/c", "a--b/c", ".a/b", "a/b.",
                           "-a/b", "a b/c", "a\\b", "~/x", "a/b\n"})
    EXPECT_FALSE(is_repository_name(name)) << name;
  EXPECT_FALSE(is_repository_name(std::string(97, 'a')));
}

}  // namespace
}  // namespace trireme::test
