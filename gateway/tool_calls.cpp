#include "gateway/tool_calls.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace trireme {
namespace {

constexpr std::string_view kHermesOpen = "<tool_call>", kHermesClose = "</tool_call>", kMistralOpen = "[TOOL_CALLS]",
                           kMistralArguments = "[ARGS]", kPythonTag = "<|python_tag|>";
constexpr size_t kMaxNameBytes = 256;

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Bytes at the end of `text` that may be the beginning of `mark`.
size_t open_suffix(std::string_view text, std::string_view mark) {
  for (size_t length = std::min(text.size(), mark.size() - 1); length > 0; --length)
    if (mark.starts_with(text.substr(text.size() - length))) return length;
  return 0;
}

std::optional<std::string> json_text(std::string_view literal) {
  json::error_code error;
  const json::value value = json::parse(json::string_view(literal.data(), literal.size()), error);
  if (error || !value.is_string()) return std::nullopt;
  return std::string(value.get_string());
}

}  // namespace

ToolFormat tool_format(std::string_view name, std::string_view chat_template) {
  if (name == "none") return ToolFormat::none;
  if (name == "hermes") return ToolFormat::hermes;
  if (name == "llama3_json") return ToolFormat::llama3_json;
  if (name == "mistral") return ToolFormat::mistral;
  if (name != "auto")
    throw ConfigError("--tool-call-parser " + std::string(name) +
                      " is not known: give auto, none, hermes, llama3_json or mistral");
  const auto has = [&](std::string_view mark) { return chat_template.find(mark) != std::string_view::npos; };
  if (has(kHermesOpen)) return ToolFormat::hermes;
  if (has(kMistralOpen)) return ToolFormat::mistral;
  if (has(kPythonTag) || has("\"parameters\":")) return ToolFormat::llama3_json;
  return ToolFormat::none;
}

// --- one object

ToolObjectScanner::ToolObjectScanner(std::string name)
    : state_(State::value_begin), key_("arguments"), name_(std::move(name)), has_name_(true), bare_(true) {}

void ToolObjectScanner::add(char c) {
  switch (state_) {
    case State::begin:
      state_ = c == '{' ? State::key_or_end : State::broken;
      return;
    case State::key_or_end:
      if (is_space(c) || c == ',') return;
      key_.clear();
      if (c == '"')
        state_ = State::key;
      else
        state_ = c == '}' && has_name_ ? State::done : State::broken;
      if (state_ == State::done && !has_arguments_) arguments_ += "{}";
      return;
    case State::key:
      if (c == '"')
        state_ = State::colon;
      else
        key_ += c;
      return;
    case State::colon:
      if (c == ':')
        state_ = State::value_begin;
      else if (!is_space(c))
        state_ = State::broken;
      return;
    case State::value_begin:
      if (!is_space(c)) begin_value(c);
      return;
    case State::value:
      return add_to_value(c);
    case State::done:
    case State::broken:
      return;
  }
}

void ToolObjectScanner::begin_value(char c) {
  state_ = State::value;
  value_.clear();
  depth_ = 0;
  in_string_ = escaped_ = false;
  const bool is_arguments = key_ == "arguments" || key_ == "parameters";
  arguments_as_text_ = is_arguments && c != '{';  // text with JSON in it, or null: known at its end
  add_to_value(c);
}

void ToolObjectScanner::add_to_value(char c) {
  const bool is_arguments = key_ == "arguments" || key_ == "parameters";
  if (!in_string_ && depth_ == 0 && (c == ',' || c == '}' || is_space(c))) {  // behind a number, true, null
    end_value();
    if (state_ != State::broken) add(c);
    return;
  }
  if (is_arguments && !arguments_as_text_)
    arguments_ += c;
  else
    value_ += c;
  if (in_string_) {
    if (escaped_)
      escaped_ = false;
    else if (c == '\\')
      escaped_ = true;
    else if (c == '"')
      in_string_ = false;
    if (!in_string_ && depth_ == 0) end_value();
    return;
  }
  if (c == '"') in_string_ = true;
  if (c == '{' || c == '[') ++depth_;
  if ((c == '}' || c == ']') && --depth_ == 0) end_value();
}

