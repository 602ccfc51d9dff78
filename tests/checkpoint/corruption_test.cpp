// Damage: whatever the bytes are, the answer is a CheckpointError or a checkpoint whose tensors can be read, in memory
// of the order of the file's size. Seeded, so a failure repeats; under the sanitizers it also proves memory safety.

#include <cstdlib>
#include <random>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "checkpoint/safetensors.h"
#include "tests/checkpoint/gguf_builder.h"
#include "tests/checkpoint/test_files.h"
#include "tests/support/memory_file.h"
#include "tests/support/peak_memory.h"

namespace trireme::test {
namespace {

// One to four changes among the first `limit` bytes: a flipped bit, a new byte, a run of one byte, eight bytes of an
// extreme number, a cut or a copied piece.
std::string damage(std::string bytes, size_t limit, std::mt19937_64& random) {
  const auto below = [&](size_t n) { return size_t(random() % std::max<size_t>(n, 1)); };
  static const uint64_t kExtremes[] = {
      0, 1, ~uint64_t(0), uint64_t(1) << 63, (uint64_t(1) << 63) - 1, uint64_t(1) << 32, 0xffffffff, uint64_t(1) << 61};
  for (size_t changes = 1 + below(4); changes > 0 && !bytes.empty(); --changes) {
    const size_t at = below(std::min(limit, bytes.size()));
    switch (below(6)) {
      case 0:
        bytes[at] = char(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        bytes[at] = char(random());
        break;
      case 2:
        bytes.replace(at, below(16), std::string(below(16), char(random())));
        break;
      case 3:
        bytes.replace(at, 8, little_endian(kExtremes[below(8)], 8));
        break;
      case 4:
        bytes.erase(at, below(32));
        break;
      default:
        bytes.insert(at, bytes.substr(below(std::min(limit, bytes.size())), below(32)));
        break;
    }
  }
  return bytes;
}

// A source that was accepted must be readable to the last byte.
void read_everything(const TensorSource& source) {
  for (const TensorInfo& tensor : source.tensors()) {
    std::vector<std::byte> bytes(static_cast<size_t>(tensor.bytes));
    source.read(tensor, 0, tensor.rows(), 0, tensor.columns(), bytes.data());
  }
}

struct Tally {
  int refused = 0, accepted = 0;
};

Tally damage_many(const std::string& good, size_t limit, int rounds,
                  const std::function<void(const std::string&)>& open) {
  Tally tally;
  for (int seed = 0; seed < rounds; ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    const std::string bad = damage(good, limit, random);
    try {
      open(bad);
      ++tally.accepted;
    } catch (const CheckpointError& error) {
      ++tally.refused;
      EXPECT_LT(std::string_view(error.what()).size(), 2000u);
    } catch (const std::exception& error) {
      ADD_FAILURE() << "seed " << seed << ": " << error.what();
    }
  }
  return tally;
}

// A copy of a model's folder in which one file is in memory, so that thousands of versions of it cost no disk.
class DamagedFolder {
 public:
  DamagedFolder(const std::string& model, const std::string& file) : good(slurp(model + "/" + file)) {
    std::filesystem::copy(model, folder_.path(), std::filesystem::copy_options::recursive);
    std::filesystem::remove(folder_.path() + "/" + file);
    std::filesystem::create_symlink(memory.path(), folder_.path() + "/" + file);
  }
  void open(const std::string& bytes) {
    memory.set(bytes);
    const Checkpoint checkpoint = open_checkpoint(folder_.path());
    read_everything(*checkpoint.source);
  }
  const std::string good;
  MemoryFile memory;

 private:
  TempDirectory folder_;
};

TEST(Corruption, SafetensorsHeadersNeverCrash) {
  const TempDirectory folder;
  MemoryFile memory;
  std::filesystem::create_symlink(memory.path(), folder.path() + "/model.safetensors");
  const std::string good = good_safetensors();
  const Tally tally = damage_many(good, good.size() - 40, 6000, [&](const std::string& bytes) {
    memory.set(bytes);
    read_everything(*open_safetensors(folder.path(), "remedy"));
  });
  EXPECT_GT(tally.refused, 3000);
  EXPECT_GT(tally.accepted, 10);
}

TEST(Corruption, GgufHeadersNeverCrash) {
  MemoryFile memory;
  const GgufBuilder builder = small_llama_gguf();
  const std::string good = builder.bytes();
  const Tally tally = damage_many(good, good.size() - builder.data.size(), 6000, [&](const std::string& bytes) {
    memory.set(bytes);
    const Checkpoint checkpoint = open_checkpoint(memory.path());
    read_everything(*checkpoint.source);
  });
  EXPECT_GT(tally.refused, 3000);
  EXPECT_GT(tally.accepted, 10);
}

TEST(Corruption, ConfigsNeverCrash) {
  for (const std::string name : {"tiny-llama", "tiny-llama3", "tiny-gpt2"}) {
    const std::string good = slurp(model_folder(name) + "/config.json");
    damage_many(good, good.size(), 3000, [&](const std::string& bytes) { parse_model_config(bytes, "config.json"); });
  }
}

TEST(Corruption, IndexesNeverCrash) {
  DamagedFolder folder(model_folder("tiny-llama3"), "model.safetensors.index.json");
  damage_many(folder.good, folder.good.size(), 1000, [&](const std::string& bytes) { folder.open(bytes); });
}

// `damaged` must end in an error or well, and take no more memory than twice the file and a megabyte.
void expect_bounded(const std::string& what, int64_t file_bytes, Tally& tally, const std::function<void()>& damaged) {
  const int64_t peak = peak_bytes_of([&] {
    try {
      damaged();
      ++tally.accepted;
    } catch (const CheckpointError&) {
      ++tally.refused;
    } catch (const std::exception& error) {
      ADD_FAILURE() << what << ": " << error.what();
    }
  });
  EXPECT_LE(peak, 2 * file_bytes + (int64_t(1) << 20)) << what;
}

constexpr int kMutations = 300;

// One byte changed, at places spread over the whole file, then the file cut, at places likewise.
void mutate(const std::string& good, const std::function<void(const std::string&)>& open) {
  std::mt19937_64 random(7);
  Tally bytes, cuts;
  const auto size = int64_t(good.size());
  for (int i = 0; i < kMutations; ++i) {
    std::string bad = good;
    const size_t at = i % 2 == 0 ? random() % std::min<size_t>(good.size(), 2048) : random() % good.size();
    bad[at] = char(bad[at] ^ char(1 + random() % 255));
    expect_bounded("byte " + std::to_string(at), size, bytes, [&] { open(bad); });
    const size_t length = good.size() * size_t(i) / kMutations;
    expect_bounded("cut to " + std::to_string(length), size, cuts, [&] { open(good.substr(0, length)); });
  }
  EXPECT_EQ(cuts.accepted, 0);
  EXPECT_GT(bytes.accepted, 0);  // weights have no digest: damage to them cannot be seen
  EXPECT_GT(bytes.refused, 0);
}

TEST(Corruption, RealDirectoriesWithOneFileDamaged) {
  for (const auto& [model, file] : {std::pair<std::string, std::string>{"tiny-llama", "model.safetensors"},
                                    {"tiny-llama3", "model.safetensors.index.json"},
                                    {"tiny-llama3", "model-00001-of-00002.safetensors"},
                                    {"tiny-llama", "config.json"},
                                    {"tiny-gpt2", "config.json"}}) {
    SCOPED_TRACE(model + "/" + file);
    DamagedFolder folder(model_folder(model), file);
    mutate(folder.good, [&](const std::string& bytes) { folder.open(bytes); });
  }
}

TEST(Corruption, RealGgufFilesDamaged) {
  MemoryFile memory;
  for (const std::string name : {"tiny", "families/llama", "families/gemma3", "families/phi3", "families/gpt2"}) {
    SCOPED_TRACE(name);
    mutate(slurp(golden_path(name + ".gguf")), [&](const std::string& bytes) {
      memory.set(bytes);
      const Checkpoint checkpoint = open_checkpoint(memory.path());
      read_everything(*checkpoint.source);
    });
  }
}

// A published file of a hundred megabytes: bytes of its header change, and it is cut in its header and its data.
TEST(Corruption, ThePublishedGgufFileDamaged) {
  const char* path = std::getenv("TRIREME_SMOLLM2_GGUF");
  if (!path || !*path) GTEST_SKIP() << "TRIREME_SMOLLM2_GGUF does not name the file";
  const std::string good = slurp(path);
  MemoryFile memory;
  memory.set(good);
  const auto open = [&] { open_checkpoint(memory.path()); };
  int64_t header_bytes = int64_t(good.size());
  for (const GgufTensor& tensor : open_gguf_model(memory.path()).tensors)
    header_bytes = std::min(header_bytes, tensor.offset);
  std::mt19937_64 random(7);
  Tally bytes, cuts;
  for (int i = 0; i < kMutations; ++i) {
    const auto at = int64_t(random() % uint64_t(header_bytes));
    memory.write_byte(at, char(good[size_t(at)] ^ char(1 + random() % 255)));
    expect_bounded("byte " + std::to_string(at), int64_t(good.size()), bytes, open);
    memory.write_byte(at, good[size_t(at)]);
  }
  for (int i = kMutations - 1; i >= 0; --i) {
    memory.truncate(i % 2 == 0 ? header_bytes * i / kMutations : int64_t(good.size()) / kMutations * i);
    expect_bounded("cut", int64_t(good.size()), cuts, open);
  }
  EXPECT_EQ(cuts.accepted, 0);
  EXPECT_GT(bytes.accepted, 0);
}

}  // namespace
}  // namespace trireme::test
