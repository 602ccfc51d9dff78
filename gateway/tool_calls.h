#pragma once
// Tool calls as models write them in their text, taken out as the text arrives. What add() and finish() return together
// does not depend on how the text was divided.
//
//   hermes       <tool_call>{"name": N, "arguments": {..}}</tool_call>, any number, text around them (Qwen, Hermes)
//   llama3_json  the whole answer is {"name": N, "parameters": {..}}, further ones behind ';', perhaps a
//                <|python_tag|> first
//   mistral      [TOOL_CALLS] [{"name": N, "arguments": {..}}, ..] or [TOOL_CALLS]N{..} or [TOOL_CALLS]N[ARGS]{..}
//
// What looks like a call and has no name is text. A call that breaks off behind its name keeps what came of it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

enum class ToolFormat : uint8_t { none, hermes, llama3_json, mistral };

// "auto": by the marks in the model's chat template. Throws ConfigError listing the names.
ToolFormat tool_format(std::string_view name, std::string_view chat_template);

struct ToolDelta {
  int32_t index = 0;      // of the call in the answer
  std::string name;       // with the first delta of a call
  std::string arguments;  // JSON, a further piece
  bool operator==(const ToolDelta&) const = default;
};

struct ToolParse {
  std::string content;
  std::vector<ToolDelta> calls;
};

// One object {"name": .., "arguments": ..}, a character at a time; whatever its other keys are.
class ToolObjectScanner {
 public:
  ToolObjectScanner() = default;
  explicit ToolObjectScanner(std::string name);  // of a call whose arguments alone follow
  void add(char c);
  bool done() const { return state_ == State::done; }
  bool broken() const { return state_ == State::broken; }
  std::string take_name();       // once, when it is known
  std::string take_arguments();  // what has come, once the name is known

 private:
  enum class State : uint8_t { begin, key_or_end, key, colon, value_begin, value, done, broken };
  void begin_value(char c);
  void add_to_value(char c);
  void end_value();

  State state_ = State::begin;
  std::string key_, value_, name_, arguments_;
  bool has_name_ = false, name_taken_ = false, has_arguments_ = false;
  bool in_string_ = false, escaped_ = false, arguments_as_text_ = false, bare_ = false;
  int depth_ = 0;
};

class ToolCallParser {
 public:
  explicit ToolCallParser(ToolFormat format) : format_(format) {}
  ToolParse add(std::string_view text);
  ToolParse finish();  // what was held back
  int32_t num_calls() const { return calls_; }

 private:
  enum class State : uint8_t { text, between, object, name, closing, rest };
  void step(ToolParse& out, bool last);
  void step_text(ToolParse& out, bool last);
  void step_first(bool last);
  void step_between(ToolParse& out);
  void step_object(ToolParse& out);
  void step_name(ToolParse& out);
  void step_closing(bool last);
  void emit(ToolParse& out);
  void give_up(ToolParse& out);
  void add_content(ToolParse& out, std::string_view text);

  ToolFormat format_;
  State state_ = State::text;
  std::string pending_;  // not consumed
  std::string held_;     // of a call that has no name yet: text if it never gets one
  ToolObjectScanner scanner_;
  bool begun_ = false;  // the call under way was told of
  bool in_array_ = false, trims_ = false;  // trims_: white space behind a call is no content
  int32_t calls_ = 0;
};

}  // namespace trireme
