#include "launcher/generate_output.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace trireme {
namespace {

void write(std::FILE* out, const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), out) != text.size() || std::fflush(out) != 0)
    throw Error("cannot write to standard output");
}

class TextSink final : public OutputSink {
 public:
  TextSink(std::FILE* out, size_t num_prompts, bool stream)
      : out_(out), many_(num_prompts > 1), stream_(stream && !many_) {}

  void on_text(size_t, int choice, const std::string& text) override {
    if (!stream_ || choice != 0) return;  // further choices follow whole
    write(out_, text);
    streamed_ = true;
  }

  void on_finished(const FinishedPrompt& prompt) override {
    if (!prompt.error.empty()) {
      std::fprintf(stderr, "trireme: prompt %zu: %s\n", prompt.index + 1, prompt.error.c_str());
      return;
    }
    std::string text;
    if (many_) text += fmt::format("=== prompt {}: {}\n", prompt.index + 1, prompt.prompt);
    for (size_t i = 0; i < prompt.choices.size(); ++i) {
      if (prompt.output.is_beam_search)
        text += fmt::format("--- beam {}, score {:.4f}\n", i + 1, prompt.choices[i].record.beam_score);
      else if (prompt.choices.size() > 1 && !(streamed_ && i == 0))
        text += fmt::format("--- output {}\n", i + 1);
      if (!(streamed_ && i == 0)) text += answer(prompt.choices[i]);
      text += "\n";
    }
    write(out_, text);
  }

 private:
  // Without a tokenizer the ids are the answer.
  static std::string answer(const FinishedChoice& choice) {
    if (!choice.text.empty() || choice.record.ids.empty()) return choice.text;
    return fmt::format("{}", fmt::join(choice.record.ids, " "));
  }

  std::FILE* out_;
  bool many_, stream_, streamed_ = false;
};

class JsonSink final : public OutputSink {
 public:
  explicit JsonSink(std::FILE* out) : out_(out) {}
  void on_text(size_t, int, const std::string&) override {}
  void on_finished(const FinishedPrompt& prompt) override { write(out_, json_line(prompt) + "\n"); }

 private:
  std::FILE* out_;
};

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// Tokens that reached the front in one read say nothing about a rate.
std::string rate(double tokens, double time) {
  return time > 1e-3 ? fmt::format("{:.1f} tok/s", tokens / time) : "- tok/s";
}

}  // namespace

std::unique_ptr<OutputSink> make_text_sink(std::FILE* out, size_t num_prompts, bool stream) {
  return std::make_unique<TextSink>(out, num_prompts, stream);
}

std::unique_ptr<OutputSink> make_json_sink(std::FILE* out) { return std::make_unique<JsonSink>(out); }

std::string summary_line(const GenerateSummary& summary) {
  if (summary.first_token == TimePoint{} || summary.first_token_seconds.empty()) return "";
  std::vector<double> first = summary.first_token_seconds;
  std::sort(first.begin(), first.end());
  const double median = first[first.size() / 2];
  // One prompt: prefill until its first token, decode after it. Many overlap: both over the whole time.
  const bool one = summary.prompts == 1;
  const double total = seconds(summary.last_token - summary.started);
  const double prefill = one ? median : total, decode = one ? seconds(summary.last_token - summary.first_token) : total;
  const double decoded = double(summary.generated_tokens - (one ? 1 : 0));
  std::string line =
      fmt::format("{} prompt{}{}: {} prompt tokens at {}, {} generated at {}, {} {:.0f} ms", summary.finished,
                  summary.finished == 1 ? "" : "s", summary.failed ? fmt::format(" ({} failed)", summary.failed) : "",
                  summary.prompt_tokens, rate(double(summary.prompt_tokens - summary.cached_tokens), prefill),
                  summary.generated_tokens, rate(decoded, decode), one ? "TTFT" : "median TTFT", median * 1e3);
  if (summary.cached_tokens > 0) line += fmt::format(", {} prompt tokens from the prefix cache", summary.cached_tokens);
  return line + fmt::format(", KV cache at most {:.1f} % full", summary.most_kv_use * 100);
}

std::string progress_bar(size_t done, size_t total, int width) {
  const std::string tail = fmt::format(" {:3d}% {}/{}", total ? done * 100 / total : 100, done, total);
  const size_t bar = size_t(std::max(width - int(tail.size()) - 2, 8));
  const size_t filled = total ? bar * done / total : bar;
  return "[" + std::string(filled, '#') + std::string(bar - filled, '.') + "]" + tail;
}

}  // namespace trireme
