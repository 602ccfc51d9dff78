#include <fmt/format.h>

#include <algorithm>

#include "launcher/serve_flags.h"

namespace trireme {
namespace {

std::string grouped(int64_t number) {  // 1234567 -> 1,234,567
  std::string digits = std::to_string(number);
  for (int64_t at = int64_t(digits.size()) - 3; at > 0; at -= 3) digits.insert(size_t(at), ",");
  return digits;
}

size_t columns(const std::string& text) {  // of UTF-8 without wide characters
  return size_t(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string fits_text(const StartupFacts& facts) {
  if (facts.max_model_len <= 0) return "";
  const double fit = double(facts.kv_tokens) / double(facts.max_model_len);
  return fmt::format("{:.1f} at {} tokens each; at most {} sequences at once", fit, grouped(facts.max_model_len),
                     facts.max_num_seqs);
}

}  // namespace

std::string startup_box(const StartupFacts& facts) {
  const int ranks = facts.tp * facts.pp;
  std::vector<std::pair<std::string, std::string>> rows = {
      {"Model", facts.model + (facts.served_name == facts.model ? "" : " as " + facts.served_name)},
      {"Devices", fmt::format("{} x {}", ranks, facts.device)},
      {"Layout", fmt::format("tensor parallel {} x pipeline parallel {}", facts.tp, facts.pp)},
      {"Weights",
       fmt::format("{}, {:.2f} GB in all, loaded in {:.1f} s", facts.dtype, facts.weight_gb, facts.load_seconds)},
      {"KV cache", grouped(facts.kv_tokens) + " tokens"},
      {"Fits", fits_text(facts)},
      {"URL", facts.url + (facts.needs_key ? "/v1 (API key needed)" : "/v1")},
      {"Chat page", facts.url + "/"},
      {"Metrics", facts.url + "/metrics"}};
  std::vector<std::string> lines;
  size_t width = 0;
  for (const auto& [name, value] : rows) {
    if (value.empty()) continue;
    lines.push_back(fmt::format(" {:<9}  {} ", name, value));
    width = std::max(width, columns(lines.back()));
  }
  const auto bar = [width] {
    std::string out;
    for (size_t i = 0; i < width; ++i) out += "─";
    return out;
  };
  std::string out = "╭" + bar() + "╮\n";
  for (const std::string& line : lines) out += "│" + line + std::string(width - columns(line), ' ') + "│\n";
  return out + "╰" + bar() + "╯\n";
}

}  // namespace trireme
