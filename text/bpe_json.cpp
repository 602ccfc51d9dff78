// Reads the "model" object of tokenizer.json for byte-pair encoding.
#include <algorithm>

#include "base/error.h"
#include "text/bpe.h"

namespace trireme {
namespace {

constexpr int64_t kMaxHoles = 1 << 20;  // ids without a token

std::vector<std::string> read_vocabulary(const PartFields& fields) {
  const PartFields vocabulary = fields.object("vocab");
  const int64_t id_limit = int64_t(vocabulary.raw().size()) + kMaxHoles;
  std::vector<std::string> tokens;
  for (const auto& entry : vocabulary.raw()) {
    const int64_t id = entry.value().is_int64() ? entry.value().get_int64() : -1;
    if (id < 0 || id >= id_limit)
      vocabulary.fail("the id of \"" + std::string(entry.key()) + "\" must be from 0 to " +
                      std::to_string(id_limit - 1));
    if (size_t(id) >= tokens.size()) tokens.resize(size_t(id) + 1);
    if (!tokens[size_t(id)].empty()) vocabulary.fail("id " + std::to_string(id) + " occurs twice");
    tokens[size_t(id)] = std::string(entry.key());
  }
  return tokens;
}

BpeMerges read_merges(const PartFields& fields) {
  const json::array& entries = fields.array("merges");
  const std::string where = fields.where() + " merges";
  BpeMerges merges;
  merges.reserve(entries.size());
  for (const auto& entry : entries) {
    if (const auto* text = entry.if_string()) {
      merges.push_back(split_merge({text->data(), text->size()}, where));
    } else if (const auto* pair = entry.if_array();
               pair && pair->size() == 2 && (*pair)[0].is_string() && (*pair)[1].is_string()) {
      merges.emplace_back(std::string_view((*pair)[0].get_string()), std::string_view((*pair)[1].get_string()));
    } else {
      fields.fail("merge " + std::to_string(merges.size()) + " must be \"a b\" or [\"a\", \"b\"]");
    }
  }
  return merges;
}

void refuse(const PartFields& fields, std::string_view key) {
  const json::value* value = fields.find(key);
  const bool harmless = !value || (value->is_string() && value->get_string().empty()) ||
                        (value->is_double() && value->get_double() == 0) ||
                        (value->is_int64() && value->get_int64() == 0);
  if (!harmless) fields.fail("\"" + std::string(key) + "\" is not supported");
}

}  // namespace

std::pair<std::string, std::string> split_merge(std::string_view text, const std::string& where) {
  const size_t space = text.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == text.size())
    throw CheckpointError(where + ": \"" + std::string(text) + "\" is not two tokens with a space between them");
  return {std::string(text.substr(0, space)), std::string(text.substr(space + 1))};
}

std::unique_ptr<TokenModel> make_bpe_model(const PartFields& fields) {
  for (const auto key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) refuse(fields, key);
  BpeOptions options;
  options.ignore_merges = fields.flag_or("ignore_merges", false);
  options.byte_fallback = fields.flag_or("byte_fallback", false);
  options.fuse_unknown = fields.flag_or("fuse_unk", false);
  options.unknown_token = fields.text_or("unk_token", "");
  Vocabulary vocabulary(read_vocabulary(fields));
  MergeTable merges = make_merge_table(vocabulary, read_merges(fields));
  return std::make_unique<BpeModel>(std::move(vocabulary), std::move(merges), options);
}

}  // namespace trireme