void ToolObjectScanner::end_value() {
  state_ = bare_ ? State::done : State::key_or_end;
  if (key_ == "name") {
    const auto name = json_text(value_);
    if (!name || name->empty() || has_name_) {
      state_ = State::broken;
      return;
    }
    name_ = *name;
    has_name_ = true;
  }
  if (key_ != "arguments" && key_ != "parameters") return;
  has_arguments_ = true;
  if (arguments_as_text_) arguments_ += json_text(value_).value_or("{}");
}

std::string ToolObjectScanner::take_name() {
  if (!has_name_ || name_taken_) return {};
  name_taken_ = true;
  return name_;
}

std::string ToolObjectScanner::take_arguments() {
  if (!name_taken_) return {};
  return std::exchange(arguments_, {});
}

// --- the text around them

void ToolCallParser::add_content(ToolParse& out, std::string_view text) {
  if (trims_) text.remove_prefix(size_t(std::ranges::find_if_not(text, is_space) - text.begin()));
  trims_ = trims_ && text.empty();
  out.content += text;
}

ToolParse ToolCallParser::add(std::string_view text) {
  ToolParse out;
  pending_ += text;
  step(out, false);
  return out;
}

ToolParse ToolCallParser::finish() {
  ToolParse out;
  step(out, true);
  if (!held_.empty() && !begun_) {
    give_up(out);
    add_content(out, pending_);
    pending_.clear();
  }
  return out;
}

void ToolCallParser::step(ToolParse& out, bool last) {
  for (;;) {
    const State before = state_;
    const size_t size = pending_.size();
    switch (state_) {
      case State::text:
        format_ == ToolFormat::llama3_json ? step_first(last) : step_text(out, last);
        break;
      case State::between:
        step_between(out);
        break;
      case State::object:
        step_object(out);
        break;
      case State::name:
        step_name(out);
        break;
      case State::closing:
        step_closing(last);
        break;
      case State::rest:
        add_content(out, pending_);
        pending_.clear();
        break;
    }
    if (state_ == before && pending_.size() == size) return;
  }
}

void ToolCallParser::step_text(ToolParse& out, bool last) {
  if (format_ == ToolFormat::none) {
    state_ = State::rest;
    return;
  }
  const std::string_view mark = format_ == ToolFormat::hermes ? kHermesOpen : kMistralOpen;
  const size_t at = pending_.find(mark);
  if (at == std::string::npos) {
    const size_t keep = last ? 0 : open_suffix(pending_, mark);
    add_content(out, std::string_view(pending_).substr(0, pending_.size() - keep));
    pending_.erase(0, pending_.size() - keep);
    return;
  }
  add_content(out, std::string_view(pending_).substr(0, at));
  pending_.erase(0, at + mark.size());
  held_ = mark;
  begun_ = in_array_ = false;
  state_ = State::between;
}

// Llama: the answer is calls from its first character, or has none.
void ToolCallParser::step_first(bool last) {
  const size_t first = size_t(std::ranges::find_if_not(pending_, is_space) - pending_.begin());
  const std::string_view rest = std::string_view(pending_).substr(first);
  if (rest.empty() && !last) return;
  if (!last && rest.size() < kPythonTag.size() && kPythonTag.starts_with(rest)) return;
  const bool tag = rest.starts_with(kPythonTag);
  if (!tag && !rest.starts_with('{')) {
    state_ = State::rest;
    return;
  }
  const size_t used = first + (tag ? kPythonTag.size() : 0);
  held_ = pending_.substr(0, used);
  pending_.erase(0, used);
  state_ = State::between;
}

