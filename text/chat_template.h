#pragma once
// Renders a model's chat template (Jinja as Transformers runs it) in a bounded interpreter.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>

namespace trireme {

struct ChatTemplateInput {
  boost::json::value messages;    // array of {role, content, ...}
  boost::json::value tools;       // null: absent
  boost::json::object variables;  // bos_token, eos_token, chat_template_kwargs ...
  bool add_generation_prompt = true;
};

class ChatTemplate {
 public:
  // Throws CheckpointError with line and column when the template does not parse.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  // Throws RequestError: raise_exception's text, an undefined use, or a limit (steps, depth, output bytes).
  std::string render(const ChatTemplateInput& input) const;

 private:
  struct Program;
  std::unique_ptr<Program> program_;
};

}  // namespace trireme
