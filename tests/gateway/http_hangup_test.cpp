// Clients that leave before their answer is whole.

#include "tests/gateway/http_server_fixture.h"

namespace trireme::test {
namespace {

class HttpHangup : public HttpServerTest {};

TEST_F(HttpHangup, NoticesAClientThatLeavesWhileItsAnswerIsPending) {
  start();
  for (const bool resets : {false, true}) {
    RawClient client(server_->port());
    const auto exchange = hold(client);
    const int before = held_->hangups;
    if (resets) {
      client.reset();
    } else {
      client.close();
    }
    EXPECT_TRUE(eventually([&] { return held_->hangups == before + 1; }));
    exchange->respond(200, "text/plain", "to nobody");
    bool called = false;
    exchange->on_hangup([&] { called = true; });
    EXPECT_TRUE(called) << "at once if it has left";
  }
  EXPECT_TRUE(eventually([&] { return server_->counters().connections_open == 0; }));
  EXPECT_EQ(server_->counters().hangups, 2u);
}

TEST_F(HttpHangup, NoticesAClientThatLeavesInMidStream) {
  RawClient client(start().port());
  const auto exchange = hold_stream(client);
  exchange->write("data: 1\n\n");
  ASSERT_TRUE(client.read_until("data: 1"));
  client.close();
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
  exchange->write("data: 2\n\n");
  exchange->end_stream();
  EXPECT_EQ(exchange->unsent_bytes(), 0u);
}

TEST_F(HttpHangup, TakesAHalfCloseForLeavingUnlessTheAnswerIsThere) {
  start();
  RawClient quick(server_->port());
  quick.send(get("/hello") + get("/hello"));
  quick.half_close();
  EXPECT_EQ(quick.response().body, "hello");
  EXPECT_EQ(quick.response().body, "hello");
  RawClient slow(server_->port());
  const auto exchange = hold(slow);
  slow.half_close();
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
  RawClient behind(server_->port());
  behind.send(get("/hello") + get("/hold"));
  behind.half_close();
  EXPECT_EQ(behind.response().body, "hello");
  EXPECT_TRUE(eventually([&] { return held_->hangups == 2; }));
}

TEST_F(HttpHangup, AnswersAHalfClosedClientIfToldTo) {
  options.allow_half_close = true;
  RawClient client(start().port());
  client.send(get("/hold"));
  client.half_close();
  const auto exchange = held_->take();
  ::usleep(20'000);
  exchange->respond(200, "text/plain", "late");
  EXPECT_EQ(client.response().body, "late");
  EXPECT_TRUE(client.closed_by_server());
}

}  // namespace
}  // namespace trireme::test
