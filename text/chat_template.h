#pragma once
// Renders a model's chat template (Jinja as Transformers runs it) in a bounded interpreter.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>

#include "text/text_span.h"

namespace trireme {

struct ChatTemplateInput {
  boost::json::value messages;          // array of objects {role, content, ...}; null: none
  boost::json::value tools;             // array of objects; null: absent
  boost::json::value documents;         // array of objects; null: absent
  boost::json::object variables;        // the model's own, trusted: bos_token, eos_token ...
  boost::json::object template_kwargs;  // a client's chat_template_kwargs; these win over `variables`
  bool add_generation_prompt = true;
  std::string continue_final_message;  // the field of the last message to go on with ("content"); "": none
};

struct RenderedChat {
  std::string text;
  // What came from messages, tools, documents and template_kwargs; in order, apart. Special tokens written there
  // are a client's words, not the template's. The names of roles are trusted where the template itself spells them
  // or everyone does ("user").
  std::vector<TextSpan> untrusted;
};

class ChatTemplate {
 public:
  // Throws CheckpointError with line and column when the template does not parse.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  // As Transformers' apply_chat_template: keys of a message that are null count as missing, reasoning is passed under
  // all its names, and the final message to go on with ends the text.
  // Throws RequestError: raise_exception's text, an undefined use, input of the wrong form, or a limit (steps, depth,
  // output bytes).
  RenderedChat render_marked(const ChatTemplateInput& input) const;
  std::string render(const ChatTemplateInput& input) const { return render_marked(input).text; }

 private:
  struct Program;
  std::unique_ptr<Program> program_;
};

}  // namespace trireme