void ToolCallParser::step_between(ToolParse& out) {
  while (!pending_.empty()) {
    const char c = pending_.front();
    const bool behind_one = format_ == ToolFormat::llama3_json && calls_ > 0;
    const bool separates = is_space(c) || (behind_one && (c == ';' || c == ',')) || (in_array_ && c == ',');
    const bool opens = format_ == ToolFormat::mistral && c == '[' && !in_array_;
    if (c == '{') {
      scanner_ = {};
      begun_ = false;
      state_ = State::object;
      return;
    }
    if (in_array_ && c == ']') {
      pending_.erase(0, 1);
      held_.clear();
      state_ = State::text;
      return;
    }
    if (!separates && !opens) {
      if (format_ == ToolFormat::mistral && !in_array_) {
        state_ = State::name;
        return;
      }
      give_up(out);
      return;
    }
    if (opens) in_array_ = true;
    held_ += c;
    pending_.erase(0, 1);
  }
}

// Mistral's newer form: a bare name, then the arguments as an object.
void ToolCallParser::step_name(ToolParse& out) {
  const size_t brace = pending_.find('{');
  if (brace == std::string::npos) {
    if (pending_.size() > kMaxNameBytes || pending_.find('\n') != std::string::npos) give_up(out);
    return;
  }
  std::string_view name = std::string_view(pending_).substr(0, brace);
  if (name.ends_with(kMistralArguments)) name.remove_suffix(kMistralArguments.size());
  while (!name.empty() && is_space(name.back())) name.remove_suffix(1);
  if (name.empty() || name.size() > kMaxNameBytes || std::ranges::any_of(name, is_space)) return give_up(out);
  scanner_ = ToolObjectScanner(std::string(name));
  held_ += std::string_view(pending_).substr(0, brace);
  pending_.erase(0, brace);
  begun_ = false;
  state_ = State::object;
}

void ToolCallParser::emit(ToolParse& out) {
  if (std::string name = scanner_.take_name(); !name.empty()) {
    begun_ = true;
    held_.clear();
    out.calls.push_back({calls_++, std::move(name), ""});
  }
  std::string arguments = scanner_.take_arguments();
  if (arguments.empty()) return;
  if (!out.calls.empty() && out.calls.back().index == calls_ - 1)
    out.calls.back().arguments += arguments;
  else
    out.calls.push_back({calls_ - 1, "", std::move(arguments)});
}

void ToolCallParser::step_object(ToolParse& out) {
  size_t used = 0;
  bool over = false;
  while (used < pending_.size() && !over) {
    const char c = pending_[used++];
    scanner_.add(c);
    if (!begun_) held_ += c;
    over = scanner_.done() || scanner_.broken();
    emit(out);
  }
  pending_.erase(0, used);
  if (!over) return;
  if (scanner_.broken() && !begun_) return give_up(out);
  trims_ = true;
  if (scanner_.broken() || format_ == ToolFormat::hermes)
    state_ = State::closing;
  else
    state_ = format_ == ToolFormat::mistral && !in_array_ ? State::text : State::between;
}

// Whatever stands between a call's object and its closing mark is dropped.
void ToolCallParser::step_closing(bool last) {
  if (format_ != ToolFormat::hermes) {  // a call broke: nothing behind it can be trusted
    pending_.clear();
    return;
  }
  const size_t at = pending_.find(kHermesClose);
  if (at == std::string::npos) {
    const size_t keep = last ? 0 : open_suffix(pending_, kHermesClose);
    pending_.erase(0, pending_.size() - keep);
    return;
  }
  pending_.erase(0, at + kHermesClose.size());
  state_ = State::text;
}

void ToolCallParser::give_up(ToolParse& out) {
  add_content(out, held_);
  held_.clear();
  scanner_ = {};
  state_ = format_ == ToolFormat::llama3_json ? State::rest : State::text;
}

}  // namespace trireme
