#include "kernels/linear_choices.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>

#include "base/check.h"

namespace trireme {
namespace {

constexpr std::string_view kHeader = "trireme linear choices 4\t";
constexpr size_t kFields = 16;

using ShapeKey = std::tuple<int64_t, int64_t, bool>;

struct ShapeChoices {
  ShapeKey key;
  std::vector<LinearChoice> by_tokens;  // ascending
};

ShapeKey shape_of(const LinearChoice& choice) { return {choice.out_features, choice.in_features, choice.float_out}; }

// Readers walk an array of published, immutable shapes; a model has a handful.
class Table {
 public:
  void adopt(std::span<const LinearChoice> choices) {
    std::lock_guard lock(mutex_);
    std::map<ShapeKey, std::vector<LinearChoice>> changed;
    for (const LinearChoice& choice : choices) changed[shape_of(choice)].push_back(choice);
    for (auto& [key, added] : changed) publish(key, added);
  }

  const LinearChoice* find(const ShapeKey& key, int64_t tokens) const {
    const size_t count = count_.load(std::memory_order_acquire);
    for (size_t i = 0; i < count; ++i) {
      const ShapeChoices& shape = *shapes_[i].load(std::memory_order_acquire);
      if (shape.key != key) continue;
      for (const LinearChoice& choice : shape.by_tokens)
        if (choice.tokens >= tokens) return &choice;
      return nullptr;
    }
    return nullptr;
  }

  std::vector<LinearChoice> all() const {
    std::vector<LinearChoice> choices;
    for (size_t i = 0; i < count_.load(std::memory_order_acquire); ++i) {
      const ShapeChoices& shape = *shapes_[i].load(std::memory_order_acquire);
      choices.insert(choices.end(), shape.by_tokens.begin(), shape.by_tokens.end());
    }
    std::sort(choices.begin(), choices.end(), [](const LinearChoice& a, const LinearChoice& b) {
      return std::tuple(shape_of(a), a.tokens) < std::tuple(shape_of(b), b.tokens);
    });
    return choices;
  }

 private:
  static constexpr size_t kMaxShapes = 256;

  void publish(const ShapeKey& key, const std::vector<LinearChoice>& added) {
    size_t at = 0;
    const size_t count = count_.load(std::memory_order_relaxed);
    while (at < count && shapes_[at].load(std::memory_order_relaxed)->key != key) ++at;
    if (at == kMaxShapes) return;  // the untold shapes go by rule
    std::map<int64_t, LinearChoice> merged;
    if (at < count)
      for (const LinearChoice& choice : shapes_[at].load(std::memory_order_relaxed)->by_tokens)
        merged[choice.tokens] = choice;
    for (const LinearChoice& choice : added) merged[choice.tokens] = choice;
    auto next = std::make_unique<ShapeChoices>(ShapeChoices{key, {}});
    for (const auto& [tokens, choice] : merged) next->by_tokens.push_back(choice);
    shapes_[at].store(next.get(), std::memory_order_release);
    kept_.push_back(std::move(next));
    if (at == count) count_.store(count + 1, std::memory_order_release);
  }

  std::mutex mutex_;  // of writers
  std::array<std::atomic<const ShapeChoices*>, kMaxShapes> shapes_{};
  std::atomic<size_t> count_{0};
  std::vector<std::unique_ptr<ShapeChoices>> kept_;  // also what was replaced: readers may hold it
};

Table& table() {
  static auto* instance = new Table;  // outlives every thread
  return *instance;
}

std::string hex(uint64_t value) {
  char digits[17];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value, 16);
  CHECK(error == std::errc()) << "hex";
  return std::string(digits, end);
}

template <typename T>
bool read_number(std::string_view text, T& value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::optional<LinearChoice> parse_line(std::string_view line) {
  const std::vector<std::string_view> fields = split(line, '\t');
  if (fields.size() != kFields) return std::nullopt;
  LinearChoice choice;
  int float_out = 0, kernel = 0, has_algorithm = 0;
  bool good = read_number(fields[0], choice.out_features) && read_number(fields[1], choice.in_features) &&
              read_number(fields[2], choice.tokens) && read_number(fields[3], float_out) &&
              read_number(fields[4], kernel) && read_number(fields[5], choice.tile) &&
              read_number(fields[6], choice.grid) && read_number(fields[7], has_algorithm);
  for (size_t i = 0; i < choice.algorithm.size(); ++i)
    good = good && read_number(fields[8 + i], choice.algorithm[i], 16);
  const auto flag = [](int value) { return value == 0 || value == 1; };
  good = good && flag(float_out) && kernel >= 0 && kernel <= int(LinearKernel::wide) && flag(has_algorithm) &&
         choice.out_features > 0 && choice.in_features > 0 && choice.tokens > 0;
  if (!good) return std::nullopt;
  choice.float_out = float_out != 0, choice.kernel = LinearKernel(kernel), choice.has_algorithm = has_algorithm != 0;
  return choice;
}

}  // namespace

void adopt_linear_choices(std::span<const LinearChoice> choices) { table().adopt(choices); }

const LinearChoice* find_linear_choice(int64_t out_features, int64_t in_features, bool float_out, int64_t tokens) {
  return table().find({out_features, in_features, float_out}, tokens);
}

std::vector<LinearChoice> linear_choices() { return table().all(); }

std::string format_linear_choices(std::span<const LinearChoice> choices, std::string_view machine) {
  std::string text = std::string(kHeader) + std::string(machine) + "\n";
  for (const LinearChoice& c : choices) {
    for (int64_t value : {c.out_features, c.in_features, c.tokens, int64_t(c.float_out), int64_t(c.kernel),
                          int64_t(c.tile), int64_t(c.grid), int64_t(c.has_algorithm)})
      text += std::to_string(value) + '\t';
    for (uint64_t word : c.algorithm) text += hex(word) + '\t';
    text.back() = '\n';
  }
  return text + "end\n";
}

std::vector<LinearChoice> parse_linear_choices(std::string_view text, std::string_view machine) {
  const std::vector<std::string_view> lines = split(text, '\n');
  if (lines.size() < 3 || lines.front() != std::string(kHeader) + std::string(machine) || !lines.back().empty() ||
      lines[lines.size() - 2] != "end")
    return {};
  std::vector<LinearChoice> choices;
  for (size_t i = 1; i + 2 < lines.size(); ++i) {
    const std::optional<LinearChoice> choice = parse_line(lines[i]);
    if (!choice) return {};
    choices.push_back(*choice);
  }
  return choices;
}

}  // namespace trireme
