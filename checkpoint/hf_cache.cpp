#include "checkpoint/hf_cache.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/input_file.h"

namespace trireme {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value ? value : "";
  const bool in_home = text == "~" || text.starts_with("~/");
  return in_home ? environment("HOME") + text.substr(1) : text;
}

bool is_name_part(std::string_view part) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  const auto is_edge = [](char c) { return c == '.' || c == '-'; };
  return !part.empty() && std::all_of(part.begin(), part.end(), allowed) && !is_edge(part.front()) &&
         !is_edge(part.back()) && part.find("..") == std::string_view::npos &&
         part.find("--") == std::string_view::npos;
}

bool is_commit(const std::string& text) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == 40 && std::all_of(text.begin(), text.end(), is_hex);
}

}  // namespace

bool is_repository_name(const std::string& model) {
  if (model.size() > 96) return false;
  const size_t slash = model.find('/');
  if (slash == std::string::npos) return is_name_part(model);
  return is_name_part(std::string_view(model).substr(0, slash)) &&
         is_name_part(std::string_view(model).substr(slash + 1));
}

std::string hub_cache_directory() {
  if (const std::string cache = environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const std::string home = environment("HF_HOME"); !home.empty()) return home + "/hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface/hub";
  if (const std::string home = environment("HOME"); !home.empty()) return home + "/.cache/huggingface/hub";
  return "";
}

std::optional<std::string> find_in_hub_cache(const std::string& model) {
  const std::string cache = hub_cache_directory();
  if (cache.empty() || !is_repository_name(model)) return std::nullopt;
  std::string folder = "models--" + model;
  if (const size_t slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
  const std::string reference = cache + "/" + folder + "/refs/main";
  if (!is_regular_file(reference)) return std::nullopt;
  std::string commit = read_small_file(reference);
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  if (!is_commit(commit))
    throw CheckpointError(reference + " holds " + quoted(commit) +
                          " where a commit is expected; fetch the model again: hf download " + model);
  const std::string snapshot = cache + "/" + folder + "/snapshots/" + commit;
  if (!is_directory(snapshot)) return std::nullopt;
  return snapshot;
}

}  // namespace trireme
