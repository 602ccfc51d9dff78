#include "text/chat_template.h"

#include <set>

#include "base/error.h"
#include "text/chat_input.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/parser.h"
#include "text/jinja/scope_analysis.h"
#include "text/jinja/text_functions.h"

namespace trireme {
namespace {

using jinja::Text;

std::string_view stripped(std::string_view tag) { return tag.substr(0, tag.find_last_not_of(' ') + 1); }

// Cuts the text at the tag that ends the final message; where the template trimmed the message, the tag's own
// blank is gone and what stands before it is trimmed, too.
Text cut_at_tag(const Text& text, const std::string& final_text) {
  const std::string wanted = jinja::strip(Text(final_text), nullptr, true, true).bytes();
  const size_t at = text.bytes().rfind(stripped(kContinueTag));
  if (at == std::string::npos || text.bytes().find(wanted) == std::string::npos)
    throw RequestError(
        "continue_final_message: the final message does not appear in the chat that the template made of it");
  const Text before = text.slice(0, at);
  const bool whole = text.bytes().compare(at, kContinueTag.size(), kContinueTag) == 0;
  return whole ? before : jinja::strip(before, nullptr, false, true);
}

}  // namespace

struct ChatTemplate::Program {
  std::string source;
  jinja::Body body;
  std::set<std::string> literals, own_names;
};

ChatTemplate::ChatTemplate(std::string_view source)
    : program_(std::make_unique<Program>(Program{std::string(source), jinja::parse_template(source), {}, {}})) {
  program_->own_names = jinja::names_set_before_read(program_->body);
  jinja::collect_literals(program_->body, program_->literals);
}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

RenderedChat ChatTemplate::render_marked(const ChatTemplateInput& input) const {
  const ChatInput chat = prepare_chat_input(input, program_->source, program_->literals);
  jinja::Evaluator evaluator(chat.variables);
  Text text = evaluator.render(program_->body, program_->own_names);
  if (!input.continue_final_message.empty()) text = cut_at_tag(text, chat.final_text);
  return {text.bytes(), text.untrusted_spans()};
}

}  // namespace trireme
