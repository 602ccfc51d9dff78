#include <gtest/gtest.h>

#include <ctime>

#include "base/error.h"
#include "tests/text/chat_template_cases.h"
#include "text/chat_template_set.h"

namespace trireme {
namespace {

using namespace test;

TEST(ChatTemplate, RendersTheTemplatesOfModelFamiliesAsTransformersDoes) {
  int rendered = 0;
  for (const auto& file : goldens().at("files").as_object()) {
    const ChatTemplate chat(read_text_file(golden_path("templates/" + std::string(file.key()))));
    for (size_t i = 0; i < conversations().size(); ++i) {
      const ChatTemplateInput input = input_of(conversations()[i].as_object());
      const auto* output = file.value().at(i).as_object().if_contains("output");
      if (output)
        EXPECT_EQ(chat.render(input), text_of(*output)) << file.key() << json::serialize(conversations()[i]);
      else
        EXPECT_NE(error_of<RequestError>([&] { chat.render(input); }), "")
            << file.key() << json::serialize(conversations()[i]);
      rendered += output != nullptr;
    }
  }
  EXPECT_GT(rendered, 250);
}

TEST(ChatTemplate, RendersEverySnippetAsJinjaDoes) {
  const auto& data = goldens().at("data").as_object();
  for (const auto& golden : goldens().at("snippets").as_array()) {
    const std::string source = text_of(golden.at("template"));
    const auto* output = golden.as_object().if_contains("output");
    if (!output) {
      EXPECT_NE(error_of<Error>([&] { render(source, data); }), "") << source;
      continue;
    }
    try {
      EXPECT_EQ(render(source, data), text_of(*output)) << source;
    } catch (const Error& error) {
      ADD_FAILURE() << error.what() << "\n" << source;
    }
  }
}

TEST(ChatTemplate, RefusesWhatJinjaRefusesAtRunTime) {
  for (const auto& golden : goldens().at("errors").as_array()) {
    const std::string source = text_of(golden.at("template"));
    EXPECT_NE(error_of<RequestError>([&] { render(source, goldens().at("data").as_object()); }), "") << source;
  }
  EXPECT_EQ(error_of<RequestError>([] { render("{{ raise_exception('No: ' ~ 1) }}"); }), "No: 1");
  EXPECT_EQ(error_of<RequestError>([] { render("{{ missing.x }}"); }), "chat template: 'missing' is undefined");
}

TEST(ChatTemplate, SyntaxErrorsNameLineAndColumn) {
  for (const auto& golden : goldens().at("syntax_errors").as_array()) {
    const std::string source = text_of(golden.at("template"));
    const std::string message = error_of<CheckpointError>([&] { ChatTemplate unused(source); });
    EXPECT_NE(message.find(" at line "), std::string::npos) << source << message;
    EXPECT_NE(message.find(", column "), std::string::npos) << source << message;
  }
  EXPECT_EQ(error_of<CheckpointError>([] { ChatTemplate unused("one\n  {{ a b }}"); }),
            "the chat template does not parse: expected }} at line 2, column 8");
}

// As Jinja compiles it: a name that the template sets before it reads it is never the variable given.
TEST(ChatTemplate, NamesThatATemplateSetsFirstAreItsOwn) {
  const json::object x = {{"x", 7}};
  EXPECT_EQ(render("{% for i in [1] %}<{{ x }}>{% endfor %}{% set x = 2 %}{{ x }}", x), "<>2");
  EXPECT_EQ(render("{% macro m() %}<{{ x }}>{% endmacro %}{{ m() }}{% set x = 2 %}{{ m() }}", x), "<><2>");
  EXPECT_EQ(render("{% for i in [1] %}<{{ x }}>{% endfor %}{% set x = x %}{{ x }}", x), "<7>7");
  EXPECT_EQ(render("{% for i in [1] %}<{{ x }}>{% endfor %}{% if i %}{% set x = 2 %}{% endif %}{{ x }}", x), "<7>7");
}

TEST(ChatTemplate, StrftimeNowTellsTheDate) {
  char expected[64];
  const std::time_t now = std::time(nullptr);
  std::strftime(expected, sizeof(expected), "%Y", std::localtime(&now));
  EXPECT_EQ(render("{{ strftime_now('%Y') | length }}"), "4");
  EXPECT_EQ(render("{{ strftime_now('%Y') }}"), expected);
}

// The output with brackets around what is marked.
std::string marked(const std::string& source, json::object variables) {
  const RenderedChat chat = ChatTemplate(source).render_marked(input_of(variables));
  std::string out = chat.text;
  for (auto span = chat.untrusted.rbegin(); span != chat.untrusted.rend(); ++span) {
    out.insert(span->end, "]");
    out.insert(span->begin, "[");
  }
  return out;
}

TEST(ChatTemplate, MarksWhatAClientWrote) {
  const json::object chat = {{"messages", json::parse(R"([{"role": "user", "content": " a,é<b> "}])")}};
  const auto with = [&](const std::string& expression) {
    return marked("{% set c = messages[0].content %}{% set role = messages[0].role %}" + expression, chat);
  };
  EXPECT_EQ(with("<{{ c }}>"), "<[ a,é<b> ]>");
  EXPECT_EQ(with("{{ '<' ~ c ~ '>' }}{{ '<' + c | trim + '>' }}"), "<[ a,é<b> ]><[a,é<b>]>");
  EXPECT_EQ(with("{{ c[1:4] }}|{{ c.split(',')[0] }}|{{ c[::-1] }}|{{ c[3] }}"), "[a,é]|[ a]|[ >b<é,a ]|[é]");
  EXPECT_EQ(with("{{ c.replace('a', 'x') }}{{ 'x-y' | replace('-', c) }}"), "[ ]x[,é<b> ]x[ a,é<b> ]y");
  EXPECT_EQ(with("{{ ['x', c.strip()] | join('-') }}|{{ c.strip() | list | join(' ') }}"),
            "x-[a,é<b>]|[a] [,] [é] [<] [b] [>]");
  EXPECT_EQ(with("{{ [c, 'x'] }}{{ c | tojson }}{{ {c: c} | tojson }}"),
            "['[ a,é<b> ]', 'x']\"[ a,é<b> ]\"{\"[ a,é<b> ]\": \"[ a,é<b> ]\"}");
  EXPECT_EQ(with("{{ 'x' ~ c | upper }}{{ ('x' ~ c[:3]) | upper }}|{{ ('x' ~ c) | title }}"),
            "x[ A,É<B> ]X[ A,]|[X A,é<B> ]");
  EXPECT_EQ(with("{{ '%s:%d' % (c, 3) }}{{ '{}:{}'.format('x', c) }}"), "[ a,é<b> ]:3x:[ a,é<b> ]");
  EXPECT_EQ(with("{{ c | e }}|{{ c | indent }}|{{ c | center(12) }}"), "[ a,é&lt;b&gt; ]|[ a,é<b> ]|  [ a,é<b> ]  ");
  EXPECT_EQ(with("{% set k %}<{{ c }}>{% endset %}{{ k }}{% macro m(t) %}({{ t }}){% endmacro %}{{ m(c) }}"),
            "<[ a,é<b> ]>([ a,é<b> ])");
  EXPECT_EQ(with("{{ c | length }}{{ c == 'x' }}{{ 'x' if 'a' in c }}"), "8Falsex");
}

TEST(ChatTemplate, MarksEverythingButTheModelsOwnWords) {
  json::object chat = {{"messages", json::parse(R"([{"role": "user", "name": "n"}])")},
                       {"tools", json::parse(R"([{"name": "f", "n": 1.5, "on": true}])")},
                       {"documents", json::parse(R"([{"title": "t"}])")},
                       {"bos_token", "<s>"}};
  const std::string all = "{{ bos_token }}{{ messages[0].name }}{{ tools[0] | tojson }}{{ documents[0].title }}";
  EXPECT_EQ(marked(all, chat), "<s>[n]{\"[name]\": \"[f]\", \"[n]\": 1.5, \"[on]\": true}[t]");
  ChatTemplateInput input = input_of(chat);
  input.template_kwargs = {{"bos_token", "mine"}};
  const RenderedChat own = ChatTemplate("{{ bos_token }}").render_marked(input);
  EXPECT_EQ(own.text, "mine");
  EXPECT_EQ(own.untrusted, (std::vector<TextSpan>{{0, 4}}));
}

// "<|" ~ role ~ "|>" is the template's own special token only for a role that cannot be any other's name.
TEST(ChatTemplate, TrustsTheRolesThatATemplateOrEveryoneSpells) {
  const auto role = [](const std::string& name, const std::string& extra = "") {
    return marked("<|{{ messages[0].role }}|>" + extra, {{"messages", json::array{json::object{{"role", name}}}}});
  };
  EXPECT_EQ(role("user"), "<|user|>");
  EXPECT_EQ(role("end"), "<|[end]|>");
  EXPECT_EQ(role("critic"), "<|[critic]|>");
  EXPECT_EQ(role("critic", "{% if x == 'critic' %}{% endif %}"), "<|critic|>");
  EXPECT_EQ(role("<|end|>", "{{ '' if '<|end|>' }}"), "<|[<|end|>]|>");
}

TEST(ChatTemplate, MarksSurviveContinuation) {
  ChatTemplateInput input;
  input.messages = json::parse(R"([{"role": "assistant", "content": " so far \n"}])");
  input.add_generation_prompt = false;
  input.continue_final_message = "content";
  const RenderedChat trimmed = ChatTemplate("<a>{{ messages[0].content | trim }}<e>").render_marked(input);
  EXPECT_EQ(trimmed.text, "<a>so far");
  EXPECT_EQ(trimmed.untrusted, (std::vector<TextSpan>{{3, 9}}));
  EXPECT_EQ(ChatTemplate("<a>{{ messages[0].content }}<e>").render(input), "<a> so far \n");
  const auto error = [&](const std::string& source) {
    return error_of<RequestError>([&] { ChatTemplate(source).render(input); });
  };
  EXPECT_NE(error("{{ messages[0].content | upper }}").find("does not appear"), std::string::npos);
  EXPECT_NE(error("{{ messages | length }}").find("does not use the field"), std::string::npos);
  input.add_generation_prompt = true;
  EXPECT_NE(error("{{ messages[0].content }}").find("exclude each other"), std::string::npos);
}

TEST(ChatTemplate, RefusesConversationsOfTheWrongForm) {
  const auto error = [](const char* name, json::value value) {
    return error_of<RequestError>([&] { render("x", {{name, std::move(value)}}); });
  };
  EXPECT_EQ(error("messages", json::array{}), "messages is empty: a chat needs at least one message");
  EXPECT_EQ(error("messages", json::array{"x"}), "messages must be an array of objects");
  EXPECT_EQ(error("messages", json::object{}), "messages must be an array of objects");
  EXPECT_EQ(error("tools", json::array{1}), "tools must be an array of objects");
  EXPECT_EQ(error("documents", "x"), "documents must be an array of objects");
  ChatTemplateInput input;
  input.template_kwargs = {{"messages", nullptr}};
  EXPECT_NE(error_of<RequestError>([&] { ChatTemplate("x").render(input); }).find("chat_template_kwargs"),
            std::string::npos);
}

TEST(ChatTemplateSet, SelectsByToolsAndByName) {
  const ChatTemplateSet set("usual", {{"default", "usual"}, {"tool_use", "with tools"}, {"rag", "{{ documents }}"}});
  EXPECT_EQ(set.select(false).render({}), "usual");
  EXPECT_EQ(set.select(true).render({}), "with tools");
  EXPECT_EQ(set.select(true, "rag").render({}), "None");
  EXPECT_EQ(error_of<RequestError>([&] { set.select(false, "x"); }),
            "the model has no chat template named 'x'; it has: default, rag, tool_use");
  EXPECT_EQ(ChatTemplateSet("only", {}).select(true).render({}), "only");
  EXPECT_NE(error_of<RequestError>([] { ChatTemplateSet("", {}).select(false); }).find("no chat template"),
            std::string::npos);
  EXPECT_NE(error_of<CheckpointError>([] { ChatTemplateSet("x", {{"rag", "{{"}}); }).find("'rag'"), std::string::npos);
}

}  // namespace
}  // namespace trireme
