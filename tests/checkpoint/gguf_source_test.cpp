#include "base/half.h"
#include "checkpoint/gguf.h"
#include "checkpoint/slice_reader.h"
#include "tests/checkpoint/gguf_builder.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

struct Opened {
  ModelConfig config;
  std::unique_ptr<TensorSource> source;
};

Opened open_file(const std::string& path) {
  GgufModel model = open_gguf_model(path);
  Opened opened;
  opened.config = gguf_model_config(model);
  opened.source = make_gguf_source(std::move(model), opened.config);
  return opened;
}

Opened open_bytes(const TempDirectory& folder, const GgufBuilder& builder) {
  return open_file(folder.write("x.gguf", builder.bytes()));
}

uint16_t half_at(const std::byte* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, 2);
  return bits;
}

// Element `i` of packed values.
float element(const std::byte* bytes, DType dtype, int64_t i) {
  const std::byte* block = bytes + i / dtype_block_elements(dtype) * dtype_block_bytes(dtype);
  const auto in_block = i % 32;
  float value;
  switch (dtype) {
    case DType::f32:
      std::memcpy(&value, block, 4);
      return value;
    case DType::f16:
      return f16_to_f32(half_at(block));
    case DType::bf16:
      return bf16_to_f32(half_at(block));
    case DType::q8_0:
      return f16_to_f32(half_at(block)) * float(int8_t(block[2 + in_block]));
    default:
      break;
  }
  const int nibble = (int(block[4 + in_block % 16]) >> (in_block < 16 ? 0 : 4)) & 15;
  return f16_to_f32(half_at(block)) * float(nibble) + f16_to_f32(half_at(block + 2));
}

std::vector<std::byte> read_slice_bytes(const TensorSource& source, const TensorInfo& tensor,
                                        const TensorSlice& slice) {
  std::vector<std::byte> bytes(size_t(slice.rows() * slice_row_bytes(tensor, slice)));
  source.read(tensor, slice.row_begin, slice.row_end, slice.column_begin, slice.column_end, bytes.data());
  return bytes;
}

TEST(GgufSource, WeightsEqualWhatTransformersReads) {
  const auto [config, source] = open_file(golden_path("tiny.gguf"));
  const json::value golden = parse_json(slurp(golden_path("gguf.json")), "gguf.json");
  int compared = 0;
  for (const auto& member : golden.at("arrays").as_object()) {
    if (member.key() == "llama31_rope_freqs") continue;
    const TensorInfo& tensor = source->require(std::string(member.key()));
    const std::vector<float> expected = golden_floats(golden_path("gguf.json"), tensor.name);
    const auto bytes = read_slice_bytes(*source, tensor, {0, tensor.rows(), 0, tensor.columns()});
    ASSERT_EQ(int64_t(bytes.size()), tensor.bytes);
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_EQ(element(bytes.data(), tensor.dtype, int64_t(i)), expected[i]) << tensor.name << " element " << i;
    ++compared;
  }
  EXPECT_EQ(compared, 14);
}

TEST(GgufSource, TypesAreTheFilesOwn) {
  const auto [config, source] = open_file(golden_path("tiny.gguf"));
  const json::value golden = parse_json(slurp(golden_path("gguf.json")), "gguf.json");
  const auto types = golden.at("types").as_object();
  EXPECT_EQ(types.size(), source->tensors().size());
  for (const auto& member : types) {
    std::string name(dtype_name(source->require(std::string(member.key())).dtype));
    for (char& c : name) c = char(std::toupper(c));
    EXPECT_EQ(name, std::string(member.value().as_string())) << member.key();
  }
}

