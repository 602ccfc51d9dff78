// Who is let in: keys, and pages of other origins.

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/gateway/http_server_fixture.h"

namespace trireme::test {
namespace {

class HttpAccess : public HttpServerTest {};

TEST_F(HttpAccess, AsksForAKeyWhereOneIsSet) {
  options.keys.api_keys = {"alpha", "beta"};
  start();
  EXPECT_EQ(ask(get("/hello")).status, 200);
  const RawResponse refused = ask(get("/guarded"));
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.field("WWW-Authenticate"), "Bearer");
  EXPECT_NE(refused.body.find("\"code\":401"), std::string::npos);
  for (const std::string good : {"Bearer alpha", "Bearer beta", "bearer beta", "Bearer   alpha"}) {
    EXPECT_EQ(ask(get("/guarded", "Authorization: " + good + "\r\n")).status, 200) << good;
  }
  for (const std::string bad : {"Bearer alph", "Bearer alphaa", "Bearer Alpha", "Bearer", "Basic alpha", "alpha", "Bearer ",
                                "Bearer alpha beta", "Beareralpha"}) {
    EXPECT_EQ(ask(get("/guarded", "Authorization: " + bad + "\r\n")).status, 401) << bad;
  }
  EXPECT_EQ(ask(get("/guarded", "Authorization: Bearer " + std::string(300, 'a') + "\r\n")).status, 401);
  EXPECT_EQ(ask(get("/metrics")).status, 200) << "no metrics key is set";
  const RawResponse early = ask("POST /guarded HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_EQ(early.status, 401) << "before the body";
}

TEST_F(HttpAccess, GuardsMetricsByItsOwnKey) {
  options.keys.api_keys = {"alpha"};
  options.keys.metrics_keys = {"gauge"};
  start();
  EXPECT_EQ(ask(get("/metrics")).status, 401);
  EXPECT_EQ(ask(get("/metrics", "Authorization: Bearer gauge\r\n")).status, 200);
  EXPECT_EQ(ask(get("/metrics", "Authorization: Bearer alpha\r\n")).status, 200);
  EXPECT_EQ(ask(get("/guarded", "Authorization: Bearer gauge\r\n")).status, 401);
}

TEST_F(HttpAccess, RereadsTheKeyFile) {
  const std::string path = ::testing::TempDir() + "http_keys_" + std::to_string(::getpid());
  const auto write_keys = [&](const std::string& text) { std::ofstream(path) << text; };
  write_keys("# comment\nold-key\r\n\n");
  options.keys.api_key_file = path;
  start();
  const auto status = [&](const std::string& key) {
    return ask(get("/guarded", "Authorization: Bearer " + key + "\r\n")).status;
  };
  EXPECT_EQ(status("old-key"), 200);
  write_keys("new-key\n");
  EXPECT_EQ(status("new-key"), 401);
  server_->reload();
  EXPECT_EQ(status("new-key"), 200);
  EXPECT_EQ(status("old-key"), 401);
  write_keys("\n");
  EXPECT_THROW(server_->reload(), ConfigError);
  EXPECT_EQ(status("new-key"), 200) << "a bad file leaves the old keys";
  std::filesystem::remove(path);
  EXPECT_THROW(server_->reload(), ConfigError);
}

TEST_F(HttpAccess, RefusesKeysThatNoHeaderCanCarry) {
  for (const std::string bad : {"", "a b", "a\n", "\xc3\xa9"}) {
    options.keys.api_keys = {bad};
    EXPECT_THROW(HttpServer(options, routes()), ConfigError);
  }
}

TEST_F(HttpAccess, HasNoCorsByDefault) {
  start();
  EXPECT_EQ(ask(get("/hello", "Origin: https://x.example\r\n")).head.find("Access-Control"), std::string::npos);
  const RawResponse preflight =
      ask("OPTIONS /echo HTTP/1.1\r\nHost: a\r\nOrigin: https://x\r\nAccess-Control-Request-Method: POST\r\n\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.head.find("Access-Control"), std::string::npos);
}

TEST_F(HttpAccess, AnswersAllowedOrigins) {
  options.cors.allowed_origins = {"https://x.example"};
  options.cors.allow_credentials = true;
  options.keys.api_keys = {"alpha"};
  start();
  const RawResponse allowed = ask(get("/guarded", "Origin: https://x.example\r\n"));
  EXPECT_EQ(allowed.field("Access-Control-Allow-Origin"), "https://x.example");
  EXPECT_EQ(allowed.field("Access-Control-Allow-Credentials"), "true");
  EXPECT_EQ(allowed.field("Vary"), "Origin");
  EXPECT_EQ(ask(get("/hello", "Origin: https://y.example\r\n")).field("Access-Control-Allow-Origin"), "");
  const RawResponse preflight =
      ask("OPTIONS /guarded HTTP/1.1\r\nHost: a\r\nOrigin: https://x.example\r\nAccess-Control-Request-Method: POST\r\n"
          "Access-Control-Request-Headers: authorization, content-type\r\n\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.field("Access-Control-Allow-Methods"), "POST");
  EXPECT_EQ(preflight.field("Access-Control-Allow-Headers"), "authorization, content-type");
}

}  // namespace
}  // namespace trireme::test
