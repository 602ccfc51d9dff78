#include "runtime/step_profiler.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"

namespace trireme {
namespace {

class StepProfilerTest : public ::testing::Test {
 protected:
  StepProfilerTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "trireme-profile-XXXXXX").string();
    options.directory = mkdtemp(pattern.data());
    options.skip = 2;
    options.steps = 3;
  }
  ~StepProfilerTest() override { std::filesystem::remove_all(options.directory); }

  // Steps of one row with `counts` tokens each; the last one shuts down.
  ProfilePart run(const std::vector<int>& counts) {
    StepProfiler profiler(options, 1, kCpu);
    const Stream stream(kCpu);
    StepPlan plan;
    for (int count : counts) {
      plan.rows = {PlanRow{.slot = 0, .start = 0, .count = count}};
      step(profiler, plan, stream, count);
    }
    plan.rows.clear();
    plan.shutdown = true;
    step(profiler, plan, stream, 0);
    const std::string path = profile_part_path(options.directory, 1);
    return parse_profile_part(read_text_file(path), path);
  }

  void step(StepProfiler& profiler, const StepPlan& plan, const Stream& stream, int count) {
    static constexpr const char* kOps[] = {"shutdown", "linear(1)", "rms_norm(2)", "embed(3)"};
    profiler.before_step(plan, stream);
    rank_progress().tick(kOps[count]);
    profiler.after_step(plan, stream);
  }

  static std::vector<std::string> names(const ProfilePart& part) {
    std::vector<std::string> names;
    for (const TraceSpan& span : part.recording.spans) names.push_back(span.name);
    return names;
  }

  ProfileOptions options;
};

TEST_F(StepProfilerTest, RecordsTheStepsAfterThoseItPassesOver) {
  const ProfilePart part = run({3, 2, 2, 1, 1, 3, 3});
  EXPECT_EQ(part.rank, 1);
  EXPECT_EQ(part.device, "cpu");
  EXPECT_EQ(part.steps, 3);
  EXPECT_EQ(part.decode_steps, 2);
  EXPECT_EQ(names(part), (std::vector<std::string>{"rms_norm", "linear", "linear"}));
}

TEST_F(StepProfilerTest, PassesOverDecodeStepsAndBeginsWithOneWhenAsked) {
  options.from_decode = true;
  const ProfilePart part = run({3, 3, 3, 1, 1, 2, 1, 2, 1, 1});
  EXPECT_EQ(part.steps, 3);
  EXPECT_EQ(names(part), (std::vector<std::string>{"linear", "rms_norm", "linear"}));
}

TEST_F(StepProfilerTest, ARunThatEndsEarlyLeavesWhatThereIs) {
  EXPECT_EQ(run({1, 1, 1}).steps, 1);
  EXPECT_EQ(run({1}).steps, 0);
  EXPECT_FALSE(profiling());
}

TEST_F(StepProfilerTest, APartThatCannotBeWrittenIsNoFailure) {
  options.directory += "/missing";
  EXPECT_THROW(run({1, 1, 1}), CheckpointError);  // of the read: nothing was written
}

TEST(ProfilePart, ComesBackFromItsText) {
  ProfilePart part{.rank = 3, .device = "cuda:1", .steps = 5, .decode_steps = 4, .recording = {}};
  part.recording.dropped = 7;
  part.recording.spans = {{"a \"name\" <int>", SpanCategory::gemm, 23, 1000000000000, 1000000000007, true},
                          {"b", SpanCategory::host, 0, 1000000000001, 1000000000002, false},
                          {"a \"name\" <int>", SpanCategory::other, 16, 1000000000003, 1000000000009, false}};
  const ProfilePart back = parse_profile_part(profile_part_text(part), "part");
  EXPECT_EQ(back.rank, part.rank);
  EXPECT_EQ(back.device, part.device);
  EXPECT_EQ(back.steps, part.steps);
  EXPECT_EQ(back.decode_steps, part.decode_steps);
  EXPECT_EQ(back.recording.dropped, part.recording.dropped);
  EXPECT_EQ(back.recording.spans, part.recording.spans);
}

TEST(ProfilePart, RefusesOtherTexts) {
  for (const char* text : {"", "[]", "{}", "{\"rank\":0}",
                           "{\"rank\":0,\"device\":\"cpu\",\"steps\":1,\"decode_steps\":1,"
                           "\"dropped\":0,\"names\":[],\"spans\":[[0,0,0,0,0,0]]}",
                           "{\"rank\":0,\"device\":\"cpu\",\"steps\":1,\"decode_steps\":1,\"dropped\":0,"
                           "\"names\":[\"x\"],\"spans\":[[0,99,0,0,0,0]]}"})
    EXPECT_THROW(parse_profile_part(text, "part"), CheckpointError) << text;
}

}  // namespace
}  // namespace trireme
