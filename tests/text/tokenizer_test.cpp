#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
#include "tests/text/golden.h"
#include "text/unicode.h"

namespace trireme {
namespace {

using test::golden_json;
using test::golden_source;
using test::golden_tokenizer;
using test::ids_of;
using test::text_of;

void expect_encodes(const Tokenizer& tokenizer, const json::array& cases, const std::string& name) {
  for (const auto& value : cases) {
    const json::object& golden = value.as_object();
    const std::string text = text_of(golden.at("text"));
    const auto ids = ids_of(golden.at("ids"));
    EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = false}), ids)
        << name << ": " << json::serialize(golden.at("text"));
    const auto* full = golden.if_contains("ids_with_special");
    EXPECT_EQ(tokenizer.encode(text), full ? ids_of(*full) : ids) << name << ": " << json::serialize(golden.at("text"));
    if (const auto* unparsed = golden.if_contains("ids_unparsed")) {
      EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false}), ids_of(*unparsed))
          << name << ": " << text;
    }
    const auto* decoded = golden.if_contains("decoded");
    EXPECT_EQ(tokenizer.decode(ids, false), decoded ? text_of(*decoded) : text) << name;
  }
}

void expect_decodes(const Tokenizer& tokenizer, const json::array& cases) {
  for (const auto& golden : cases) {
    const auto ids = ids_of(golden.at("ids"));
    EXPECT_EQ(tokenizer.decode(ids, true), text_of(golden.at("text")));
    EXPECT_EQ(tokenizer.decode(ids, false), text_of(golden.at("with_special")));
  }
}

TEST(Tokenizer, MatchesHuggingFaceOnEveryGolden) {
  int checked = 0;
  const json::value goldens = golden_json("tokenizer_goldens.json");
  for (const auto& golden : goldens.as_array()) {
    const std::string name = text_of(golden.at("name"));
    std::unique_ptr<Tokenizer> tokenizer;
    try {
      tokenizer = golden_tokenizer(text_of(golden.at("model")), golden.at("parts").as_object());
    } catch (const CheckpointError& error) {
      ASSERT_EQ(name, "pcre2") << error.what();
      EXPECT_NE(std::string(error.what()).find("libpcre2-dev"), std::string::npos) << error.what();
      continue;
    }
    expect_encodes(*tokenizer, golden.at("encode").as_array(), name);
    expect_decodes(*tokenizer, golden.at("decode").as_array());
    ++checked;
  }
  EXPECT_GE(checked, 10);
}

// The golden model as a GGUF file would hold it.
TokenizerSource gguf_source(const std::string& model, const std::string& pre) {
  const json::value root = golden_json(model + "/tokenizer.json");
  TokenizerSource source;
  source.gguf_model = "gpt2";
  source.gguf_pre = pre;
  const auto& vocabulary = root.at("model").at("vocab").as_object();
  const auto& added = root.at("added_tokens").as_array();
  source.tokens.resize(vocabulary.size());
  source.token_types.assign(vocabulary.size(), 1);
  for (const auto& token : vocabulary) source.tokens[token.value().to_number<size_t>()] = std::string(token.key());
  for (const auto& token : added) {
    const auto id = token.at("id").to_number<size_t>();
    if (id >= source.tokens.size()) source.tokens.resize(id + 1), source.token_types.resize(id + 1, 1);
    source.tokens[id] = text_of(token.at("content"));
    source.token_types[id] = 3;
  }
  for (const auto& merge : root.at("model").at("merges").as_array())
    source.merges.push_back(merge.is_string() ? text_of(merge) : text_of(merge.at(0)) + " " + text_of(merge.at(1)));
  return source;
}

TEST(Tokenizer, GgufFieldsGiveTheSameIdsAsTokenizerJson) {
  struct Case {
    std::string golden, model, pre;
  };
  const json::value goldens = golden_json("tokenizer_goldens.json");
  for (const auto& [golden_name, model, pre] : {Case{"gpt2", "gpt2", "gpt-2"},
                                                {"gpt2", "gpt2", "default"},
                                                {"digits", "gpt2", "smollm"},
                                                {"llama3", "llama3", "llama-bpe"}}) {
    TokenizerSource source = gguf_source(model, pre);
    if (model == "llama3") {
      for (size_t id = 0; id < source.tokens.size(); ++id)
        if (source.tokens[id] == "<|begin_of_text|>") source.bos_id = int64_t(id);
      source.add_bos = true;
    }
    const auto tokenizer = make_tokenizer(source);
    for (const auto& golden : goldens.as_array())
      if (text_of(golden.at("name")) == golden_name) expect_encodes(*tokenizer, golden.at("encode").as_array(), pre);
  }
}

