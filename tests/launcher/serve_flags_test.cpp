#include "launcher/serve_flags.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/json.h"

namespace trireme {
namespace {

using Words = std::vector<std::string>;

ServeCommand serve(Words arguments) {
  arguments.insert(arguments.begin(), {"m/n", "--device", "cpu"});
  return std::get<ServeCommand>(parse_serve(arguments));
}

std::string refusal(const Words& arguments) {
  try {
    serve(arguments);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ServeFlags, HasSafeDefaults) {
  const ServeCommand command = serve({});
  EXPECT_EQ(command.run.engine.model, "m/n");
  EXPECT_EQ(command.http.host, "127.0.0.1");
  EXPECT_EQ(command.http.port, 8000);
  EXPECT_TRUE(command.http.allowed_origins.empty());
  EXPECT_EQ(command.served_model_names, Words{"m/n"});
  EXPECT_EQ(command.max_queue, 10000);
  EXPECT_FALSE(command.log_requests);
  EXPECT_FALSE(command.run.engine.mixed_prefill) << "of GPUs";
  EXPECT_TRUE(command.warnings.empty());
}

TEST(ServeFlags, LimitsPromptsBesideDecodingOnGpus) {
  EXPECT_EQ(serve({"--mixed-prefill-tokens", "9"}).run.engine.mixed_prefill, 9);
  if (!built_with_cuda()) return;
  const auto on_gpus = [](Words arguments) {
    arguments.insert(arguments.begin(), {"m/n", "--device", "cuda"});
    return std::get<ServeCommand>(parse_serve(arguments)).run.engine;
  };
  EXPECT_EQ(on_gpus({}).mixed_prefill, kServedMixedPrefill);
  EXPECT_EQ(on_gpus({}).mixed_step_multiple, kServedMixedStepMultiple);
  EXPECT_EQ(on_gpus({"--mixed-step-multiple", "1"}).mixed_step_multiple, 1);
  const EngineOptions exact = on_gpus({"--mixed-prefill-tokens", "0"});
  EXPECT_EQ(exact.mixed_prefill, 0);
  EXPECT_FALSE(exact.mixed_step_multiple) << "a limit that is given is not raised";
}

TEST(ServeFlags, ReadsVllmsNames) {
  const ServeCommand command = serve({"--host",
                                      "0.0.0.0",
                                      "--port",
                                      "9000",
                                      "-tp",
                                      "2",
                                      "--served_model_name",
                                      "a",
                                      "b",
                                      "--max-model-len",
                                      "4k",
                                      "--chat-template",
                                      "t.jinja",
                                      "--response-role",
                                      "bot",
                                      "--ssl-keyfile",
                                      "k",
                                      "--ssl-certfile",
                                      "c",
                                      "--allowed-origins",
                                      "[\"https://a\", \"https://b\"]",
                                      "--allow-credentials",
                                      "--root-path",
                                      "/x/",
                                      "--enable-request-id-headers",
                                      "--max-num-queued-reqs",
                                      "5",
                                      "--shutdown-timeout",
                                      "2.5",
                                      "--generation-config",
                                      "vllm",
                                      "--override-generation-config",
                                      "{\"temperature\": 0}",
                                      "--log-format",
                                      "json",
                                      "--enable-log-requests",
                                      "--disable-uvicorn-access-log",
                                      "--disable-log-stats",
                                      "--metrics-compat",
                                      "none",
                                      "--enable-force-include-usage"});
  EXPECT_EQ(command.http.host, "0.0.0.0");
  EXPECT_EQ(command.run.engine.tp, 2);
  EXPECT_EQ(command.run.engine.max_model_len, 4000);
  EXPECT_EQ(command.served_model_names, (Words{"a", "b"}));
  EXPECT_EQ(command.http.allowed_origins, (Words{"https://a", "https://b"}));
  EXPECT_EQ(serve({"--allowed-origins", "https://a", "*"}).http.allowed_origins, (Words{"https://a", "*"}));
  EXPECT_EQ(command.http.root_path, "/x");
  EXPECT_EQ(command.max_queue, 5);
  EXPECT_EQ(command.shutdown_timeout, 2.5);
  EXPECT_EQ(command.override_generation_config.at("temperature").as_int64(), 0);
  EXPECT_EQ(command.log_format, LogFormat::json);
  EXPECT_TRUE(command.log_requests && command.force_include_usage);
  EXPECT_FALSE(command.access_log || command.log_stats || command.vllm_metrics);
}

TEST(ServeFlags, TakesKeysFromFileEnvironmentAndFlag) {
  const std::string path = testing::TempDir() + "serve_flags_keys";
  std::ofstream(path) << "# keys\n  one \n\ntwo\n";
  setenv("TRIREME_API_KEY", "three", 1);
  const ServeCommand command = serve({"--api-key-file", path});
  unsetenv("TRIREME_API_KEY");
  EXPECT_EQ(command.api_keys, Words{"three"});
  EXPECT_EQ(command.api_key_file, path);
  EXPECT_TRUE(command.warnings.empty());
  EXPECT_EQ(serve({"--api-key", "x"}).warnings.size(), 1u);
  std::ofstream(path) << "# none\n";
  EXPECT_NE(refusal({"--api-key-file", path}), "accepted");
}

TEST(ServeFlags, WarnsOfWhatDoesNothingAndRefusesWhatCannotWork) {
  EXPECT_EQ(serve({"--trust-remote-code", "--swap-space", "4"}).warnings.size(), 2u);
  EXPECT_TRUE(
      serve({"--dtype", "auto", "-dp", "1", "--kv-cache-dtype", "auto", "--enable-chunked-prefill"}).warnings.empty());
  EXPECT_NE(refusal({"--dtype", "float16"}).find("--dtype float16 is not supported: "), std::string::npos);
  EXPECT_NE(refusal({"--middleware", "a.b", "c.d"}).find("--middleware a.b c.d"), std::string::npos);
  EXPECT_NE(refusal({"-dp=2"}), "accepted");
  EXPECT_NE(refusal({"--profile", "trace.json"}).find("bench"), std::string::npos);
  EXPECT_NE(refusal({"--enable-lora"}).find("merge"), std::string::npos);
}

TEST(ServeFlags, RefusesWrongValuesInOneLine) {
  for (const Words& arguments : std::vector<Words>{{"--port", "70000"},
                                                   {"--uds", "/x", "--port", "1"},
                                                   {"--ssl-keyfile", "k"},
                                                   {"--root-path", "x"},
                                                   {"--allow-credentials", "--allowed-origins", "*"},
                                                   {"--max-queue", "0"},
                                                   {"--shutdown-timeout", "-1"},
                                                   {"--override-generation-config", "[]"},
                                                   {"--log-format", "xml"},
                                                   {"--metrics-compat", "x"},
                                                   {"--api-key", ""},
                                                   {"--enable-log-requests", "--disable-log-requests"},
                                                   {"--prot", "1"}}) {
    const std::string text = refusal(arguments);
    EXPECT_NE(text, "accepted") << testing::PrintToString(arguments);
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
  EXPECT_NE(refusal({"--prot", "1"}).find("did you mean --port?"), std::string::npos);
}

TEST(ServeFlags, EveryForeignFlagIsDocumentedAndGivesItsReason) {
  const std::string page = read_text_file(TRIREME_SOURCE_DIR "/docs/from-vllm.md");
  for (const ForeignFlag& flag : foreign_flags()) {
    const std::string names = flag.names;
    const std::string name = names.substr(0, names.find(','));
    EXPECT_NE(page.find("`" + name), std::string::npos) << name;
    Words arguments = {name};
    if (flag.arity != ForeignFlag::none) arguments.push_back("nonsense");
    if (flag.refused) {
      EXPECT_NE(refusal(arguments).find(flag.text), std::string::npos) << name;
    } else if (std::string(flag.harmless) != "||") {
      EXPECT_EQ(serve(arguments).warnings.size(), 1u) << name;
    }
  }
}

TEST(ServeFlags, TheShippedConfigurationParses) {
  const Words arguments = {"--config", TRIREME_SOURCE_DIR "/configs/serve-one-node.yaml", "--device", "cpu"};
  if (!TRIREME_WITH_YAML) {
    const std::string text = refusal(arguments);
    EXPECT_NE(text.find("libyaml-cpp-dev"), std::string::npos) << text;
    return;
  }
  const ServeCommand command = std::get<ServeCommand>(parse_serve(arguments));
  EXPECT_FALSE(command.run.engine.model.empty());
  EXPECT_TRUE(command.warnings.empty());
}

TEST(ServeFlags, HelpHidesWhatDoesNothing) {
  const std::string help = std::get<PrintText>(parse_serve({"--help"})).text;
  EXPECT_NE(help.find("--api-key-file"), std::string::npos);
  EXPECT_NE(help.find("--config"), std::string::npos);
  EXPECT_EQ(help.find("--swap-space"), std::string::npos);
}

TEST(StartupBox, TellsWhatServesInAtMostTwelveLines) {
  StartupFacts facts;
  facts.model = facts.served_name = "org/name";
  facts.url = "http://127.0.0.1:8000";
  facts.device = "NVIDIA H200, 141 GB";
  facts.tp = 2;
  facts.pp = 2;
  facts.dtype = "bf16";
  facts.weight_gb = 16.06;
  facts.kv_tokens = 1234560;
  facts.max_model_len = 131072;
  facts.max_num_seqs = 256;
  facts.load_seconds = 7.25;
  const std::string box = startup_box(facts);
  EXPECT_LE(std::count(box.begin(), box.end(), '\n'), 12);
  for (const char* text : {" org/name ", "4 x NVIDIA H200, 141 GB", "tensor parallel 2 x pipeline parallel 2",
                           "16.06 GB", "1,234,560 tokens", "9.4 at 131,072 tokens each", "http://127.0.0.1:8000/v1 "})
    EXPECT_NE(box.find(text), std::string::npos) << text << "\n" << box;
  facts.served_name = "short";
  facts.needs_key = true;
  EXPECT_NE(startup_box(facts).find("org/name as short"), std::string::npos);
  EXPECT_NE(startup_box(facts).find("/v1 (API key needed)"), std::string::npos);
}

}  // namespace
}  // namespace trireme
