// A build without OpenSSL serves plain HTTP, and says so where TLS is asked for.

#include "tests/gateway/http_server_fixture.h"

namespace trireme::test {
namespace {

class HttpWithoutTls : public HttpServerTest {};

TEST_F(HttpWithoutTls, RefusesEveryTlsOptionWithTheRemedy) {
  for (const TlsOptions& tls : {TlsOptions{.certfile = "cert.pem", .keyfile = "key.pem"}, TlsOptions{.certfile = "cert.pem"},
                                TlsOptions{.keyfile = "key.pem"}, TlsOptions{.ca_certs = "ca.pem"}, TlsOptions{.cert_reqs = 2}}) {
    options.tls = tls;
    try {
      HttpServer server(options, routes());
      FAIL() << "plain HTTP where TLS was asked for";
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find("libssl-dev"), std::string::npos) << error.what();
    }
  }
}

TEST_F(HttpWithoutTls, ServesPlainHttp) {
  start();
  EXPECT_EQ(server_->url().rfind("http://", 0), 0u);
  EXPECT_EQ(ask(get("/hello")).body, "hello");
}

}  // namespace
}  // namespace trireme::test