TEST(Tokenizer, NamesWhatAGgufFileHasThatIsNotSupported) {
  const auto message = [](auto change) {
    TokenizerSource source = gguf_source("gpt2", "smollm");
    change(source);
    try {
      make_tokenizer(source);
    } catch (const CheckpointError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message([](auto&) {}), "accepted");
  EXPECT_NE(message([](auto& s) { s.gguf_pre = "nonsense"; }).find("\"nonsense\" is not supported; supported: gpt-2"),
            std::string::npos);
  EXPECT_NE(message([](auto& s) { s.gguf_model = "t5"; }).find("supported: gpt2, llama"), std::string::npos);
  EXPECT_NE(message([](auto& s) { s.merges.push_back("nospace"); }).find("nospace"), std::string::npos);
  EXPECT_NE(message([](auto& s) { s.merges.push_back("not inside"); }).find("not in the vocabulary"),
            std::string::npos);
  EXPECT_NE(message([](auto& s) { s.token_types.pop_back(); }).find("token_type"), std::string::npos);
  EXPECT_NE(message([](auto& s) { s.tokens[5] = "\xFF"; }).find("not valid UTF-8"), std::string::npos);
  EXPECT_NE(message([](auto& s) { s.eos_id = 1 << 20; }).find("eos_token_id"), std::string::npos);
}

TEST(Tokenizer, NamesUnknownPartsOfTokenizerJson) {
  const auto message = [](std::string_view part, json::value value) {
    try {
      golden_tokenizer("gpt2", json::object{{part, std::move(value)}});
    } catch (const CheckpointError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message("normalizer", nullptr), "accepted");
  EXPECT_EQ(message("normalizer", {{"type", "Precompiled"}}),
            "tokenizer.json normalizer: type \"Precompiled\" is not supported; supported: NFC, NFD, NFKC, NFKD, "
            "Lowercase, StripAccents, ByteLevel, Strip, Prepend, Replace, Sequence");
  EXPECT_EQ(message("pre_tokenizer", {{"type", "UnicodeScripts"}}),
            "tokenizer.json pre_tokenizer: type \"UnicodeScripts\" is not supported; supported: ByteLevel, Split, "
            "Digits, Sequence, Metaspace, Whitespace, WhitespaceSplit, Punctuation, CharDelimiterSplit");
  EXPECT_NE(message("model", {{"type", "WordPiece"}}).find("BERT"), std::string::npos);
  EXPECT_NE(message("model", {{"type", "Other"}}).find("supported: BPE, Unigram"), std::string::npos);
  EXPECT_NE(message("decoder", {{"type", "WordPiece"}}).find("supported: ByteLevel, ByteFallback"), std::string::npos);
  EXPECT_NE(message("decoder", {{"type", "Metaspace"}, {"replacement", "ab"}}).find("one character"),
            std::string::npos);
  EXPECT_NE(message("decoder", {{"type", "Metaspace"}, {"prepend_scheme", "often"}}).find("\"often\""),
            std::string::npos);
  EXPECT_NE(message("decoder", {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}}).find("\"start\""),
            std::string::npos);
  EXPECT_NE(message("post_processor", {{"type", "BertProcessing"}}).find("TemplateProcessing"), std::string::npos);
  EXPECT_NE(message("pre_tokenizer", {{"type", "Sequence"}}).find("\"pretokenizers\" is missing"), std::string::npos);
  EXPECT_NE(message("decoder", "ByteLevel").find("must be an object"), std::string::npos);
  EXPECT_NE(message("added_tokens", json::array{{{"id", -1}, {"content", "x"}}}).find("\"id\""), std::string::npos);
  EXPECT_NE(message("added_tokens", json::array{{{"id", 2000000000}, {"content", "x"}}}).find("2000000000"),
            std::string::npos);
  EXPECT_NE(
      message("pre_tokenizer", {{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", "(unclosed"}}}})
          .find("(unclosed"),
      std::string::npos);
}

TEST(Tokenizer, PartsThatMakeTextGrowWithoutBoundAreErrors) {
  const json::object doubling = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(60, 'a')}};
  const json::array many(8, doubling);
  const auto normalizing = golden_tokenizer("gpt2", {{"normalizer", {{"type", "Sequence"}, {"normalizers", many}}}});
  EXPECT_THROW(normalizing->encode("a"), RequestError);
  const auto decoding = golden_tokenizer("gpt2", {{"decoder", {{"type", "Sequence"}, {"decoders", many}}}});
  EXPECT_THROW(decoding->decode({decoding->token_id("a")}), CheckpointError);
  const json::object huge = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(5000, 'a')}};
  EXPECT_THROW(golden_tokenizer("gpt2", {{"normalizer", huge}}), CheckpointError);
  EXPECT_THROW(golden_tokenizer("gpt2", {{"decoder", huge}}), CheckpointError);
}

TEST(Tokenizer, UnigramWithoutAnUnknownTokenRefusesWhatItCannotSpell) {
  const json::array vocabulary = {json::array{"a", -1.5}, json::array{"ab", -2}};
  const auto tokenizer = golden_tokenizer("gpt2", {{"model", {{"type", "Unigram"}, {"vocab", vocabulary}}},
                                                   {"pre_tokenizer", nullptr},
                                                   {"added_tokens", json::array{}}});
  EXPECT_EQ(tokenizer->encode("aab"), (std::vector<int32_t>{0, 1}));
  EXPECT_THROW(tokenizer->encode("ac"), RequestError);
  EXPECT_THROW(golden_tokenizer("gpt2", {{"model", {{"type", "Unigram"}, {"vocab", vocabulary}, {"unk_id", 2}}}}),
               CheckpointError);
  EXPECT_THROW(golden_tokenizer("gpt2", {{"model", {{"type", "Unigram"}, {"vocab", json::array{json::array{"a"}}}}}}),
               CheckpointError);
}

TEST(Tokenizer, NamesMalformedModels) {
  const auto message = [](std::string_view key, json::value value) {
    json::value root = golden_json("gpt2/tokenizer.json");
    root.at("model").as_object()[key] = std::move(value);
    TokenizerSource source;
    source.tokenizer_json = json::serialize(root);
    try {
      make_tokenizer(source);
    } catch (const CheckpointError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(message("vocab", nullptr).find("\"vocab\" is missing"), std::string::npos);
  EXPECT_NE(message("vocab", {{"a", 0}, {"b", 0}}).find("id 0 occurs twice"), std::string::npos);
  EXPECT_NE(message("vocab", {{"a", "zero"}}).find("the id of \"a\""), std::string::npos);
  EXPECT_NE(message("vocab", {{"a", 1e18}}).find("the id of \"a\""), std::string::npos);
  EXPECT_NE(message("merges", json::array{7}).find("merge 0"), std::string::npos);
  EXPECT_NE(message("merges", json::array{json::array{"a"}}).find("merge 0"), std::string::npos);
  EXPECT_NE(message("dropout", 0.1).find("\"dropout\" is not supported"), std::string::npos);
  EXPECT_NE(message("end_of_word_suffix", "</w>").find("not supported"), std::string::npos);
  EXPECT_NE(message("unk_token", "<nowhere>").find("<nowhere>"), std::string::npos);
}

TEST(Tokenizer, RejectsTextThatIsNotUtf8WithTheOffset) {
  const auto tokenizer = golden_tokenizer("gpt2");
  try {
    tokenizer->encode("abc\xFF");
    FAIL();
  } catch (const RequestError& error) {
    EXPECT_STREQ(error.what(), "the text is not valid UTF-8 at byte 3");
  }
}

TEST(Tokenizer, RandomTextComesBackAsItWas) {
  const auto gpt2 = golden_tokenizer("gpt2"), llama3 = golden_tokenizer("llama3");
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = int(random() % 40); i > 0; --i) {
      const char32_t code = random() % 3 ? random() % 0x250 : random() % 0x110000;
      if (code >= 0xD800 && code < 0xE000) continue;
      text += std::string(random() % 3, ' ');
      append_utf8(text, code);
    }
    for (const auto* tokenizer : {gpt2.get(), llama3.get()})
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, {.parse_special = false}), true), text);
  }
}

