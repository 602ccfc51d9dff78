#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <random>
#include <thread>

#include "base/error.h"
#include "tests/text/golden.h"
#include "text/chat_template_set.h"

namespace trireme {
namespace {

using testing::golden_json;
using testing::golden_path;
using testing::text_of;

const json::value& goldens() {
  static const json::value value = golden_json("chat_template_goldens.json");
  return value;
}

const json::array& conversations() { return goldens().at("conversations").as_array(); }

ChatTemplateInput input_of(const json::object& variables) {
  ChatTemplateInput input;
  input.add_generation_prompt = false;
  for (const auto& variable : variables) {
    if (variable.key() == "messages")
      input.messages = variable.value();
    else if (variable.key() == "tools")
      input.tools = variable.value();
    else if (variable.key() == "documents")
      input.documents = variable.value();
    else if (variable.key() == "continue_final_message")
      input.continue_final_message = text_of(variable.value());
    else if (variable.key() == "add_generation_prompt")
      input.add_generation_prompt = variable.value().as_bool();
    else
      input.variables[variable.key()] = variable.value();
  }
  return input;
}

std::string render(const std::string& source, const json::object& variables = {}) {
  return ChatTemplate(source).render(input_of(variables));
}

// What an error says; "" when there is none.
template <typename Expected, typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Expected& error) {
    return error.what();
  }
  return "";
}

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

TEST(ChatTemplate, RunawayTemplatesEndWithAnError) {
  const auto error = [](const std::string& source) { return error_of<RequestError>([&] { render(source); }); };
  const std::string loop = "{% for i in range(99999) %}";
  EXPECT_NE(error(loop + loop + "{% endfor %}{% endfor %}").find("steps"), std::string::npos);
  EXPECT_NE(error(loop + "{{ 'x' * 1000 }}{% endfor %}").find("output"), std::string::npos);
  EXPECT_NE(error("{{ 'x' * 99999999 }}").find("longer than"), std::string::npos);
  EXPECT_NE(
      error("{% set ns = namespace(s='x') %}" + loop + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}").find("longer than"),
      std::string::npos);
  EXPECT_NE(error("{% set ns = namespace(l=[1]) %}" + loop + "{% set ns.l = ns.l + ns.l %}{% endfor %}").find("steps"),
            std::string::npos);
  EXPECT_NE(error("{% set ns = namespace(l=[]) %}" + loop + "{% set ns.l = [ns.l] %}{% endfor %}").find("nested"),
            std::string::npos);
  EXPECT_NE(error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("deep"), std::string::npos);
  EXPECT_NE(error("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}").find("deep"), std::string::npos);
  EXPECT_NE(error("{{ ('a' * 8000000).replace('a', 'b' * 8000000) }}").find("longer than"), std::string::npos);
  EXPECT_NE(error("{{ ['a' * 4000000] * 1000 | join }}").find(""), std::string::npos);
  EXPECT_NE(error("{{ range(0, 100000, 0) }}").find("zero"), std::string::npos);
  EXPECT_NE(error("{{ 9223372036854775807 + 1 }}").find("64 bits"), std::string::npos);
}

TEST(ChatTemplate, ObjectsInCirclesAndLongChainsAreFreed) {
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.self = ns %}ok"), "ok");
  EXPECT_EQ(
      render(
          "{% set ns = namespace(f=0) %}{% for i in range(20000) %}{% set prev = ns.f %}{% macro m() %}{% endmacro %}"
          "{% set ns.f = m %}{% endfor %}ok"),
      "ok");
  EXPECT_EQ(render("{% set ns = namespace(n=0) %}{% for i in range(50000) %}{% set ns.n = namespace(prev=ns.n) %}{% "
                   "endfor %}ok"),
            "ok");
  EXPECT_EQ(
      render("{% set ns = namespace(n=0) %}{% for i in range(50000) %}{% set ns.n = joiner(ns.n) %}{% endfor %}ok"),
      "ok");
}

