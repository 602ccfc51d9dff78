// Templates that run away, nest too deep or are damaged, and input that is not what it should be: an error in bounded
// time and memory, never a crash.

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "base/error.h"
#include "tests/text/chat_template_cases.h"

namespace trireme {
namespace {

using namespace test;

TEST(ChatTemplateLimits, RunawayTemplatesEndWithAnError) {
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

TEST(ChatTemplateLimits, ObjectsInCirclesAndLongChainsAreFreed) {
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

TEST(ChatTemplateLimits, DeepNestingIsRefusedWhenItIsParsed) {
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

TEST(ChatTemplateLimits, RefusesBadInput) {
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
TEST(ChatTemplateLimits, RandomTemplatesNeverCrash) {
  // clang-format off
  const std::vector<std::string> pieces = {
      "{{", "}}", "{%", "%}", "{#", "#}", "-", "+", " ", "\n", "x", "m", "l", "d", "'a'", "\"", "'", "\\", "1",
      "0.5", "(", ")", "[", "]", "{", "}", ",", ".", ":", "|", "~", "*", "**", "//", "%", "==", "<", "in ", "not ",
      "is ", "and ", "or ", "if ", "else", "elif ", "endif", "for ", "endfor", "i in l", "set ", "x = ",
      "macro f(a)", "endmacro", "f(1)", "loop", "loop.index", "namespace(a=1)", "upper", "tojson", "map('upper')",
      "raw", "endraw", "call ", "endcall", "filter ", "endfilter", "break", "range(9)", "{% for i in l %}",
      "{% endfor %}", "{% if x %}", "{% endif %}", "{{ x }}", "{% set ns = namespace(q=1) %}", "recursive ",
      "\xC3\xA9", "\xFF", "\x80"};
  // clang-format on
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
TEST(ChatTemplateLimits, DamagedTemplatesNeverCrash) {
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

TEST(ChatTemplateLimits, OneTemplateRendersInSeveralThreads) {
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

TEST(ChatTemplateLimits, LongConversationsFitTheLimits) {
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
