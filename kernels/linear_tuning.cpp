#include "kernels/linear_tuning.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <tuple>

#include "base/backend_traits.h"
#include "base/log.h"
#include "kernels/backend.h"

namespace trireme {

namespace cpu {
static int64_t tune_linear(std::span<const LinearWeight* const>, DType, const LinearRole&, std::span<const int64_t>,
                           const Stream&) {
  return 0;
}
static size_t gemm_library_version() { return 0; }
}  // namespace cpu
namespace cuda {
int64_t tune_linear(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role,
                    std::span<const int64_t> token_counts, const Stream& stream);
size_t gemm_library_version();
}  // namespace cuda

namespace {

std::string read_text(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

// Ranks of one machine add to the file one after another. Without a lock file entries may get lost, nothing else.
class FileLock {
 public:
  explicit FileLock(const std::string& file) : descriptor_(open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644)) {
    if (descriptor_ >= 0) flock(descriptor_, LOCK_EX);
  }
  ~FileLock() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  FileLock(const FileLock&) = delete;

 private:
  int descriptor_;
};

std::vector<LinearChoice> merged(std::vector<LinearChoice> old, const std::vector<LinearChoice>& added) {
  std::map<std::tuple<int64_t, int64_t, bool, int64_t>, LinearChoice> all;
  old.insert(old.end(), added.begin(), added.end());
  for (const LinearChoice& c : old) all[{c.out_features, c.in_features, c.float_out, c.tokens}] = c;
  std::vector<LinearChoice> result;
  for (const auto& [key, choice] : all) result.push_back(choice);
  return result;
}

size_t library_version(Device device) { BACKEND_RETURN(device, gemm_library_version()); }

}  // namespace

std::vector<int64_t> tuned_token_counts(int64_t most) {
  std::vector<int64_t> counts;
  // Closely spaced where a tile that suits the next larger number may cost twice the time: some waves of processors.
  for (int64_t count : {1,   2,   4,   8,   12,  16,  24,  32,   48,   64,   96,   128,  160,  192,
                        256, 320, 384, 448, 512, 768, 1024, 1280, 1536, 1792, 2048, 4096, 8192}) {
    counts.push_back(count);
    if (count >= most) break;
  }
  return counts;
}

int64_t tune_linear(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role,
                    std::span<const int64_t> token_counts, const Stream& stream) {
  if (weights.empty()) return 0;
  const LinearWeight& first = *weights.front();
  for (const LinearWeight* weight : weights)
    CHECK(weight->out_features == first.out_features && weight->in_features == first.in_features)
        << "tune_linear: layers of different shapes";
  CHECK(!role.gated || first.out_features % 2 == 0) << "tune_linear: gates and ups of" << first.out_features;
  CHECK(out == activation_dtype(first.device()) || !(role.gated || role.added)) << "tune_linear: gated or added, but not of the activation dtype";
  if (first.out_features == 0 || first.in_features == 0) return 0;
  BACKEND_RETURN(first.device(), tune_linear(weights, out, role, token_counts, stream));
}

std::string linear_tuning_machine(Device device) {
  if (device.is_cpu()) return std::string();
  std::string name = device_description(device) + "-" + std::to_string(library_version(device));
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
  return name;
}

std::string linear_tuning_file(const std::string& machine) {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  std::string folder = variable("TRIREME_CACHE_DIR");
  if (folder.empty() && !variable("XDG_CACHE_HOME").empty()) folder = variable("XDG_CACHE_HOME") + "/trireme";
  if (folder.empty() && !variable("HOME").empty()) folder = variable("HOME") + "/.cache/trireme";
  return folder.empty() ? std::string() : folder + "/gemm-" + machine + ".tsv";
}

void load_linear_choices(const std::string& file, const std::string& machine) {
  if (!file.empty()) adopt_linear_choices(parse_linear_choices(read_text(file), machine));
}

void save_linear_choices(const std::string& file, const std::string& machine) {
  if (file.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(file).parent_path(), error);
  const FileLock lock(file + ".lock");
  const std::string text =
      format_linear_choices(merged(parse_linear_choices(read_text(file), machine), linear_choices()), machine);
  const std::string draft = file + "." + std::to_string(getpid());
  std::ofstream out(draft, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (out) std::filesystem::rename(draft, file, error);
  if (out && !error) return;
  std::filesystem::remove(draft, error);
  log_warning("the measured linear algorithms cannot be kept in {}: the next start measures again", file);
}

}  // namespace trireme