TEST(ChatTemplate, DeepNestingIsRefusedWhenItIsParsed) {
  const auto repeat = [](const std::string& text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += text;
    return out;
  };
  const int many = 100'000;
  for (const std::string& source :
       {"{{ " + repeat("(", many) + "1" + repeat(")", many) + " }}", "{{ " + repeat("[", many) + " }}",
        "{{ " + repeat("not ", many) + "1 }}", "{{ " + repeat("-", many) + "1 }}",
        "{{ 1" + repeat(" + 1", many) + " }}", "{{ x" + repeat(".a", many) + " }}",
        "{{ x" + repeat("|upper", many) + " }}", "{{ x" + repeat("[0]", many) + " }}",
        "{{ x" + repeat("()", many) + " }}", "{{ 1" + repeat(" if 1 else 1", many) + " }}",
        "{{ 1" + repeat(" is odd", many) + " }}", "{{ 1" + repeat(" ** 1", many) + " }}",
        "{{ x" + repeat(" is eq x", many) + " }}", repeat("{% if 1 %}", many), repeat("{% for i in x %}", many),
        repeat("{{ {1:", many), "{% filter upper" + repeat("|upper", many) + " %}{% endfilter %}",
        "{% set x " + repeat("|upper", many) + " %}{% endset %}"})
    EXPECT_NE(error_of<CheckpointError>([&] { ChatTemplate unused(source.substr(0, 1'000'000)); }), "")
        << source.substr(0, 40);
  EXPECT_EQ(render("{{ " + repeat("(", 40) + "1" + repeat(")", 40) + " }}"), "1");
  EXPECT_EQ(render("{{ 0" + repeat(" + 1", 150) + " }}"), "150");
  EXPECT_EQ(render(repeat("{% if 1 %}", 50) + "x" + repeat("{% endif %}", 50)), "x");
  EXPECT_EQ(render("{% if 0 %}" + repeat("{% elif 0 %}", 5000) + "{% else %}x{% endif %}"), "x");
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

TEST(ChatTemplate, RefusesBadInput) {
  EXPECT_NE(error_of<CheckpointError>([] { ChatTemplate unused("\xFF"); }).find("UTF-8 at byte 0"), std::string::npos);
  EXPECT_NE(error_of<CheckpointError>([] { ChatTemplate unused(std::string(2 << 20, 'x')); }).find("bytes"),
            std::string::npos);
  json::value deep = 1;
  for (int i = 0; i < 80; ++i) deep = json::array{deep};
  ChatTemplateInput input;
  input.messages = deep;
  EXPECT_NE(error_of<RequestError>([&] { ChatTemplate("x").render(input); }).find("nested"), std::string::npos);
  input.messages = "a\xFF";
  EXPECT_NE(error_of<RequestError>([&] { ChatTemplate("x").render(input); }).find("UTF-8"), std::string::npos);
}

// Pieces of real syntax and random bytes: every outcome but a crash or a hang is fine.
TEST(ChatTemplate, RandomTemplatesNeverCrash) {
  const std::vector<std::string> pieces = {"{{",
                                           "}}",
                                           "{%",
                                           "%}",
                                           "{#",
                                           "#}",
                                           "-",
                                           "+",
                                           " ",
                                           "\n",
                                           "x",
                                           "m",
                                           "l",
                                           "d",
                                           "'a'",
                                           "\"",
                                           "'",
                                           "\\",
                                           "1",
                                           "0.5",
                                           "(",
                                           ")",
                                           "[",
                                           "]",
                                           "{",
                                           "}",
                                           ",",
                                           ".",
                                           ":",
                                           "|",
                                           "~",
                                           "*",
                                           "**",
                                           "//",
                                           "%",
                                           "==",
                                           "<",
                                           "in ",
                                           "not ",
                                           "is ",
                                           "and ",
                                           "or ",
                                           "if ",
                                           "else",
                                           "elif ",
                                           "endif",
                                           "for ",
                                           "endfor",
                                           "i in l",
                                           "set ",
                                           "x = ",
                                           "macro f(a)",
                                           "endmacro",
                                           "f(1)",
                                           "loop",
                                           "loop.index",
                                           "namespace(a=1)",
                                           "upper",
                                           "tojson",
                                           "map('upper')",
                                           "raw",
                                           "endraw",
                                           "call ",
                                           "endcall",
                                           "filter ",
                                           "endfilter",
                                           "break",
                                           "range(9)",
                                           "{% for i in l %}",
                                           "{% endfor %}",
                                           "{% if x %}",
                                           "{% endif %}",
                                           "{{ x }}",
                                           "{% set ns = namespace(q=1) %}",
                                           "recursive ",
                                           "\xC3\xA9",
                                           "\xFF",
                                           "\x80"};
  const auto& data = goldens().at("data").as_object();
  std::mt19937 random(9);
  int rendered = 0;
  for (int round = 0; round < 30'000; ++round) {
    std::string source;
    for (int i = int(random() % 25); i > 0; --i) source += pieces[random() % pieces.size()];
    if (round % 10 == 0 && !source.empty()) source[random() % source.size()] = char(random());
    try {
      render(source, data);
      ++rendered;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(rendered, 100);
}

// Real templates with something cut out, doubled or changed.
TEST(ChatTemplate, DamagedTemplatesNeverCrash) {
  std::mt19937 random(4);
  for (const char* name : {"llama3.1.jinja", "chatml_tools.jinja", "alternating.jinja"}) {
    const std::string whole = read_text_file(golden_path(std::string("templates/") + name));
    for (int round = 0; round < 700; ++round) {
      std::string source = whole;
      const size_t at = random() % source.size(), length = random() % 30;
      if (round % 3 == 0)
        source.erase(at, length);
      else if (round % 3 == 1)
        source.insert(at, source.substr(random() % source.size(), length));
      else
        source[at] = char(random() % 128);
      try {
        ChatTemplate(source).render(input_of(conversations()[random() % conversations().size()].as_object()));
      } catch (const Error&) {
      }
    }
  }
}

TEST(ChatTemplate, OneTemplateRendersInSeveralThreads) {
  const ChatTemplate chat(read_text_file(golden_path("templates/chatml_tools.jinja")));
  const auto& golden = goldens().at("files").at("chatml_tools.jinja").as_array()[4];
  const ChatTemplateInput input = input_of(conversations()[4].as_object());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) EXPECT_EQ(chat.render(input), text_of(golden.at("output")));
    });
  for (auto& thread : threads) thread.join();
}

TEST(ChatTemplate, LongConversationsFitTheLimits) {
  json::array messages;
  for (int i = 0; i < 2000; ++i)
    messages.push_back({{"role", i % 2 ? "assistant" : "user"}, {"content", std::string(500, 'x')}});
  for (const char* name : {"llama3.1.jinja", "chatml_tools.jinja", "smollm2.jinja"}) {
    const ChatTemplate chat(read_text_file(golden_path(std::string("templates/") + name)));
    const auto start = std::chrono::steady_clock::now();
    const std::string text =
        chat.render(input_of({{"messages", messages}, {"bos_token", "<s>"}, {"add_generation_prompt", true}}));
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_GT(text.size(), 1'000'000u);
    std::printf("%s: 2000 messages in %.1f ms\n", name, elapsed.count());
  }
}

}  // namespace
}  // namespace trireme