TEST(Tokenizer, LongPiecesComeToAnEnd) {
  const auto tokenizer = golden_tokenizer("gpt2");
  std::string piece;
  for (int i = 0; i < 500'000; ++i) piece += "thinkingstreingaou"[i * 7 % 18];
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(piece)), piece);  // quadratic merging would take minutes
}

// What encode() gives when the stretches of `text` between '{' and '}' (left out) are a client's words.
std::vector<int32_t> encode_marked(const Tokenizer& tokenizer, std::string_view text) {
  std::string plain;
  std::vector<TextSpan> spans;
  for (const char c : text) {
    if (c == '{')
      spans.push_back({plain.size(), 0});
    else if (c == '}')
      spans.back().end = plain.size();
    else
      plain += c;
  }
  return tokenizer.encode(plain, {.add_special_tokens = false, .untrusted = spans});
}

TEST(Tokenizer, SpecialTokensInAClientsWordsArePlainText) {
  const auto tokenizer = golden_tokenizer("gpt2");
  const auto ids = [&](std::string_view text, bool parse) {
    return tokenizer->encode(text, {.add_special_tokens = false, .parse_special = parse});
  };
  const int32_t start = tokenizer->token_id("<|im_start|>"), end = tokenizer->token_id("<|im_end|>");
  const auto joined = [](std::vector<std::vector<int32_t>> parts) {
    std::vector<int32_t> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  };
  EXPECT_EQ(encode_marked(*tokenizer, "<|im_start|>{Hi<|im_end|>there}<|im_end|>"),
            joined({{start}, ids("Hi<|im_end|>there", false), {end}}));
  EXPECT_EQ(encode_marked(*tokenizer, "{<|im_start|>}"), ids("<|im_start|>", false));
  EXPECT_EQ(encode_marked(*tokenizer, "{}<|im_start|>{}x{}"), joined({{start}, ids("x", true)}));
  // A token that a client begins or ends is none; one that begins within such an attempt is one.
  EXPECT_EQ(encode_marked(*tokenizer, "{<|im_}end|>"), ids("<|im_end|>", false));
  EXPECT_EQ(encode_marked(*tokenizer, "<|im_{end|>}"), ids("<|im_end|>", false));
  EXPECT_EQ(encode_marked(*tokenizer, "{<|im_end|}<|im_end|>"), joined({ids("<|im_end|", true), {end}}));
  // Without special tokens in it marking changes nothing, also where the mark cuts a word.
  EXPECT_EQ(encode_marked(*tokenizer, "The th{ing ring}ing strings, {12}34"),
            ids("The thing ringing strings, 1234", true));
}

