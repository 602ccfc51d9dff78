#include "gateway/prompt_file.h"

#include "base/error.h"
#include "gateway/sampling_json.h"

namespace trireme {
namespace {

std::vector<int32_t> parse_ids(const json::value& value) {
  if (!value.is_array()) throw RequestError("prompt_token_ids must be a list of ids");
  std::vector<int32_t> ids;
  for (const json::value& item : value.get_array()) {
    json::error_code error;
    ids.push_back(item.is_number() ? item.to_number<int32_t>(error) : -1);
    if (error || ids.back() < 0)
      throw RequestError("prompt_token_ids must be a list of ids, got " + json::serialize(item));
  }
  return ids;
}

}  // namespace

PromptLine parse_prompt_object(json::object object) {
  PromptLine line;
  int given = 0;
  if (auto entry = object.find("prompt"); entry != object.end()) {
    if (!entry->value().is_string()) throw RequestError("prompt must be a text");
    line.text = entry->value().get_string();
    object.erase(entry);
    ++given;
  }
  if (auto entry = object.find("prompt_token_ids"); entry != object.end()) {
    line.ids = parse_ids(entry->value());
    object.erase(entry);
    ++given;
  }
  line.chat = take_chat(object);
  given += line.chat.has_value();
  if (given != 1) throw RequestError("give exactly one of prompt, messages and prompt_token_ids");
  line.sampling = take_sampling(object);
  if (!object.empty()) throw RequestError("unknown key \"" + std::string(object.begin()->key()) + "\"");
  return line;
}

std::vector<PromptLine> parse_prompt_file(std::string_view text, std::string_view what) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool as_json = first != std::string_view::npos && text[first] == '{';
  std::vector<PromptLine> lines;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    if (!as_json) {
      lines.emplace_back().text = line;
      continue;
    }
    const std::string place = std::string(what) + " line " + std::to_string(number);
    try {
      json::value value = parse_json(line, "it");
      if (!value.is_object()) throw RequestError("not a JSON object");
      lines.push_back(parse_prompt_object(std::move(value.get_object())));
    } catch (const Error& error) {
      throw RequestError(place + ": " + error.what());
    }
  }
  return lines;
}

}  // namespace trireme
