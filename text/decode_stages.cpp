#include "text/decode_stages.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace trireme {
namespace {

constexpr size_t kMaxAddedBytes = 1 << 20;  // by one replacement stage to what it gets at once

void check_growth(size_t bytes, size_t from_bytes) {
  if (bytes > from_bytes + kMaxAddedBytes)
    throw CheckpointError("tokenizer decoder: replacing makes " + std::to_string(bytes) + " bytes of " +
                          std::to_string(from_bytes));
}

// Puts the parts of a token together again.
class WholeTokenStage : public DecodeStage {
 public:
  void write(std::string_view part) final { token_ += part; }
  void end_token() final {
    token(token_);
    token_.clear();
  }

 protected:
  virtual void token(std::string_view token) = 0;
  void pass_on(std::string_view token) {
    next_->write(token);
    next_->end_token();
  }

 private:
  std::string token_;
};

class ByteLevelStage final : public WholeTokenStage {
  void token(std::string_view token) override {
    std::string text;
    repair_.append(byte_level_bytes(token), text);
    next_->write(text);
  }
  void finish() override {
    std::string text;
    repair_.finish(text);
    pass_on(text);
    next_->finish();
  }

  Utf8Repair repair_;
};

class ByteFallbackStage final : public WholeTokenStage {
  void token(std::string_view token) override {
    if (const int byte = fallback_byte(token); byte >= 0) {
      run_ += char(byte);
      return;
    }
    end_run();
    pass_on(token);
  }
  void finish() override {
    end_run();
    next_->finish();
  }
  void end_run() {
    if (run_.empty()) return;
    if (find_invalid_utf8(run_) == kValidUtf8) {
      pass_on(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) pass_on("\uFFFD");
    }
    run_.clear();
  }

  std::string run_;
};

class FuseStage final : public DecodeStage {
  void write(std::string_view part) override { next_->write(part); }
  void end_token() override {}
  void finish() override {
    next_->end_token();
    next_->finish();
  }
};

class JoiningStage final : public DecodeStage {
  void write(std::string_view part) override {
    if (!first_ && begins_) next_->write(" ");
    first_ = begins_ = false;
    next_->write(part);
  }
  void end_token() override {
    begins_ = true;
    next_->end_token();
  }
  void finish() override { next_->finish(); }

  bool first_ = true, begins_ = true;  // nothing was written yet, of all tokens and of this one
};

class MetaspaceStage final : public DecodeStage {
 public:
  MetaspaceStage(std::string replacement, bool drops_first)
      : replacement_(std::move(replacement)), drops_(drops_first) {}

 private:
  void write(std::string_view part) override { next_->write(replace_all(part, replacement_, drops_ ? "" : " ")); }
  void end_token() override {
    drops_ = false;
    next_->end_token();
  }
  void finish() override { next_->finish(); }

  std::string replacement_;
  bool drops_;
};

class ReplaceStage final : public WholeTokenStage {
 public:
  ReplaceStage(const Pattern& pattern, std::string content) : pattern_(pattern), content_(std::move(content)) {}

 private:
  void token(std::string_view token) override {
    const std::string replaced = replace_matches(token, pattern_, content_);
    check_growth(replaced.size(), token.size());
    pass_on(replaced);
  }
  void finish() override { next_->finish(); }

  const Pattern& pattern_;
  std::string content_;
};

// Holds back what may be the beginning of a match that goes on in the next part.
class LiteralReplaceStage final : public DecodeStage {
 public:
  LiteralReplaceStage(std::string literal, std::string content)
      : literal_(std::move(literal)), content_(std::move(content)) {}

 private:
  void write(std::string_view part) override {
    held_ += part;
    size_t done = 0;
    std::string out;
    for (size_t at = held_.find(literal_); at != std::string::npos; at = held_.find(literal_, done)) {
      out.append(held_, done, at - done) += content_;
      done = at + literal_.size();
    }
    size_t keep = std::min(literal_.size() - 1, held_.size() - done);
    while (keep > 0 && !literal_.starts_with(std::string_view(held_).substr(held_.size() - keep))) --keep;
    out.append(held_, done, held_.size() - keep - done);
    held_.erase(0, held_.size() - keep);
    check_growth(out.size(), part.size());
    next_->write(out);
  }
  void end_token() override {
    next_->write(held_);
    held_.clear();
    next_->end_token();
  }
  void finish() override { next_->finish(); }