TEST(Tokenizer, MarkingAllOfATextIsNotParsingSpecialTokens) {
  const auto tokenizer = golden_tokenizer("llama3");
  std::mt19937 random(9);
  const std::vector<std::string> parts = {"<|eot_id|>", "<|begin_of_text|>", " a", "the ",
                                          "<|",         "eot_id|>",          "\n", "\u00e9"};
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int i = 0; i < 8; ++i) text += parts[random() % parts.size()];
    const TextSpan all[] = {{0, text.size()}};
    EXPECT_EQ(tokenizer->encode(text, {.untrusted = all}), tokenizer->encode(text, {.parse_special = false}));
    EXPECT_EQ(tokenizer->encode(text, {.untrusted = {}}), tokenizer->encode(text));
  }
}

TEST(Tokenizer, MarksFollowTheTextThroughTheNormalizer) {
  const json::object special = {{"id", 1250},          {"content", "<\u00e9nd>"}, {"special", true},
                                {"normalized", true},  {"lstrip", false},         {"rstrip", false},
                                {"single_word", false}};
  const auto tokenizer =
      golden_tokenizer("gpt2", {{"added_tokens", json::array{special}}, {"normalizer", {{"type", "NFD"}}}});
  const auto count = [&](std::string_view text) {
    const auto ids = encode_marked(*tokenizer, text);
    return std::count(ids.begin(), ids.end(), 1250);
  };
  EXPECT_EQ(count("\u00e9\u00e9<\u00e9nd> <\u00e9nd>"), 2);
  EXPECT_EQ(count("\u00e9{\u00e9<\u00e9nd>} <e\u0301nd>"), 1);
  EXPECT_EQ(count("{\u00e9}<\u00e9nd>{\u00e9<\u00e9}nd>"), 1);
}

