#include "benchmarks/checkpoint/llama_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <regex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"

namespace trireme {
namespace {

constexpr int64_t kShardBytes = 5'000'000'000;
constexpr int64_t kBlockBytes = int64_t(64) << 20, kWriteBytes = int64_t(8) << 20;

struct Entry {
  std::string name;
  std::vector<int64_t> shape;
  int64_t bytes() const {
    int64_t product = 2;
    for (const int64_t dim : shape) product *= dim;
    return product;
  }
};

struct Shard {
  std::vector<Entry> entries;
  int64_t bytes = 0;
};

std::vector<Entry> layer_entries(const ModelConfig& config, int64_t layer) {
  const int64_t hidden = config.hidden_size, ffn = config.intermediate_size;
  const int64_t q = config.num_heads * config.head_dim, kv = config.num_kv_heads * config.head_dim;
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  return {{prefix + "input_layernorm.weight", {hidden}},
          {prefix + "self_attn.q_proj.weight", {q, hidden}},
          {prefix + "self_attn.k_proj.weight", {kv, hidden}},
          {prefix + "self_attn.v_proj.weight", {kv, hidden}},
          {prefix + "self_attn.o_proj.weight", {hidden, q}},
          {prefix + "post_attention_layernorm.weight", {hidden}},
          {prefix + "mlp.gate_proj.weight", {ffn, hidden}},
          {prefix + "mlp.up_proj.weight", {ffn, hidden}},
          {prefix + "mlp.down_proj.weight", {hidden, ffn}}};
}

// At least one layer, at most the model's; `layers` becomes their number.
std::vector<Entry> model_entries(const ModelConfig& config, double gigabytes, int64_t& layers) {
  const Entry embedding{"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}};
  const Entry output{"lm_head.weight", embedding.shape};
  std::vector<Entry> entries = {embedding};
  double bytes = double(embedding.bytes() + output.bytes());
  for (layers = 0; layers < config.num_layers; ++layers) {
    const std::vector<Entry> layer = layer_entries(config, layers);
    for (const Entry& entry : layer) bytes += double(entry.bytes());
    if (layers > 0 && bytes > gigabytes * 1e9) break;
    entries.insert(entries.end(), layer.begin(), layer.end());
  }
  entries.push_back({"model.norm.weight", {config.hidden_size}});
  if (!config.tie_word_embeddings) entries.push_back(output);
  return entries;
}

std::vector<Shard> shards_of(const std::vector<Entry>& entries) {
  std::vector<Shard> shards(1);
  for (const Entry& entry : entries) {
    if (shards.back().bytes > 0 && shards.back().bytes + entry.bytes() > kShardBytes) shards.emplace_back();
    shards.back().entries.push_back(entry);
    shards.back().bytes += entry.bytes();
  }
  return shards;
}

std::string header_text(const Shard& shard) {
  std::string text = "{";
  int64_t at = 0;
  for (const Entry& entry : shard.entries) {
    std::string shape;
    for (const int64_t dim : entry.shape) shape += (shape.empty() ? "" : ",") + std::to_string(dim);
    text += (at ? ",\"" : "\"") + entry.name + "\":{\"dtype\":\"BF16\",\"shape\":[" + shape + "],\"data_offsets\":[" +
            std::to_string(at) + "," + std::to_string(at + entry.bytes()) + "]}";
    at += entry.bytes();
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

std::string shard_name(size_t index, size_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

// Small finite numbers of both signs.
std::vector<uint16_t> random_block() {
  std::mt19937_64 random(1);
  std::vector<uint16_t> block(size_t(kBlockBytes / 2));
  for (uint16_t& element : block) element = uint16_t(0x3c00 | (random() & 0x80ff));
  return block;
}

void write_at(int descriptor, const void* data, int64_t bytes, int64_t offset, const std::string& path) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(descriptor, from, size_t(bytes), offset);
    if (written <= 0) throw ConfigError("cannot write " + path + ": name a folder with room");
    from += written;
    offset += written;
    bytes -= written;
  }
}

void write_shard(const std::string& path, const Shard& shard, const std::vector<uint16_t>& block, int threads) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) throw ConfigError("cannot write " + path);
  const std::string header = header_text(shard);
  const auto size = uint64_t(header.size());
  write_at(descriptor, &size, 8, 0, path);
  write_at(descriptor, header.data(), int64_t(size), 8, path);
  std::atomic<int64_t> next = 0;
  std::atomic<bool> failed = false;
  std::vector<std::thread> writers;
  for (int t = 0; t < threads; ++t)
    writers.emplace_back([&] {
      try {
        for (int64_t at; !failed && (at = next.fetch_add(kWriteBytes)) < shard.bytes;)
          write_at(descriptor, block.data() + at % kBlockBytes / 2, std::min(kWriteBytes, shard.bytes - at),
                   8 + int64_t(size) + at, path);
      } catch (const std::exception&) {
        failed = true;
      }
    });
  for (std::thread& writer : writers) writer.join();
  ::close(descriptor);
  if (failed) throw ConfigError("cannot write " + path + ": name a folder with room");
}

// All at once: the file system writes one file by one thread at a time.
void write_shards(const std::string& folder, const std::vector<Shard>& shards, int threads_each) {
  const std::vector<uint16_t> block = random_block();
  std::vector<std::exception_ptr> errors(shards.size());
  std::vector<std::thread> writers;
  for (size_t i = 0; i < shards.size(); ++i)
    writers.emplace_back([&, i] {
      try {
        write_shard(folder + "/" + shard_name(i, shards.size()), shards[i], block, threads_each);
      } catch (const std::exception&) {
        errors[i] = std::current_exception();
      }
    });
  for (std::thread& writer : writers) writer.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw ConfigError("cannot write " + path);
}

std::string config_text(const std::string& path, int64_t layers) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return std::regex_replace(text, std::regex("\"num_hidden_layers\": *[0-9]+"),
                            "\"num_hidden_layers\": " + std::to_string(layers));
}

}  // namespace

int64_t write_llama_files(const std::string& config_path, const std::string& folder, double gigabytes, int threads) {
  const ModelConfig config = open_checkpoint(config_path, {.need_weights = false, .need_tokenizer = false}).config;
  int64_t layers = 0;
  const std::vector<Shard> shards = shards_of(model_entries(config, gigabytes, layers));
  std::string index = "{\"weight_map\":{";
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i)
    for (const Entry& entry : shards[i].entries) {
      index += (total ? ",\"" : "\"") + entry.name + "\":\"" + shard_name(i, shards.size()) + "\"";
      total += entry.bytes();
    }
  index += "}}";
  // The index is written last: where it is there already and the same, so is all else.
  const std::string index_path = folder + "/model.safetensors.index.json";
  std::ifstream old(index_path);
  if (std::string(std::istreambuf_iterator<char>(old), {}) == index) return total;
  std::filesystem::create_directories(folder);
  write_text(folder + "/config.json", config_text(config_path, layers));
  write_shards(folder, shards, std::max(1, threads / int(shards.size())));
  write_text(index_path, index);
  return total;
}

}  // namespace trireme