// Slices of permuted and plain tensors, of block and plain types: each equals that part of the full read.
TEST(GgufSource, SlicesEqualTheFullRead) {
  const auto [config, source] = open_file(golden_path("tiny.gguf"));
  for (const TensorInfo& tensor : source->tensors()) {
    if (tensor.shape.size() != 2) continue;
    const auto full = read_slice_bytes(*source, tensor, {0, tensor.rows(), 0, tensor.columns()});
    const int64_t columns = tensor.columns();
    for (const TensorSlice& slice : {TensorSlice{0, 1, 0, columns},
                                     {3, 21, 0, 32},
                                     {15, 17, columns - 32, columns},
                                     {16, 32, 0, columns},
                                     {8, 8, 0, columns},
                                     {1, tensor.rows(), columns - 32, columns}}) {
      const auto part = read_slice_bytes(*source, tensor, slice);
      const int64_t width = slice.column_end - slice.column_begin;
      for (int64_t r = slice.row_begin; r < slice.row_end; ++r)
        for (int64_t c = slice.column_begin; c < slice.column_end; ++c)
          ASSERT_EQ(element(part.data(), tensor.dtype, (r - slice.row_begin) * width + c - slice.column_begin),
                    element(full.data(), tensor.dtype, r * columns + c))
              << tensor.name << " " << r << "," << c;
    }
  }
}

TEST(GgufSource, BlockColumnsMustLieOnBlocks) {
  const auto [config, source] = open_file(golden_path("tiny.gguf"));
  const TensorInfo& tensor = source->require("model.layers.0.self_attn.q_proj.weight");
  std::byte byte{};
  expect_error([&] { source->read(tensor, 0, 1, 0, 16, &byte); }, {"q_proj", "q4_1", "blocks of 32"});
}

TEST(GgufSource, UndoesThePermutationOfBiases) {
  const TempDirectory folder;
  GgufBuilder builder = small_llama_gguf();
  builder.tensor("blk.0.attn_q.bias", {8}, {0, 1, 2, 3, 4, 5, 6, 7});  // two heads of four, stored as pairs
  const auto [config, source] = open_bytes(folder, builder);
  EXPECT_TRUE(config.attention_bias);
  const TensorInfo& bias = source->require("model.layers.0.self_attn.q_proj.bias");
  const auto bytes = read_slice_bytes(*source, bias, {0, 8, 0, 1});
  const std::vector<float> expected = {0, 2, 1, 3, 4, 6, 5, 7};
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(element(bytes.data(), DType::f32, i), expected[size_t(i)]);
}

TEST(GgufSource, NamesTheTypeThatIsNotRead) {
  const TempDirectory folder;
  for (const auto& [type, name] :
       {std::pair<uint32_t, std::string>{23, "IQ4_XS"}, {20, "IQ4_NL"}, {35, "TQ2_0"}, {39, "MXFP4"}}) {
    GgufBuilder builder = small_llama_gguf();
    builder.pad(builder.data);
    builder.info("output.weight", {256, 5}, type, builder.data.size());
    builder.data.append(2048, '\0');
    expect_error([&] { open_bytes(folder, builder); }, {"\"output.weight\"", name, "Q8_0", "convert"});
  }
}

TEST(GgufSource, RefusesUnknownTensorsAndImpossibleHeads) {
  const TempDirectory folder;
  for (const std::string name :
       {"blk.1.ffn_up.weight", "blk.0.attn_q_norm.weight", "blk.x.ffn_up.weight", "blk.0ffn_up.weight",
        "blk.99999999999999999999.ffn_up.weight", "nodot", "output.scale", "blk.-0.ffn_up.weight",
        "blk.00.ffn_up.weight", "blk.0.weight", "blk..weight"}) {
    GgufBuilder builder = small_llama_gguf();
    builder.zeros(name, {8, 6});
    expect_error([&] { open_bytes(folder, builder); }, {"\"" + name + "\"", "not part of a llama model of 1 layers"});
  }
  GgufBuilder builder = small_llama_gguf();
  builder.infos.clear();
  builder.data.clear();
  builder.tensor_count = 0;
  builder.zeros("token_embd.weight", {8, 5}).zeros("blk.0.attn_q.weight", {8, 7});
  expect_error([&] { open_bytes(folder, builder); }, {"\"blk.0.attn_q.weight\"", "[7, 8]", "2 heads of 4"});
}

}  // namespace
}  // namespace trireme::test