TEST(Tokenizer, AnswersQuestionsAboutItsVocabulary) {
  TokenizerSource source = golden_source("llama3");
  source.tokenizer_config_json = R"({"bos_token": {"content": "<|begin_of_text|>"}, "eos_token": "<|eot_id|>"})";
  const auto tokenizer = make_tokenizer(source);
  const int32_t eot = tokenizer->token_id("<|eot_id|>");
  EXPECT_EQ(tokenizer->eos_id(), eot);
  EXPECT_EQ(tokenizer->bos_id(), tokenizer->token_id("<|begin_of_text|>"));
  EXPECT_EQ(tokenizer->vocab_size(), eot + 1);
  EXPECT_TRUE(tokenizer->is_special(eot));
  EXPECT_FALSE(tokenizer->is_special(5));
  EXPECT_FALSE(tokenizer->is_special(-1));
  const int32_t the = tokenizer->token_id("\u0120the");
  EXPECT_EQ(tokenizer->token_text(the), "\u0120the");
  EXPECT_EQ(tokenizer->token_bytes(the), " the");
  EXPECT_EQ(tokenizer->token_id("no such token"), -1);
  EXPECT_EQ(tokenizer->token_bytes(1 << 20), "");
  EXPECT_EQ(tokenizer->token_bytes(tokenizer->token_id("\u00e4")), "\xE4");
}

TEST(Tokenizer, DamagedFilesAreErrorsAndNeverCrash) {
  const std::string whole = golden_source("llama3").tokenizer_json;
  std::mt19937 random(5);
  for (int round = 0; round < 150; ++round) {
    TokenizerSource source;
    source.tokenizer_json = whole;
    if (round % 3 == 0)
      source.tokenizer_json.resize(random() % whole.size());
    else if (round % 3 == 1)
      source.tokenizer_json[random() % 2000] = char(random());
    else
      source.tokenizer_json.replace(source.tokenizer_json.size() - 1 - random() % 2000, 1,
                                    std::string(1, char(random())));
    try {
      make_tokenizer(source)->encode("some text 123 <|eot_id|>");
    } catch (const Error&) {
    }
  }
}

TEST(Tokenizer, MissingFieldsAreErrorsAndNeverCrash) {
  const json::value whole = golden_json("llama3/tokenizer.json");
  const std::vector<std::string> paths = {"/model",
                                          "/model/type",
                                          "/model/vocab",
                                          "/model/merges",
                                          "/pre_tokenizer/type",
                                          "/pre_tokenizer/pretokenizers",
                                          "/pre_tokenizer/pretokenizers/0/pattern",
                                          "/pre_tokenizer/pretokenizers/0/behavior",
                                          "/post_processor/processors",
                                          "/post_processor/processors/1/single",
                                          "/post_processor/processors/1/special_tokens",
                                          "/decoder/type",
                                          "/added_tokens/0/id",
                                          "/added_tokens/0/content"};
  for (const json::value& replacement :
       {json::value(nullptr), json::value(7), json::value("text"), json::value(json::array{}),
        json::value(json::object{}), json::value(json::array{json::object{}})}) {
    for (const auto& path : paths) {
      json::value damaged = whole;
      json::error_code unused;
      *damaged.find_pointer(path, unused) = replacement;
      TokenizerSource source;
      source.tokenizer_json = json::serialize(damaged);
      try {
        make_tokenizer(source)->encode("some text 123 <|eot_id|>");
      } catch (const CheckpointError& error) {
        EXPECT_NE(std::string(error.what()), "");
      }
    }
  }
}

}  // namespace
}  // namespace trireme
