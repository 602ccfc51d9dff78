#include "launcher/mpirun_command.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "launcher/attempt_directory.h"

namespace trireme {

namespace {

bool starts_with(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

bool belongs_to_outer_mpi(const std::string& variable, bool inside_outer_run) {
  for (const char* prefix : {"PMIX_", "PMI_", "PRTE_", "ORTE_"})
    if (starts_with(variable, prefix)) return true;
  if (!starts_with(variable, "OMPI_")) return false;
  if (starts_with(variable, "OMPI_ALLOW_RUN_AS_ROOT")) return false;
  return inside_outer_run || !starts_with(variable, "OMPI_MCA_");  // a user's own parameters stay
}

std::vector<std::string> clean_environment(const std::vector<std::string>& environment) {
  const bool inside = std::any_of(environment.begin(), environment.end(), [](const std::string& variable) {
    return starts_with(variable, "OMPI_COMM_WORLD_SIZE=") || starts_with(variable, "PMIX_RANK=");
  });
  std::vector<std::string> kept;
  for (const std::string& variable : environment)
    if (!belongs_to_outer_mpi(variable, inside) && !starts_with(variable, kAttemptKeyVariable) &&
        !starts_with(variable, kAttemptDirectoryName) && !starts_with(variable, kFrontName))
      kept.push_back(variable);
  return kept;
}

}  // namespace

bool is_one_host(const LaunchOptions& options) {
  if (!options.hostfile.empty()) return false;
  return std::none_of(options.launch_args.begin(), options.launch_args.end(), [](const std::string& argument) {
    return starts_with(argument, "--host") || starts_with(argument, "-host") || argument == "-H" ||
           argument == "--machinefile" || argument == "-machinefile";
  });
}

Command make_mpirun_command(const EngineOptions& engine, const LaunchOptions& options,
                            const std::string& attempt_directory, const std::vector<std::string>& environment) {
  Command command;
  command.environment = clean_environment(environment);
  command.environment.push_back(std::string(kAttemptKeyVariable) + "=" + engine.front.key);
  command.environment.push_back(std::string(kAttemptDirectoryName) + "=" + attempt_directory);
  static const std::string front = make_attempt_key().substr(0, 16);  // the same in all attempts
  command.environment.push_back(std::string(kFrontName) + "=" + front);
  if (geteuid() == 0)
    for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"}) {
      std::erase_if(command.environment,
                    [name](const std::string& v) { return starts_with(v, (std::string(name) + "=").c_str()); });
      command.environment.push_back(std::string(name) + "=1");
    }

  std::vector<std::string>& line = command.arguments;
  // yield_when_idle: more ranks than cores are usual on the CPU, and a spinning rank would starve the one it waits for.
  // free_list_max, segment_size: room for activations on their way between stages (parallel/communicator_mpi.cpp).
  // fbox_max 0: with fast boxes a run of eager messages stops after some, until its sender is inside MPI again.
  // sigkill_timeout 0: a dead rank ends the job at once. The directories: what a crash leaves lies in one place.
  line = {options.mpirun,
          "-n",
          std::to_string(engine.world()),
          "--bind-to",
          "none",
          "--mca",
          "mpi_yield_when_idle",
          "1",
          "--mca",
          "odls_base_sigkill_timeout",
          "0",
          "--mca",
          "orte_tmpdir_base",
          attempt_directory,
          "--mca",
          "btl_vader_backing_directory",
          attempt_directory,
          "--mca",
          "btl_vader_single_copy_mechanism",
          "none",
          "--mca",
          "btl_vader_free_list_max",
          "8192",
          "--mca",
          "btl_vader_segment_size",
          "33554432",
          "--mca",
          "btl_vader_fbox_max",
          "0"};
  // One host: no open ports, and no remote shell, which a container may lack.
  if (is_one_host(options)) line.insert(line.end(), {"--mca", "btl", "self,vader", "--mca", "plm", "isolated"});
  if (engine.device == DeviceKind::cpu) line.push_back("--oversubscribe");
  if (!options.hostfile.empty()) line.insert(line.end(), {"--hostfile", options.hostfile});
  for (const std::string& variable : command.environment)
    if (starts_with(variable, "NCCL_") || starts_with(variable, "CUDA_") || starts_with(variable, "TRIREME_"))
      line.insert(line.end(), {"-x", variable.substr(0, variable.find('='))});
  line.insert(line.end(), options.launch_args.begin(), options.launch_args.end());
  line.insert(line.end(), {options.program, "engine"});
  const std::vector<std::string> engine_arguments = to_arguments(engine);
  line.insert(line.end(), engine_arguments.begin(), engine_arguments.end());
  return command;
}

std::string shell_line(const std::vector<std::string>& arguments) {
  std::string line;
  for (const std::string& argument : arguments) {
    const bool plain = !argument.empty() && argument.find_first_of(" \t\n\"'\\$`*?[]{}()<>|&;#~!") == std::string::npos;
    std::string quoted = argument;
    if (!plain) {
      for (size_t at = 0; (at = quoted.find('\'', at)) != std::string::npos; at += 4) quoted.replace(at, 1, "'\\''");
      quoted = "'" + quoted + "'";
    }
    line += (line.empty() ? "" : " ") + quoted;
  }
  return line;
}

std::vector<std::string> current_environment() {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry; ++entry) environment.emplace_back(*entry);
  return environment;
}

std::vector<std::string> hostfile_hosts(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw ConfigError("--hostfile: cannot open " + path);
  std::vector<std::string> hosts;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    if (std::string host; words >> host) hosts.push_back(host);
  }
  if (hosts.empty()) throw ConfigError("--hostfile: " + path + " names no host");
  return hosts;
}

}  // namespace trireme