  std::string literal_, content_, held_;
};

class StripStage final : public DecodeStage {
 public:
  StripStage(std::string content, size_t start, size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop), left_(start) {}

 private:
  void write(std::string_view part) override {
    for (; left_ > 0 && part.starts_with(content_); --left_) part.remove_prefix(content_.size());
    if (part.empty()) return;
    left_ = 0;
    size_t end = part.size();
    while (std::string_view(part).substr(0, end).ends_with(content_)) end -= content_.size();
    const size_t trailing = (part.size() - end) / content_.size();
    if (end > 0) emit_held(held_);
    next_->write(part.substr(0, end));
    held_ += trailing;
    if (held_ > stop_) emit_held(held_ - stop_);
  }
  void end_token() override {
    left_ = start_;
    held_ = 0;
    next_->end_token();
  }
  void finish() override { next_->finish(); }
  void emit_held(size_t count) {
    for (size_t i = 0; i < count; ++i) next_->write(content_);
    held_ -= count;
  }

  std::string content_;
  size_t start_, stop_, left_;
  size_t held_ = 0;  // characters at the end of what was written that may have to go
};

class SuffixStage final : public WholeTokenStage {
 public:
  explicit SuffixStage(std::string suffix) : suffix_(std::move(suffix)) {}

 private:
  void token(std::string_view token) override {
    if (has_last_) pass_on(replace_all(last_, suffix_, " "));
    last_ = token;
    has_last_ = true;
  }
  void finish() override {
    if (has_last_) pass_on(replace_all(last_, suffix_, ""));
    next_->finish();
  }

  std::string suffix_, last_;
  bool has_last_ = false;
};

}  // namespace

int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = char(c | 32);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  };
  const int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string replace_all(std::string_view text, std::string_view literal, std::string_view content) {
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(literal); at != std::string_view::npos; at = text.find(literal, done)) {
    out.append(text.substr(done, at - done)).append(content);
    done = at + literal.size();
  }
  return out.append(text.substr(done));
}

std::string replace_matches(std::string_view text, const Pattern& pattern, std::string_view content) {
  std::vector<Span> matches;
  pattern.find_matches(text, matches);
  std::string out;
  size_t done = 0;
  for (const Span& match : matches) {
    out.append(text.substr(done, match.begin - done)).append(content);
    done = match.end;
  }
  return out.append(text.substr(done));
}

std::unique_ptr<DecodeStage> make_byte_level_stage() { return std::make_unique<ByteLevelStage>(); }
std::unique_ptr<DecodeStage> make_byte_fallback_stage() { return std::make_unique<ByteFallbackStage>(); }
std::unique_ptr<DecodeStage> make_fuse_stage() { return std::make_unique<FuseStage>(); }
std::unique_ptr<DecodeStage> make_joining_stage() { return std::make_unique<JoiningStage>(); }
std::unique_ptr<DecodeStage> make_metaspace_stage(std::string replacement, bool drops_first) {
  return std::make_unique<MetaspaceStage>(std::move(replacement), drops_first);
}
std::unique_ptr<DecodeStage> make_replace_stage(const Pattern& pattern, std::string content) {
  return std::make_unique<ReplaceStage>(pattern, std::move(content));
}
std::unique_ptr<DecodeStage> make_literal_replace_stage(std::string literal, std::string content) {
  return std::make_unique<LiteralReplaceStage>(std::move(literal), std::move(content));
}
std::unique_ptr<DecodeStage> make_strip_stage(std::string content, size_t start, size_t stop) {
  return std::make_unique<StripStage>(std::move(content), start, stop);
}
std::unique_ptr<DecodeStage> make_suffix_stage(std::string suffix) {
  return std::make_unique<SuffixStage>(std::move(suffix));
}

}  // namespace trireme
