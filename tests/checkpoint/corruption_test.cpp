// Random damage to headers: whatever the bytes are, the answer is a CheckpointError or a checkpoint whose
// tensors can be read. Seeded, so a failure repeats; run under the sanitizers it also proves memory safety.

#include <random>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "checkpoint/safetensors.h"
#include "tests/checkpoint/gguf_builder.h"
#include "tests/checkpoint/test_files.h"

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

TEST(Corruption, SafetensorsHeadersNeverCrash) {
  const TempDirectory folder;
  const std::string good = good_safetensors();
  const Tally tally = damage_many(good, good.size() - 40, 6000, [&](const std::string& bytes) {
    folder.write("model.safetensors", bytes);
    read_everything(*open_safetensors(folder.path(), "remedy"));
  });
  EXPECT_GT(tally.refused, 3000);
  EXPECT_GT(tally.accepted, 10);
}

TEST(Corruption, GgufHeadersNeverCrash) {
  const TempDirectory folder;
  const GgufBuilder builder = small_llama_gguf();
  const std::string good = builder.bytes();
  const Tally tally = damage_many(good, good.size() - builder.data.size(), 6000, [&](const std::string& bytes) {
    const Checkpoint checkpoint = open_checkpoint(folder.write("x.gguf", bytes));
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
  const TempDirectory folder;
  std::filesystem::copy(model_folder("tiny-llama3"), folder.path(), std::filesystem::copy_options::recursive);
  const std::string good = slurp(folder.path() + "/model.safetensors.index.json");
  damage_many(good, good.size(), 1000, [&](const std::string& bytes) {
    folder.write("model.safetensors.index.json", bytes);
    open_safetensors(folder.path(), "remedy");
  });
}

}  // namespace
}  // namespace trireme::test
