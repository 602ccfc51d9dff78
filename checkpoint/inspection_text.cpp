#include <algorithm>
#include <cstdio>

#include "checkpoint/checked.h"
#include "checkpoint/inspect.h"

namespace trireme {
namespace {

constexpr size_t kListedNames = 8;

// "1.24 B", "134.5 M", "515".
std::string scaled(int64_t value, const char* unit) {
  const double number = double(value);
  char text[48];
  if (number >= 1e9)
    std::snprintf(text, sizeof text, "%.2f %s%s", number / 1e9, *unit ? "G" : "B", unit);
  else if (number >= 1e6)
    std::snprintf(text, sizeof text, "%.1f M%s", number / 1e6, unit);
  else
    std::snprintf(text, sizeof text, "%lld%s%s", static_cast<long long>(value), *unit ? " " : "", unit);
  return text;
}

std::string line(const std::string& label, const std::string& value) {
  return label + std::string(label.size() < 16 ? 16 - label.size() : 1, ' ') + value + "\n";
}

std::string shape_line(const ModelConfig& config) {
  return std::to_string(config.num_layers) + " layers, hidden " + std::to_string(config.hidden_size) + ", " +
         std::to_string(config.num_heads) + " heads of " + std::to_string(config.head_dim) + ", " +
         std::to_string(config.num_kv_heads) + " KV heads, MLP " + std::to_string(config.intermediate_size) +
         ", vocabulary " + std::to_string(config.vocab_size) + ", " + std::to_string(config.max_positions) +
         " positions";
}

std::string attention_line(const ModelConfig& config) {
  std::string text = config.rope.rotary_dim > 0 ? "RoPE " + config.rope.type : "learned positions";
  int64_t windowed = 0;
  int32_t window = 0;
  for (const int32_t layer_window : config.layer_windows) {
    windowed += layer_window > 0;
    window = std::max(window, layer_window);
  }
  if (windowed > 0)
    text += ", " + std::to_string(windowed) + " layers see a window of " + std::to_string(window) + " tokens";
  return text;
}

std::string dtype_lines(const Inspection& report) {
  std::string text;
  for (const DTypeUse& use : report.dtypes)
    text += line(text.empty() ? "dtypes" : "", std::string(dtype_name(use.dtype)) + ": " + std::to_string(use.tensors) +
                                                   " tensors, " + scaled(use.bytes, "B"));
  return text;
}

std::string names(const std::vector<std::string>& list) {
  std::string text;
  for (size_t i = 0; i < std::min(list.size(), kListedNames); ++i) text += (i ? ", " : "") + list[i];
  if (list.size() > kListedNames) text += ", and " + std::to_string(list.size() - kListedNames) + " more";
  return text;
}

std::string ids(const std::vector<int64_t>& list) {
  std::string text;
  for (const int64_t id : list) text += (text.empty() ? "" : ", ") + std::to_string(id);
  return text.empty() ? "none" : text;
}

std::string template_line(const Inspection& report) {
  if (!report.chat_template) return "none";
  return report.template_names.empty() ? "present" : "present, by name: " + names(report.template_names);
}

}  // namespace

std::string inspection_text(const Inspection& report) {
  const ModelConfig& config = report.config;
  std::string text = line("model", report.name) + line("files", report.path + " (" + report.format + ")") +
                     line("architecture", config.architecture) + line("shape", shape_line(config)) +
                     line("attention", attention_line(config));
  if (!report.tensors.empty()) {
    text += line("parameters", scaled(report.parameters, "") + ", of them " + scaled(report.embedding_parameters, "") +
                                   " embedding" + (config.tie_word_embeddings ? " (also the output layer)" : ""));
    text += line("weights", std::to_string(report.tensors.size()) + " tensors, " + scaled(report.weight_bytes, "B"));
    text += dtype_lines(report);
  }
  text +=
      line("tokenizer", report.tokenizer + (report.tokens > 0 ? ", " + std::to_string(report.tokens) + " ids" : "")) +
      line("chat template", template_line(report)) + line("end-of-text", ids(config.eos_token_ids));
  if (!report.missing.empty()) text += line("missing", names(report.missing));
  if (!report.unused.empty()) text += line("not used", names(report.unused));
  for (const std::string& note : report.notes) text += line("note", note);
  return text;
}

}  // namespace trireme
