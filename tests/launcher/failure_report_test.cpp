#include "launcher/failure_report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "launcher/device_memory.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

TEST(FailureReport, SaysWhoDiedAndKeepsABoundedNumber) {
  const std::string directory = testing::TempDir() + "/reports_" + std::to_string(getpid()) + "/below";
  FailureReport report;
  report.attempt = 3;
  report.cause = "rank_died";
  report.summary = "the engine failed: rank 1 died";
  report.ranks = {"rank 0 on a (pid 5)", "rank 1 on b (pid 6)"};
  report.suspects = {4, 9};
  report.mpirun_tail = {"mpirun noticed"};
  std::string last;
  for (int i = 0; i < 25; ++i) {
    const auto path = write_report(directory, report);
    ASSERT_TRUE(path);
    last = *path;
  }
  EXPECT_EQ(size_t(std::distance(fs::directory_iterator(directory), fs::directory_iterator())), kKeptReports);
  std::ifstream file(last);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  for (const char* words : {"time: 2", "attempt: 3\n", "cause: rank_died\n", "suspects: 4, 9\n", "poisoned: none\n",
                            "  rank 1 on b (pid 6)\n", "  mpirun noticed\n"})
    EXPECT_NE(text.find(words), std::string::npos) << words << "\n" << text;
  fs::remove_all(fs::path(directory).parent_path());
}

TEST(FailureReport, IsNothingWhereItCannotBeWritten) {
  EXPECT_FALSE(write_report("", {}));
  EXPECT_FALSE(write_report("/proc/nowhere", {}));
}

TEST(DeviceMemory, IsBackAtItsLevelButForALittle) {
  EXPECT_TRUE(memory_is_back({100, 200}, {100, 200 + (32 << 20)}));
  EXPECT_FALSE(memory_is_back({100, 200}, {100, 1 << 30}));
  EXPECT_TRUE(memory_is_back({}, {5}));  // unknown
  EXPECT_TRUE(memory_is_back({5}, {}));
}

}  // namespace
}  // namespace trireme
