#include "launcher/config_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"

namespace trireme {
namespace {

using Words = std::vector<std::string>;

struct Flags {
  int port = 0;
  bool prefix = true, plain = false;
  std::string model, path, override_config, config, seed;
  std::vector<std::string> names, hosts;
};

void add(CLI::App& app, Flags& flags) {
  app.add_option("path", flags.path);
  app.add_option("--model", flags.model);
  app.add_option("--port", flags.port);
  app.add_option("--seed", flags.seed);
  app.add_option("--config", flags.config);
  app.add_flag("--enable-prefix,!--no-enable-prefix", flags.prefix);
  app.add_flag("--plain", flags.plain);
  app.add_option("--served-model-name", flags.names);
  app.add_option("--host-name", flags.hosts)->allow_extra_args(false);
  app.add_option("--override-generation-config", flags.override_config);
}

Words expand(const std::string& yaml, const Words& given = {}) {
  CLI::App app;
  Flags flags;
  add(app, flags);
  return config_arguments(app, yaml, "serve.yaml", given);
}

std::string refusal(const std::string& yaml) {
  try {
    expand(yaml);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ConfigFile, GivesEveryKindOfFlag) {
  EXPECT_EQ(
      expand("# all kinds\nport: 8001\nserved_model_name: [a, 'b c']\nhost-name:\n  - x\n  - y\nenable-prefix: false\n"
             "plain: true\nseed: null\noverride_generation_config:\n  temperature: 0.5\n  top_k: 3\n  deep: {on: true, "
             "text: \"7\"}\n"),
      (Words{"--port=8001", "--served-model-name", "a", "b c", "--host-name=x", "--host-name=y", "--no-enable-prefix",
             "--plain",
             "--override-generation-config={\"temperature\":5E-1,\"top_k\":3,\"deep\":{\"on\":true,\"text\":\"7\"}}"}));
  EXPECT_EQ(expand("plain: no\n"), Words{});
  EXPECT_EQ(expand(""), Words{});
  EXPECT_EQ(expand("model_tag: org/name\n"), Words{"--model=org/name"});
}

TEST(ConfigFile, LetsTheCommandLineWin) {
  EXPECT_EQ(expand("port: 1\nenable_prefix: true\n", {"port", "no-enable-prefix"}), Words{});
  const std::string path = testing::TempDir() + "config_file_test.yaml";
  std::ofstream(path) << "model: from/file\nport: 1\nseed: 4\nserved-model-name: [x]\n";
  for (const Words& arguments :
       {Words{"from/line", "--config", path, "--port=2"}, Words{"--port", "2", "--config=" + path, "from/line"}}) {
    CLI::App app;
    Flags flags;
    add(app, flags);
    Words all = expand_config_file(app, arguments);
    std::reverse(all.begin(), all.end());
    app.parse(all);
    EXPECT_EQ(flags.path, "from/line");
    EXPECT_EQ(flags.model, "");
    EXPECT_EQ(flags.port, 2);
    EXPECT_EQ(flags.seed, "4");
    EXPECT_EQ(flags.names, Words{"x"});
  }
}

TEST(ConfigFile, SaysWhatIsWrongAndWhere) {
  EXPECT_NE(refusal("\nprot: 8000\n").find("serve.yaml line 2: no flag is named prot: did you mean port?"),
            std::string::npos)
      << refusal("\nprot: 8000\n");
  EXPECT_NE(refusal("port: 1\nport: 2\n").find("line 2: port is given twice"), std::string::npos);
  EXPECT_NE(refusal("enable-prefix: true\nenable_prefix: false\n").find("given twice"), std::string::npos);
  EXPECT_NE(refusal("plain: 3\n").find("must be true or false"), std::string::npos);
  EXPECT_NE(refusal("port: [1, 2]\n").find("takes one value"), std::string::npos);
  EXPECT_NE(refusal("a: [1\n").find("serve.yaml line"), std::string::npos);
  EXPECT_NE(refusal("- port\n").find("must hold flags"), std::string::npos);
  EXPECT_NE(refusal("config: other.yaml\n").find("no flag is named config"), std::string::npos);
  CLI::App app;
  Flags flags;
  add(app, flags);
  EXPECT_THROW(expand_config_file(app, {"--config", "/does/not/exist.yaml"}), ConfigError);
  EXPECT_THROW(expand_config_file(app, {"--config"}), ConfigError);
}

}  // namespace
}  // namespace trireme
