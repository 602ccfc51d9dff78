#include "launcher/profile_trace.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"

namespace trireme {
namespace {

constexpr int64_t kMs = 1000000;

TraceSpan device_span(const char* name, int64_t start, int64_t end, int32_t lane = kFirstStreamLane) {
  return {name, kernel_category(name), lane, start * kMs, end * kMs, false};
}

// Two steps in 40 ms: 0..10 linear, 10..14 attention, 12..20 norm on another stream, idle, 30..40 linear.
ProfilePart part(int rank) {
  ProfilePart part{.rank = rank, .device = "cuda:0", .steps = 2, .decode_steps = 2, .recording = {}};
  part.recording.spans = {device_span("skinny_linear_kernel", 0, 10), device_span("paged_attention_kernel", 10, 14),
                          device_span("rms_norm_kernel", 12, 20, kFirstStreamLane + 7),
                          {"execute", SpanCategory::host, kWorkerLane, 5 * kMs, 90 * kMs, false},
                          device_span("nvjet_x", 30, 40)};
  part.recording.spans.back().in_graph = true;
  return part;
}

TEST(StepBreakdown, PartsAndIdleTimeAddUpToTheStep) {
  const StepBreakdown step = step_breakdown(part(0));
  EXPECT_DOUBLE_EQ(step.step, 20);
  EXPECT_DOUBLE_EQ(step.busy, 15);
  EXPECT_DOUBLE_EQ(step.idle_fraction(), 0.25);
  EXPECT_DOUBLE_EQ(step.parts[size_t(SpanCategory::gemm)], 10);
  EXPECT_DOUBLE_EQ(step.parts[size_t(SpanCategory::attention)], 2);
  EXPECT_DOUBLE_EQ(step.parts[size_t(SpanCategory::norm)], 3);  // where it does not overlap
  EXPECT_EQ(step_breakdown({}).step, 0);
}

TEST(StepBreakdown, IsPrintedWithTheFloorAndForEveryRank) {
  const std::string text = breakdown_text({part(0), part(1)}, 5);
  for (const char* piece : {"Profile of rank 0: 2 steps (2 of them decode only), 20.000 ms each", "Profile of rank 1: ",
                            "GEMM                 10.000 ms   50.0 %", "idle                  5.000 ms   25.0 %",
                            "memory floor 5.000 ms: 25.0 %"})
    EXPECT_NE(text.find(piece), std::string::npos) << piece << " in\n" << text;
  EXPECT_EQ(breakdown_text({part(0)}, 0).find("floor"), std::string::npos);
  const json::array figures = breakdown_figures({part(0), part(1)});
  ASSERT_EQ(figures.size(), 2u);
  EXPECT_EQ(figures[1].at("rank"), 1);
  EXPECT_DOUBLE_EQ(figures[0].at("idle_fraction").as_double(), 0.25);
  EXPECT_DOUBLE_EQ(figures[0].at("parts_ms").at("GEMM").as_double(), 10);
}

TEST(ChromeTrace, IsJsonWithTheSpansOfEveryRank) {
  ProfilePart second = part(1);
  second.recording.spans[0].name = "odd \"name\" \\ with\nbreaks";
  const json::value trace = parse_json(chrome_trace({part(0), second}), "trace");
  size_t spans[2] = {}, in_graph = 0;
  std::set<std::string> threads;
  for (const json::value& event : trace.at("traceEvents").as_array()) {
    const int rank = event.at("pid").to_number<int>();
    if (event.at("name") == "thread_name") threads.insert(std::string(event.at("args").at("name").as_string()));
    if (event.at("ph") != "X") continue;
    ++spans[rank];
    EXPECT_GE(event.at("ts").as_double(), 0);
    if (event.as_object().contains("args")) ++in_graph;
    if (event.at("name") == "rms_norm_kernel") {
      EXPECT_EQ(event.at("tid"), kFirstStreamLane + 7);
      EXPECT_EQ(event.at("ts"), 12000.0);
      EXPECT_EQ(event.at("dur"), 8000.0);
      EXPECT_EQ(event.at("cat"), "norm/elementwise");
    }
  }
  EXPECT_EQ(spans[0], 5u);
  EXPECT_EQ(spans[1], 5u);
  EXPECT_EQ(in_graph, 2u);
  EXPECT_EQ(threads, (std::set<std::string>{"worker thread", "stream 0", "stream 7"}));
  EXPECT_TRUE(parse_json(chrome_trace({}), "trace").at("traceEvents").as_array().empty());
}

TEST(ProfileTrace, GathersThePartsThatAreThere) {
  std::string folder = (std::filesystem::temp_directory_path() / "trireme-trace-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  RunOptions options;
  options.profile = folder + "/trace.json";
  options.engine.profile.directory = options.profile + ".parts";
  options.engine.tp = 2;
  {
    ProfileTrace trace(options);
    std::ofstream(profile_part_path(options.engine.profile.directory, 1)) << profile_part_text(part(1));
    const std::vector<ProfilePart> parts = trace.finish();  // rank 0's is on another host
    ASSERT_EQ(parts.size(), 1u);
    EXPECT_EQ(parts[0].rank, 1);
  }
  EXPECT_EQ(parse_json(read_text_file(options.profile), "trace").at("traceEvents").as_array().size(), 5u + 7u);
  EXPECT_FALSE(std::filesystem::exists(options.engine.profile.directory));
  std::filesystem::remove_all(folder);
  EXPECT_THROW(ProfileTrace{options}, ConfigError);  // no such folder any more
}

TEST(ProfileTrace, DoesNothingUnasked) {
  ProfileTrace trace{RunOptions{}};
  EXPECT_TRUE(trace.finish().empty());
}

}  // namespace
}  // namespace trireme
