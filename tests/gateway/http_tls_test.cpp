// TLS with a certificate that the openssl command makes for the test; without the command the tests are skipped.

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/error.h"
#include "gateway/http/http_server.h"
#include "tests/gateway/http_client.h"

namespace trireme::test {
namespace {

struct CommandResult {
  int status = -1;
  std::string output;
};

CommandResult run(const std::string& command) {
  CommandResult result;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return result;
  std::array<char, 4096> bytes;
  for (size_t count; (count = std::fread(bytes.data(), 1, bytes.size(), pipe)) > 0;) result.output.append(bytes.data(), count);
  result.status = ::pclose(pipe);
  return result;
}

class HttpTls : public ::testing::Test {
 protected:
  void SetUp() override {
    if (run("openssl version").status != 0) GTEST_SKIP() << "the openssl command is missing";
    folder_ = ::testing::TempDir() + "http_tls_" + std::to_string(::getpid());
    std::filesystem::create_directories(folder_);
    make_certificate("one");
    options_.port = 0;
    options_.tls.certfile = folder_ + "/cert.pem";
    options_.tls.keyfile = folder_ + "/key.pem";
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }
  void make_certificate(const std::string& name) {
    const CommandResult made =
        run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" + name + " -keyout " +
            folder_ + "/key.pem -out " + folder_ + "/cert.pem");
    ASSERT_EQ(made.status, 0) << made.output;
  }
  void start() {
    const Handler big = [](std::shared_ptr<Exchange> e) { e->respond(200, "text/plain", std::string(300'000, 'z') + "END"); };
    const Handler stream = [](std::shared_ptr<Exchange> e) {
      e->begin_stream(200, "text/event-stream");
      for (int i = 0; i < 100; ++i) e->write("data: " + std::to_string(i) + "\n\n");
      e->end_stream();
    };
    server_ = std::make_unique<HttpServer>(
        options_, std::vector<Route>{{"GET", "/big", Access::open, big}, {"GET", "/stream", Access::open, stream}});
    server_->start();
  }
  // The session of openssl s_client that sends one request and reads to the end.
  CommandResult ask(const std::string& path, const std::string& flags = "") {
    return run("printf 'GET " + path + " HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n' | timeout 20 openssl s_client " +
               "-connect 127.0.0.1:" + std::to_string(server_->port()) + " -ign_eof " + flags);
  }

  std::string folder_;
  HttpServerOptions options_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTls, ServesAnswersAndStreams) {
  start();
  EXPECT_EQ(server_->url().rfind("https://127.0.0.1:", 0), 0u);
  const CommandResult big = ask("/big");
  EXPECT_NE(big.output.find("HTTP/1.1 200 OK"), std::string::npos) << big.output.substr(0, 2000);
  EXPECT_NE(big.output.find(std::string(1000, 'z') + "END"), std::string::npos);
  const CommandResult stream = ask("/stream");
  EXPECT_NE(stream.output.find("data: 99\n\n\r\n0\r\n\r\n"), std::string::npos) << stream.output.substr(0, 4000);
}

TEST_F(HttpTls, SpeaksTls12And13OnlyAndHttp11) {
  start();
  EXPECT_NE(ask("/stream", "-tls1_3 -alpn h2,http/1.1").output.find("ALPN protocol: http/1.1"), std::string::npos);
  EXPECT_NE(ask("/stream", "-tls1_2").output.find("data: 99"), std::string::npos);
  EXPECT_EQ(ask("/stream", "-tls1_1 -cipher ALL:@SECLEVEL=0").output.find("data: 99"), std::string::npos);
}

TEST_F(HttpTls, ClosesPlainHttpAndBrokenHandshakes) {
  start();
  RawClient plain(server_->port());
  plain.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(plain.closed_by_server());
  RawClient broken(server_->port());
  broken.send(std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10));
  EXPECT_TRUE(broken.closed_by_server());
  EXPECT_TRUE(eventually([&] { return server_->counters().connections_open == 0; }));
}

TEST_F(HttpTls, RereadsTheCertificate) {
  start();
  EXPECT_NE(ask("/stream").output.find("CN = one"), std::string::npos);
  make_certificate("two");
  server_->reload();
  EXPECT_NE(ask("/stream").output.find("CN = two"), std::string::npos);
  std::ofstream(folder_ + "/cert.pem") << "no certificate";
  EXPECT_THROW(server_->reload(), ConfigError);
  EXPECT_NE(ask("/stream").output.find("CN = two"), std::string::npos) << "a bad file leaves the old certificate";
}

TEST_F(HttpTls, AsksForClientCertificates) {
  options_.tls.ca_certs = folder_ + "/cert.pem";
  options_.tls.cert_reqs = 2;
  start();
  EXPECT_EQ(ask("/stream").output.find("data: 99"), std::string::npos);
  const std::string own = "-cert " + folder_ + "/cert.pem -key " + folder_ + "/key.pem";
  EXPECT_NE(ask("/stream", own).output.find("data: 99"), std::string::npos);
}

TEST_F(HttpTls, NamesWhatIsWrongWithItsFiles) {
  const auto complaint = [&](TlsOptions tls) -> std::string {
    HttpServerOptions options = options_;
    options.tls = std::move(tls);
    try {
      HttpServer server(options, {});
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(complaint({options_.tls.certfile, "", "", 0}).find("both"), std::string::npos);
  EXPECT_NE(complaint({folder_ + "/none.pem", options_.tls.keyfile, "", 0}).find("none.pem"), std::string::npos);
  EXPECT_NE(complaint({options_.tls.certfile, options_.tls.certfile, "", 0}).find("--ssl-keyfile"), std::string::npos);
  EXPECT_NE(complaint({options_.tls.certfile, options_.tls.keyfile, "", 2}).find("--ssl-ca-certs"), std::string::npos);
}

}  // namespace
}  // namespace trireme::test
