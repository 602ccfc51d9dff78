#include "kernels/linear_choices.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "kernels/linear_tuning.h"

namespace trireme {
namespace {

LinearChoice choice(int64_t out, int64_t in, int64_t tokens, bool float_out = false) {
  LinearChoice c;
  c.out_features = out, c.in_features = in, c.tokens = tokens, c.float_out = float_out;
  return c;
}

std::vector<LinearChoice> samples() {
  std::vector<LinearChoice> choices = {choice(4096, 4096, 1), choice(4096, 4096, 256), choice(128256, 4096, 8, true)};
  choices[0].kernel = LinearKernel::skinny, choices[0].tile = 3, choices[0].grid = 2;
  choices[1].has_algorithm = true, choices[1].algorithm = {0, 1, ~uint64_t(0), 0x123456789abcdef0u, 5, 6, 7, 8};
  return choices;
}

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("linear_choices_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string file(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

TEST(LinearChoices, TextGoesRound) {
  const std::string text = format_linear_choices(samples(), "a gpu");
  EXPECT_EQ(parse_linear_choices(text, "a gpu"), samples());
  EXPECT_TRUE(parse_linear_choices(format_linear_choices({}, "a gpu"), "a gpu").empty());
}

TEST(LinearChoices, AForeignOrTornTextIsNone) {
  const std::string text = format_linear_choices(samples(), "a gpu");
  EXPECT_TRUE(parse_linear_choices(text, "another gpu").empty());
  for (size_t length = 0; length < text.size(); ++length)
    EXPECT_TRUE(parse_linear_choices(text.substr(0, length), "a gpu").empty()) << length;
  const std::string header = text.substr(0, text.find('\n') + 1);
  for (const char* line :
       {"1\t2", "x\t1\t1\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0", "1\t1\t1\t2\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0",
        "1\t1\t1\t0\t4\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0",
        "0\t1\t1\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0",
        "1\t1\t1\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\tfffffffffffffffff",
        "99999999999999999999\t1\t1\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0", ""})
    EXPECT_TRUE(parse_linear_choices(header + line + "\nend\n", "a gpu").empty()) << line;
}

TEST(LinearChoices, TheNextLargerNumberOfTokensDecides) {
  std::vector<LinearChoice> choices = {choice(7, 9, 8), choice(7, 9, 2), choice(7, 9, 64), choice(7, 9, 4, true)};
  adopt_linear_choices(choices);
  EXPECT_EQ(find_linear_choice(7, 9, false, 1)->tokens, 2);
  EXPECT_EQ(find_linear_choice(7, 9, false, 2)->tokens, 2);
  EXPECT_EQ(find_linear_choice(7, 9, false, 3)->tokens, 8);
  EXPECT_EQ(find_linear_choice(7, 9, false, 64)->tokens, 64);
  EXPECT_EQ(find_linear_choice(7, 9, false, 65), nullptr);
  EXPECT_EQ(find_linear_choice(7, 9, true, 3)->tokens, 4);
  EXPECT_EQ(find_linear_choice(9, 7, false, 1), nullptr);
  choices[0].tile = 5;
  adopt_linear_choices(choices);
  EXPECT_EQ(find_linear_choice(7, 9, false, 5)->tile, 5);
}

TEST(LinearChoices, AFileIsAddedToAndSurvivesWhatIsWrongWithIt) {
  const Folder folder;
  const std::string file = folder.file("choices.tsv");
  load_linear_choices(file, "a gpu");  // missing
  std::ofstream(file) << "garbage";
  load_linear_choices(file, "a gpu");
  std::ofstream(file) << format_linear_choices(std::vector{choice(11, 13, 32)}, "a gpu");
  load_linear_choices(file, "another gpu");
  EXPECT_EQ(find_linear_choice(11, 13, false, 1), nullptr);
  adopt_linear_choices(std::vector{choice(17, 19, 4)});
  save_linear_choices(file, "a gpu");
  load_linear_choices(file, "a gpu");
  EXPECT_EQ(find_linear_choice(11, 13, false, 1)->tokens, 32);
  std::ifstream in(file);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_GE(parse_linear_choices(text, "a gpu").size(), 2u);
  save_linear_choices(folder.file("choices.tsv/below/a/file.tsv"), "a gpu");  // cannot be: a warning
}

TEST(LinearChoices, TheFolderIsAsked) {
  setenv("TRIREME_CACHE_DIR", "/somewhere", 1);
  EXPECT_EQ(linear_tuning_file("m"), "/somewhere/gemm-m.tsv");
  unsetenv("TRIREME_CACHE_DIR");
  setenv("XDG_CACHE_HOME", "/x", 1);
  EXPECT_EQ(linear_tuning_file("m"), "/x/trireme/gemm-m.tsv");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/h", 1);
  EXPECT_EQ(linear_tuning_file("m"), "/h/.cache/trireme/gemm-m.tsv");
  unsetenv("HOME");
  EXPECT_EQ(linear_tuning_file("m"), "");
}

TEST(LinearChoices, CountsReachTheMost) {
  EXPECT_EQ(tuned_token_counts(1), (std::vector<int64_t>{1}));
  EXPECT_EQ(tuned_token_counts(5), (std::vector<int64_t>{1, 2, 4, 8}));
  EXPECT_EQ(tuned_token_counts(8192).back(), 8192);
  EXPECT_EQ(tuned_token_counts(100000).back(), 8192);
}

}  // namespace
}  // namespace trireme
