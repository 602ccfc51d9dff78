// Stands in for libFuzzer where the compiler is g++: mutates the inputs of the folders named and keeps what reaches new
// code, as -fsanitize-coverage=trace-pc tells it. New inputs go to the first folder. What crashes, or takes 10 s, is
// written to artifact_prefix and ends the program. One thread, as the target is.
//   NAME_fuzz [-runs=N] [-max_total_time=SECONDS] [-seed=N] [-max_len=N] [-artifact_prefix=DIR/] FOLDER ...

#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kEdges = 1 << 16;  // counters; edges that share one are told apart by their counts only
constexpr unsigned kSlowSeconds = 10;
alignas(8) std::array<uint8_t, kEdges> hits;  // of the input under way
alignas(8) std::array<uint8_t, kEdges> seen;  // by counter: the classes of counts that an input has had
uintptr_t last_block = 0;
std::string current;  // the input under way
std::string artifact_prefix = "./";

struct Options {
  uint64_t runs = UINT64_MAX, seed = 1, max_len = 4096, seconds = UINT64_MAX / 2;
  std::vector<std::filesystem::path> folders;
};

std::string name_of(const std::string& input) {
  char name[24];
  std::snprintf(name, sizeof name, "%016zx", std::hash<std::string>()(input));
  return name;
}

void save_current() {
  const std::string path = artifact_prefix + "crash-" + name_of(current);
  std::ofstream(path, std::ios::binary).write(current.data(), std::streamsize(current.size()));
  std::fprintf(stderr, "the input is in %s\n", path.c_str());
}

void on_signal(int number) {
  std::fprintf(stderr, number == SIGALRM ? "an input takes more than 10 s\n" : "aborted\n");
  save_current();
  _exit(77);
}

// 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127, more: one bit each.
uint8_t count_class(uint8_t count) {
  if (count < 4) return uint8_t(count == 0 ? 0 : 1 << (count - 1));
  const int width = std::bit_width(count);
  return uint8_t(1 << (width < 6 ? width : width < 8 ? 6 : 7));
}

// True when the input has reached an edge, or a class of counts of one, as none before.
bool run(const std::string& input) {
  current = input;
  hits.fill(0);
  last_block = 0;
  alarm(kSlowSeconds);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
  alarm(0);
  bool news = false;
  for (size_t word = 0; word < kEdges; word += 8) {
    uint64_t eight = 0;
    std::memcpy(&eight, &hits[word], 8);
    if (eight == 0) continue;
    for (size_t at = word; at < word + 8; ++at) {
      const uint8_t reached = count_class(hits[at]);
      news |= (reached & ~seen[at]) != 0;
      seen[at] |= reached;
    }
  }
  return news;
}

class Mutator {
 public:
  Mutator(uint64_t seed, size_t max_len) : random_(seed), max_len_(max_len) {}

  std::string mutate(const std::vector<std::string>& corpus) {
    std::string input = any(corpus);
    for (size_t steps = size_t(1) << below(4); steps > 0; --steps) change(input, any(corpus));
    if (input.size() > max_len_) input.resize(max_len_);
    return input;
  }

 private:
  size_t below(size_t end) { return end == 0 ? 0 : size_t(random_() % end); }
  const std::string& any(const std::vector<std::string>& corpus) { return corpus[below(corpus.size())]; }

  void change(std::string& input, const std::string& other) {
    static const char* const kWords[] = {"0", "-1", "1e999", "2147483648", "18446744073709551616", "null", "true", "[]", "{}", "\"\"", "\\ud800", "\xff", "\x80"};
    const size_t at = below(input.size() + 1), length = below(std::min<size_t>(input.size() - at, 16) + 1);
    const size_t from = below(other.size() + 1), taken = below(std::min<size_t>(other.size() - from, 64) + 1);
    switch (below(8)) {
      case 0: input.erase(at, length); break;
      case 1: input.insert(at, 1, char(random_())); break;
      case 2: input.insert(at, input.substr(at, length)); break;
      case 3: input.insert(at, other, from, taken); break;
      case 4: input.replace(at, std::min(taken, input.size() - at), other, from, taken); break;
      case 5: input.replace(at, length, kWords[below(std::size(kWords))]); break;
      case 6:
        if (at < input.size()) input[at] = char(random_());
        break;
      default:
        if (at < input.size()) input[at] = char(input[at] ^ (1 << below(8)));
    }
  }

  std::mt19937_64 random_;
  size_t max_len_;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const size_t equals = word.find('=');
    const auto is = [&](const char* name) { return word.substr(0, equals) == name; };
    const char* value = equals == std::string::npos ? "" : argv[i] + equals + 1;
    if (is("-runs")) options.runs = std::strtoull(value, nullptr, 10);
    else if (is("-seed")) options.seed = std::strtoull(value, nullptr, 10);
    else if (is("-max_len")) options.max_len = std::strtoull(value, nullptr, 10);
    else if (is("-max_total_time")) options.seconds = std::strtoull(value, nullptr, 10);
    else if (is("-artifact_prefix")) artifact_prefix = value;
    else if (word[0] == '-') std::fprintf(stderr, "%s means nothing here\n", word.c_str());
    else options.folders.emplace_back(word);
  }
  return options;
}

std::vector<std::string> read_corpus(const Options& options) {
  std::vector<std::string> inputs = {""};
  for (const std::filesystem::path& folder : options.folders)
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      std::ifstream file(entry.path(), std::ios::binary);
      inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  return inputs;
}

}  // namespace

// At the beginning of every basic block of the target.
extern "C" void __sanitizer_cov_trace_pc() {
  const auto block = uintptr_t(__builtin_return_address(0));
  uint8_t& count = hits[(block ^ (last_block << 1)) % kEdges];
  if (count < 255) ++count;
  last_block = block;
}

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  __sanitizer_set_death_callback(save_current);
  std::signal(SIGABRT, on_signal);
  std::signal(SIGALRM, on_signal);
  std::vector<std::string> corpus;
  uint64_t done = 0;
  for (const std::string& input : read_corpus(options)) {
    ++done;
    if (run(input)) corpus.push_back(input);
  }
  const size_t given = corpus.size();
  Mutator mutator(options.seed, options.max_len);
  const auto begin = std::chrono::steady_clock::now();
  const auto seconds = [&] { return uint64_t((std::chrono::steady_clock::now() - begin) / std::chrono::seconds(1)); };
  for (; done < options.runs && seconds() < options.seconds; ++done) {
    std::string input = mutator.mutate(corpus);
    if (!run(input)) continue;
    if (!options.folders.empty())
      std::ofstream(options.folders[0] / name_of(input), std::ios::binary) << input;
    corpus.push_back(std::move(input));
  }
  const auto edges = size_t(std::count_if(seen.begin(), seen.end(), [](uint8_t classes) { return classes != 0; }));
  std::printf("%zu of the inputs reach something of their own, %zu new ones; %zu edges; %llu s\n", given,
              corpus.size() - given, edges, static_cast<unsigned long long>(seconds()));
  std::printf("stat::number_of_executed_units: %llu\n", static_cast<unsigned long long>(done));
  return 0;
}
