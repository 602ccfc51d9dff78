// For scripts/goldens/check_tokenizers.py: encodes and decodes as the program does.
//   tokenizer_tool FILE.json   reads tokenizer.json
//   tokenizer_tool FILE.gguf   reads a GGUF file's tokenizer
//   tokenizer_tool FILE.json --pre NAME   puts tokenizer.json's BPE into GGUF's fields with tokenizer.ggml.pre NAME
// stdin: texts, each after its length in bytes (u32, little-endian). For each, on stdout: u32 count and ids (i32)
// without special tokens, the same with them, the same with special tokens of the text as plain text; then the text
// decoded from the second list with and without special tokens, each after its u32 length. The detokenizer's pieces
// must equal them, else the program ends with status 1.
#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "tests/text/tokenizer_source_of.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace {

using trireme::Tokenizer;

void write_number(size_t value) {
  const auto number = uint32_t(value);
  std::fwrite(&number, 4, 1, stdout);
}

void write_ids(const std::vector<int32_t>& ids) {
  write_number(ids.size());
  std::fwrite(ids.data(), 4, ids.size(), stdout);
}

bool write_decoded(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  const std::string text = tokenizer.decode(ids, skip_special);
  write_number(text.size());
  std::fwrite(text.data(), 1, text.size(), stdout);
  trireme::Detokenizer detokenizer(tokenizer, skip_special);
  std::string pieces;
  for (const int32_t id : ids) pieces += detokenizer.add(id);
  return pieces + detokenizer.finish() == text;
}

bool answer(const Tokenizer& tokenizer, const std::string& text) {
  write_ids(tokenizer.encode(text, {.add_special_tokens = false}));
  const auto ids = tokenizer.encode(text);
  write_ids(ids);
  write_ids(tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false}));
  return write_decoded(tokenizer, ids, false) && write_decoded(tokenizer, ids, true);
}

trireme::TokenizerSource source_of(const std::string& path) {
  if (path.ends_with(".gguf"))
    return trireme::test::tokenizer_source_of(trireme::open_checkpoint(path, {.need_weights = false}).tokenizer);
  trireme::TokenizerSource source;
  source.tokenizer_json = trireme::read_text_file(path);
  return source;
}

// As converters write it: added tokens are control tokens if special, else user-defined.
trireme::TokenizerSource as_gguf(const std::string& path, const std::string& pre) {
  const auto root = trireme::parse_json(trireme::read_text_file(path), path);
  trireme::TokenizerSource source;
  source.gguf_model = "gpt2";
  source.gguf_pre = pre;
  const auto put = [&](size_t id, std::string_view token, int32_t type) {
    if (id >= source.tokens.size()) source.tokens.resize(id + 1), source.token_types.resize(id + 1, 5);
    source.tokens[id] = std::string(token);
    source.token_types[id] = type;
  };
  for (const auto& token : root.at("model").at("vocab").as_object())
    put(token.value().to_number<size_t>(), token.key(), 1);
  for (const auto& token : root.at("added_tokens").as_array())
    put(token.at("id").to_number<size_t>(), token.at("content").as_string(), token.at("special").as_bool() ? 3 : 4);
  for (const auto& merge : root.at("model").at("merges").as_array())
    source.merges.push_back(merge.is_string()
                                ? std::string(merge.as_string())
                                : std::string(merge.at(0).as_string()) + " " + std::string(merge.at(1).as_string()));
  source.add_bos = false;
  return source;
}

}  // namespace

int main(int argc, char** argv) {
  const bool with_pre = argc == 4 && std::string(argv[2]) == "--pre";
  if (argc != 2 && !with_pre) {
    std::fprintf(stderr, "usage: tokenizer_tool FILE.json|FILE.gguf [--pre NAME] < texts\n");
    return 2;
  }
  try {
    const auto tokenizer = trireme::make_tokenizer(with_pre ? as_gguf(argv[1], argv[3]) : source_of(argv[1]));
    uint32_t size = 0;
    while (std::fread(&size, 4, 1, stdin) == 1) {
      std::string text(size, '\0');
      if (std::fread(text.data(), 1, size, stdin) != size) return 1;
      if (!answer(*tokenizer, text)) {
        std::fprintf(stderr, "the detokenizer's pieces are not decode()'s text\n");
        return 1;
      }
    }
  } catch (const trireme::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
