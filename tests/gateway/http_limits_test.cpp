// Clocks and limits, with short ones injected.

#include "tests/gateway/http_server_fixture.h"

namespace trireme::test {
namespace {

class HttpLimitsTest : public HttpServerTest {};

TEST_F(HttpLimitsTest, EndsASlowHeader) {
  options.limits.header_timeout = 100ms;
  RawClient client(start().port());
  client.send("GET / HTTP/1.1\r\nHost: a\r\n");
  for (int i = 0; i < 400 && !client.read_some(5); ++i) client.send("X: y\r\n");
  const RawResponse answer = client.response();
  EXPECT_EQ(answer.status, 408);
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_EQ(server_->counters().timeouts, 1u);
}

TEST_F(HttpLimitsTest, EndsASilentConnection) {
  options.limits.header_timeout = 100ms;
  RawClient client(start().port());
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(HttpLimitsTest, EndsASlowBody) {
  options.limits.body_timeout = 100ms;
  options.limits.min_body_rate = 1'000'000;
  RawClient client(start().port());
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
  for (int i = 0; i < 400 && !client.read_some(5); ++i) client.send("x");
  EXPECT_EQ(client.response().status, 408);
}

TEST_F(HttpLimitsTest, EndsAnIdleConnectionButNotAPendingAnswer) {
  options.limits.idle_timeout = 100ms;
  options.limits.header_timeout = 100ms;
  RawClient client(start().port());
  const auto exchange = hold(client);
  ::usleep(300'000);
  exchange->respond(200, "text/plain", "patience");
  EXPECT_EQ(client.response().body, "patience");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(HttpLimitsTest, CutsAReaderThatHasStopped) {
  options.limits.write_timeout = 200ms;
  options.limits.max_unsent_bytes = 100 << 20;
  RawClient client = narrow_client();
  const auto exchange = hold_stream(client);
  for (int i = 0; i < 2000 && held_->hangups == 0; ++i) exchange->write(std::string(1000, 'x'));
  EXPECT_GT(exchange->unsent_bytes(), 1'000'000u);
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
  EXPECT_EQ(exchange->unsent_bytes(), 0u);
  EXPECT_EQ(server_->counters().slow_readers_cut, 1u);
  // By a reset: what the kernel held for it is gone.
  char bytes[4096];
  ssize_t count;
  while ((count = ::recv(client.socket(), bytes, sizeof(bytes), 0)) > 0) {
  }
  EXPECT_EQ(count, -1);
}

TEST_F(HttpLimitsTest, CutsAReaderThatIsBehindForTooLong) {
  options.limits.slow_reader_bytes = 50'000;
  options.limits.slow_reader_timeout = 200ms;
  options.limits.max_unsent_bytes = 100 << 20;
  RawClient client = narrow_client();
  const auto exchange = hold_stream(client);
  for (int i = 0; i < 2000; ++i) exchange->write(std::string(1000, 'x'));
  while (held_->hangups == 0 && client.read_some(1)) ::usleep(2000);  // it reads, but slowly
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
}

TEST_F(HttpLimitsTest, CutsAReaderWhoseBacklogIsTooLarge) {
  options.limits.max_unsent_bytes = 100'000;
  RawClient client = narrow_client();
  const auto exchange = hold_stream(client);
  for (int i = 0; i < 10'000 && held_->hangups == 0; ++i) exchange->write(std::string(1000, 'x'));
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
}

TEST_F(HttpLimitsTest, LetsASlowButSteadyReaderHaveABigAnswer) {
  options.limits.write_timeout = 150ms;
  options.limits.min_write_rate = 100;
  RawClient client = narrow_client();
  client.send(get("/hold"));
  held_->take()->respond(200, "text/plain", std::string(400'000, 'y'));
  while (client.buffer().size() < 400'000 && client.read_some()) ::usleep(1000);
  EXPECT_EQ(client.response().body.size(), 400'000u);
}

TEST_F(HttpLimitsTest, RefusesConnectionsOverTheLimits) {
  options.limits.max_connections = 3;
  options.limits.max_connections_per_peer = 2;
  start();
  RawClient first(server_->port()), second(server_->port());
  first.send(get("/hello"));
  second.send(get("/hello"));
  EXPECT_EQ(first.response().status, 200);
  EXPECT_EQ(second.response().status, 200);
  RawClient third(server_->port());
  const RawResponse refused = third.response();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.field("Retry-After"), "1");
  EXPECT_EQ(server_->counters().connections_refused, 1u);
  first.close();
  EXPECT_TRUE(eventually([&] { return server_->counters().connections_open == 1; }));
  EXPECT_EQ(ask(get("/hello")).status, 200);
}

}  // namespace
}  // namespace trireme::test
