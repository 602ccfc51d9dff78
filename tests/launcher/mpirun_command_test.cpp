#include "launcher/mpirun_command.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "base/error.h"

namespace trireme {
namespace {

EngineOptions engine() {
  EngineOptions options;
  options.model = "/m";
  options.tp = 2;
  options.pp = 2;
  options.front = {"unix:/d/front.sock", "k3y", 1};
  return options;
}

LaunchOptions launch() {
  LaunchOptions options;
  options.program = "/bin/trireme";
  return options;
}

bool has(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool has_pair(const std::vector<std::string>& list, const std::string& first, const std::string& second) {
  for (size_t i = 0; i + 1 < list.size(); ++i)
    if (list[i] == first && list[i + 1] == second) return true;
  return false;
}

TEST(MpirunCommand, CarriesTheFlagsThatCpuRanksNeed) {
  const std::vector<std::string> line = make_mpirun_command(engine(), launch(), "/d", {}).arguments;
  EXPECT_TRUE(has_pair(line, "-n", "4"));
  EXPECT_TRUE(has_pair(line, "--bind-to", "none"));
  EXPECT_TRUE(has_pair(line, "mpi_yield_when_idle", "1"));
  EXPECT_TRUE(has_pair(line, "odls_base_sigkill_timeout", "0"));
  EXPECT_TRUE(has_pair(line, "btl_vader_backing_directory", "/d"));
  EXPECT_TRUE(has_pair(line, "orte_tmpdir_base", "/d"));
  EXPECT_TRUE(has_pair(line, "btl", "self,vader"));
  EXPECT_TRUE(has_pair(line, "btl_vader_fbox_max", "0"));
  EXPECT_TRUE(has(line, "--oversubscribe"));
  EXPECT_TRUE(has_pair(line, "/bin/trireme", "engine"));
}

TEST(MpirunCommand, OversubscribesOnTheCpuOnly) {
  EngineOptions options = engine();
  options.device = DeviceKind::cuda;
  EXPECT_FALSE(has(make_mpirun_command(options, launch(), "/d", {}).arguments, "--oversubscribe"));
}

TEST(MpirunCommand, PassesTheKeyByEnvironmentAndNeverByArgument) {
  const Command command = make_mpirun_command(engine(), launch(), "/d", {"TRIREME_ATTEMPT_KEY=old"});
  EXPECT_TRUE(has(command.environment, "TRIREME_ATTEMPT_KEY=k3y"));
  EXPECT_FALSE(has(command.environment, "TRIREME_ATTEMPT_KEY=old"));
  EXPECT_TRUE(has_pair(command.arguments, "-x", "TRIREME_ATTEMPT_KEY"));
  for (const std::string& argument : command.arguments) EXPECT_EQ(argument.find("k3y"), std::string::npos);
}

TEST(MpirunCommand, ForwardsLibraryVariablesAndScrubsAnOuterMpi) {
  const Command outer = make_mpirun_command(engine(), launch(), "/d",
                                            {"PATH=/bin", "NCCL_DEBUG=INFO", "CUDA_VISIBLE_DEVICES=1", "TRIREME_X=1",
                                             "OMPI_COMM_WORLD_SIZE=2", "OMPI_MCA_ess=x", "PMIX_RANK=0", "PRTE_A=b"});
  EXPECT_TRUE(has_pair(outer.arguments, "-x", "NCCL_DEBUG"));
  EXPECT_TRUE(has_pair(outer.arguments, "-x", "CUDA_VISIBLE_DEVICES"));
  EXPECT_TRUE(has_pair(outer.arguments, "-x", "TRIREME_X"));
  EXPECT_TRUE(has(outer.environment, "PATH=/bin"));
  for (const char* gone : {"OMPI_COMM_WORLD_SIZE=2", "OMPI_MCA_ess=x", "PMIX_RANK=0", "PRTE_A=b"})
    EXPECT_FALSE(has(outer.environment, gone)) << gone;
  EXPECT_TRUE(has(make_mpirun_command(engine(), launch(), "/d", {"OMPI_MCA_btl_tcp_if_include=eth0"}).environment,
                  "OMPI_MCA_btl_tcp_if_include=eth0"));
}

TEST(MpirunCommand, LeavesTheTransportOpenAcrossHosts) {
  LaunchOptions options = launch();
  options.hostfile = "hosts";
  options.launch_args = {"--mca", "plm_rsh_agent", "agent x"};
  const std::vector<std::string> line = make_mpirun_command(engine(), options, "/d", {}).arguments;
  EXPECT_FALSE(has(line, "self,vader"));
  EXPECT_TRUE(has_pair(line, "--hostfile", "hosts"));
  EXPECT_TRUE(has_pair(line, "plm_rsh_agent", "agent x"));
  EXPECT_FALSE(is_one_host(options));
  options = launch();
  EXPECT_TRUE(is_one_host(options));
  options.launch_args = {"--host", "a,b"};
  EXPECT_FALSE(is_one_host(options));
}

TEST(MpirunCommand, PrintsALineThatAShellReadsBack) {
  EXPECT_EQ(shell_line({"a", "b c", "d'e", ""}), "a 'b c' 'd'\\''e' ''");
}

TEST(Hostfile, NamesHostsInOrder) {
  const std::string path = testing::TempDir() + "/hostfile_" + std::to_string(getpid());
  std::ofstream(path) << "# comment\nnode1 slots=4\n\n  node2\n";
  EXPECT_EQ(hostfile_hosts(path), (std::vector<std::string>{"node1", "node2"}));
  std::ofstream(path) << "#\n";
  EXPECT_THROW(hostfile_hosts(path), ConfigError);
  std::remove(path.c_str());
  EXPECT_THROW(hostfile_hosts(path), ConfigError);
}

}  // namespace
}  // namespace trireme
