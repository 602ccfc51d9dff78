#include "gateway/prepared_request.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/gateway/letter_tokenizer.h"

namespace trireme {
namespace {

class PreparedRequestTest : public testing::Test {
 protected:
  PreparedRequestTest() {
    assets_.tokenizer = std::make_unique<LetterTokenizer>();
    assets_.checkpoint.config.eos_token_ids = {0};
  }
  PreparedRequest prepare(const SamplingFlags& flags) const { return prepare_request(flags, assets_, {1, 2}, 128, 64); }
  std::string refusal(const SamplingFlags& flags) const {
    try {
      prepare(flags);
    } catch (const RequestError& error) {
      return error.what();
    }
    return "accepted";
  }
  ModelAssets assets_;
};

TEST_F(PreparedRequestTest, BadWordsAreBannedAtTheBeginningAndBehindASpace) {
  SamplingFlags flags;
  flags.bad_words = {"ab", " ab", "c"};
  flags.bad_words_ids = {{'c'}, {5, 6}};
  EXPECT_EQ(prepare(flags).request.sampling.bad_words,
            (std::vector<std::vector<int32_t>>{{5, 6}, {' ', 'a', 'b'}, {' ', 'c'}, {'a', 'b'}, {'c'}}));
  flags.bad_words = {" \t"};
  EXPECT_NE(refusal(flags).find("empty"), std::string::npos);
}

TEST_F(PreparedRequestTest, ARealTokenizerPutsNoSpecialTokensIntoBadWords) {
  const std::string folder = std::string(TRIREME_SOURCE_DIR) + "/tests/models/tiny-llama";
  const ModelAssets assets = open_model_assets(folder, true);
  for (const std::vector<int32_t>& ids : bad_word_ids({"crew", "harbour"}, assets.tokenizer.get())) {
    const std::string text = assets.tokenizer->decode(ids, false);
    EXPECT_TRUE(text == "crew" || text == " crew" || text == "harbour" || text == " harbour") << text;
  }
  EXPECT_EQ(bad_word_ids({"crew", "harbour"}, assets.tokenizer.get()).size(), 4u);
}

TEST_F(PreparedRequestTest, StopStringsOfBeamsGoToTheEngineToo) {
  SamplingFlags flags;
  flags.stop = {"END"};
  EXPECT_TRUE(prepare(flags).request.beam_stop.empty());
  flags.beam_width = 2;
  const PreparedRequest prepared = prepare(flags);
  EXPECT_EQ(prepared.request.beam_stop, flags.stop);
  EXPECT_EQ(prepared.output.stop, flags.stop);
  EXPECT_FALSE(prepared.output.streams());
  EXPECT_EQ(prepared.request.eos_token_ids, std::vector<int32_t>{0});
}

TEST_F(PreparedRequestTest, RefusesIdsTheModelDoesNotHaveAndTextWithoutATokenizer) {
  SamplingFlags flags;
  flags.logit_bias = {{128, 1}};
  EXPECT_NE(refusal(flags).find("logit_bias holds token id 128"), std::string::npos);
  assets_.tokenizer.reset();
  for (const auto change : std::vector<void (*)(SamplingFlags&)>{[](SamplingFlags& f) { f.stop = {"x"}; },
                                                                 [](SamplingFlags& f) { f.bad_words = {"x"}; },
                                                                 [](SamplingFlags& f) { f.echo = true; }}) {
    SamplingFlags text;
    change(text);
    EXPECT_NE(refusal(text).find("a tokenizer"), std::string::npos) << refusal(text);
  }
}

}  // namespace
}  // namespace trireme
