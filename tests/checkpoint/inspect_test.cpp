#include "checkpoint/inspect.h"

#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

Checkpoint open_family(const std::string& name) {
  return open_checkpoint(golden_path("families/" + name), {.need_weights = true, .need_tokenizer = false});
}

bool notes_hold(const Inspection& report, const std::string& part) {
  for (const std::string& note : report.notes)
    if (note.find(part) != std::string::npos) return true;
  return false;
}

// Every family in both formats: nothing is missing, nothing unused, and the parameters are as many.
TEST(Inspect, KnowsTheTensorsOfEveryFamily) {
  for (const std::string family : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2"}) {
    const Inspection directory = inspect(open_family(family), 1, 1),
                     gguf = inspect(open_family(family + ".gguf"), 1, 1);
    for (const Inspection& report : {directory, gguf}) {
      EXPECT_TRUE(report.tensors_known) << family;
      EXPECT_EQ(report.missing, std::vector<std::string>()) << family << " " << report.format;
      EXPECT_EQ(report.unused, std::vector<std::string>()) << family << " " << report.format;
    }
    EXPECT_EQ(directory.parameters, gguf.parameters) << family;
    EXPECT_EQ(directory.embedding_parameters, gguf.embedding_parameters) << family;
  }
}

TEST(Inspect, CountsParametersBytesAndTokens) {
  const Inspection report = inspect(open_checkpoint(model_folder("tiny-llama")), 1, 1);
  const ModelConfig& config = report.config;
  EXPECT_EQ(report.embedding_parameters, config.vocab_size * config.hidden_size);
  int64_t parameters = 0, bytes = 0;
  for (const TensorSize& tensor : report.tensors) parameters += tensor.parameters, bytes += tensor.bytes;
  EXPECT_EQ(report.parameters, parameters);
  EXPECT_EQ(report.weight_bytes, bytes);
  ASSERT_EQ(report.dtypes.size(), 1u);
  EXPECT_EQ(report.dtypes[0].dtype, DType::f32);
  EXPECT_EQ(report.tokenizer, "tokenizer.json (BPE)");
  EXPECT_GT(report.tokens, 256);
  EXPECT_TRUE(report.chat_template);
}

TEST(Inspect, RanksTogetherHoldEveryParameter) {
  const Inspection report = inspect(open_family("llama"), 1, 2);
  const RankWeights first = rank_weights(report, 0, 1, true, false), last = rank_weights(report, 1, 2, false, true);
  EXPECT_EQ(first.parameters + last.parameters, report.parameters);
  EXPECT_EQ(first.bytes + last.bytes, report.weight_bytes);
  const Inspection tied = inspect(open_family("qwen2"), 1, 2);
  EXPECT_EQ(rank_weights(tied, 0, 1, true, false).parameters + rank_weights(tied, 1, 2, false, true).parameters,
            tied.parameters + tied.embedding_parameters);
  const Inspection halves = inspect(open_family("llama"), 2, 1);
  const RankWeights half = rank_weights(halves, 0, 2, true, true);
  int64_t vectors = 0;
  for (const TensorSize& tensor : halves.tensors) vectors += tensor.shape.size() == 1 ? tensor.parameters : 0;
  EXPECT_EQ(2 * half.parameters, halves.parameters + vectors);
}

TEST(Inspect, NotesWhatIsOdd) {
  Checkpoint checkpoint = open_family("qwen3");  // untied
  checkpoint.config.tie_word_embeddings = true;
  checkpoint.config.eos_token_ids.clear();
  checkpoint.config.dtype = DType::bf16;
  checkpoint.config.num_layers = 3;
  checkpoint.tokenizer.gguf_model = "gpt2";
  checkpoint.tokenizer.tokens.resize(30);
  checkpoint.tokenizer.eos_id = 7;
  const Inspection report = inspect(checkpoint, 3, 4);
  for (const std::string part :
       {"lm_head.weight is in the files", "11 tensors are missing", "no end-of-text id", "end-of-text id 7", "30 ids",
        "no chat template", "tp 3", "pp 4", "the weights are f16"})
    EXPECT_TRUE(notes_hold(report, part)) << part << " not in:\n" << inspection_text(report);
  checkpoint.config.architecture = "OtherForCausalLM";
  EXPECT_TRUE(notes_hold(inspect(checkpoint, 1, 1), "no list of tensors"));
  checkpoint.config.num_kv_heads = 1;
  EXPECT_TRUE(notes_hold(inspect(checkpoint, 2, 1), "kept twice"));
}

TEST(Inspect, TheTextNamesTheFigures) {
  const std::string text = inspection_text(inspect(open_family("gemma3.gguf"), 1, 1));
  for (const std::string part :
       {"Gemma3ForCausalLM", "7 layers", "2 heads of 8", "vocabulary 24", "6 layers see a window of 32",
        "f16: ", "f32: ", "GGUF llama, 24 ids", "by name: tool_use", "end-of-text     2", "(gguf)"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " not in:\n" << text;
}

}  // namespace
}  // namespace trireme::test
