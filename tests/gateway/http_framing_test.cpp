// Framing by RFC 9112, one table: each case is fed to the framer whole and split at every byte, and sent to a server.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gateway/http/http_framer.h"
#include "gateway/http/http_server.h"
#include "tests/gateway/http_client.h"

namespace trireme::test {
namespace {

struct Case {
  std::string name;
  std::string bytes;
  int status = 200;        // 200: taken
  std::string body = "";   // of a request that is taken
  std::string path = "/";  // likewise
};

FramingLimits limits() {
  FramingLimits limits;
  limits.max_body_bytes = 4096;
  return limits;
}

std::string repeat(std::string_view text, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

std::string get(const std::string& fields, const std::string& line = "GET / HTTP/1.1") {
  return line + "\r\nHost: a\r\n" + fields + "\r\n";
}
std::string post(const std::string& fields, const std::string& body) {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body;
}
std::string chunked(const std::string& body, const std::string& fields = "") {
  return post("Transfer-Encoding: chunked\r\n" + fields, body);
}

std::vector<Case> request_line_cases() {
  const auto line = [](const std::string& text) { return text + "\r\nHost: a\r\n\r\n"; };
  return {
      {"plain GET", line("GET / HTTP/1.1")},
      {"one empty line first", "\r\n" + line("GET / HTTP/1.1")},
      {"two empty lines first", "\r\n\r\n" + line("GET / HTTP/1.1"), 400},
      {"leading space", " " + line("GET / HTTP/1.1"), 400},
      {"two spaces after method", line("GET  / HTTP/1.1"), 400},
      {"two spaces before version", line("GET /  HTTP/1.1"), 400},
      {"tab for a space", line("GET\t/ HTTP/1.1"), 400},
      {"trailing space", line("GET / HTTP/1.1 "), 400},
      {"no version (HTTP/0.9)", line("GET /"), 400},
      {"no target", line("GET HTTP/1.1"), 400},
      {"method alone", line("GET"), 400},
      {"method with a colon", line("G:T / HTTP/1.1"), 400},
      {"method with brackets", line("GE(T / HTTP/1.1"), 400},
      {"method too long", line(std::string(33, 'A') + " / HTTP/1.1"), 400},
      {"non-ASCII method", line("G\xc3\x89T / HTTP/1.1"), 400},
      {"TLS hello", std::string("\x16\x03\x01\x02\x00\x01", 6), 400},
      {"NUL first", std::string("\0", 1), 400},
      {"lower-case version", line("GET / http/1.1"), 400},
      {"version 1.1x", line("GET / HTTP/1.1x"), 400},
      {"version 11", line("GET / HTTP/11"), 400},
      {"version 1.", line("GET / HTTP/1."), 400},
      {"version 01.1", line("GET / HTTP/01.1"), 400},
      {"version 1.2", line("GET / HTTP/1.2"), 505},
      {"version 2.0 (preface)", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"target without slash", line("GET index HTTP/1.1"), 400},
      {"asterisk for GET", line("GET * HTTP/1.1"), 400},
      {"CONNECT authority", line("CONNECT a:80 HTTP/1.1"), 400},
      {"fragment", line("GET /#x HTTP/1.1"), 400},
      {"space in target", line("GET /a b HTTP/1.1"), 400},
      {"NUL in target", line(std::string("GET /a\0b HTTP/1.1", 17)), 400},
      {"control in target", line("GET /a\x01 HTTP/1.1"), 400},
      {"raw non-ASCII target", line("GET /\xc3\xa9 HTTP/1.1"), 400},
      {"percent-decoded", line("GET /%2f%C3%A9%20 HTTP/1.1"), 200, "", "//\xc3\xa9 "},
      {"percent NUL", line("GET /%00 HTTP/1.1"), 400},
      {"percent LF", line("GET /%0a HTTP/1.1"), 400},
      {"percent cut off", line("GET /%2 HTTP/1.1"), 400},
      {"percent not hex", line("GET /%zz HTTP/1.1"), 400},
      {"percent not UTF-8", line("GET /%ff HTTP/1.1"), 400},
      {"percent backslash", line("GET /%5c HTTP/1.1"), 400},
      {"dot segments", line("GET /a/../b HTTP/1.1"), 400},
      {"hidden dot segments", line("GET /a/%2e%2E/b HTTP/1.1"), 400},
      {"dots behind a hidden slash", line("GET /a%2f..%2fb HTTP/1.1"), 400},
      {"one dot", line("GET /./a HTTP/1.1"), 400},
      {"dots in a name", line("GET /a..b/.c HTTP/1.1"), 200, "", "/a..b/.c"},
      {"query", line("GET /a?b=%zz&c[]=1 HTTP/1.1"), 200, "", "/a"},
      {"target too long", line("GET /" + std::string(8192, 'a') + " HTTP/1.1"), 414},
      {"endless target", "GET /" + std::string(20000, 'a'), 414},
      {"absolute form", line("GET http://a/b HTTP/1.1"), 200, "", "/b"},
      {"absolute form, bare host", line("GET http://A?q HTTP/1.1"), 200, "", "/"},
      {"absolute form, other host", line("GET http://b/ HTTP/1.1"), 400},
      {"absolute form with user", line("GET http://u@a/ HTTP/1.1"), 400},
      {"absolute form, other scheme", line("GET ftp://a/ HTTP/1.1"), 400},
  };
}

std::vector<Case> field_cases() {
  std::string fields;
  for (int i = 0; i < 100; ++i) fields += "X-" + std::to_string(i) + ": v\r\n";
  return {
      {"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
      {"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
      {"bare LF ends the head", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
      {"CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400},
      {"bare CR in a value", get("X: a\rb\r\n"), 400},
      {"bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"NUL in a value", get(std::string("X: a\0b\r\n", 8)), 400},
      {"NUL in a name", get(std::string("X\0: a\r\n", 7)), 400},
      {"DEL in a value", get("X: a\x7f\r\n"), 400},
      {"obs-text in a value", get("X: \xc3\xa9\r\n")},
      {"tab in a value", get("X: a\tb\r\n")},
      {"empty value", get("X:\r\n")},
      {"no space after the colon", get("X:a\r\n")},
      {"space before the colon", get("X : a\r\n"), 400},
      {"tab before the colon", get("X\t: a\r\n"), 400},
      {"no colon", get("X\r\n"), 400},
      {"empty name", get(": a\r\n"), 400},
      {"non-ASCII name", get("\xc3\xa9: a\r\n"), 400},
      {"name with a slash", get("X/Y: a\r\n"), 400},
      {"obs-fold with a space", get("X: a\r\n b\r\n"), 400},
      {"obs-fold with a tab", get("X: a\r\n\tb\r\n"), 400},
      {"folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      {"folded Content-Length", post("Content-Length:\r\n 3\r\n", "abc"), 400},
      {"101 fields", get(fields), 431},
      {"99 and Host", get(fields.substr(0, fields.rfind("X-")))},
      {"header too large", get("X: " + std::string(17000, 'a') + "\r\n"), 431},
      {"endless header line", "GET / HTTP/1.1\r\nX: " + std::string(20000, 'a'), 431},
      {"many long fields", get(repeat("X: " + std::string(1000, 'a') + "\r\n", 17)), 431},
      {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two Hosts", get("Host: a\r\n"), 400},
      {"two different Hosts", get("host: b\r\n"), 400},
      {"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
      {"Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
      {"Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
      {"Host with a bad port", "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", 400},
      {"Host with a port", "GET / HTTP/1.1\r\nHost: a:8000\r\n\r\n"},
      {"Host IPv6", "GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n"},
      {"Host IPv6 open", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
      {"two Authorizations", get("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400},
      {"two Content-Types", get("Content-Type: a/b\r\nContent-Type: a/c\r\n"), 400},
      {"Upgrade ignored", get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n")},
      {"unknown expectation", post("Expect: magic\r\nContent-Length: 1\r\n", "a"), 417},
      {"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n"},
      {"HTTP/1.0 with two Hosts", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400},
  };
}

std::vector<Case> length_cases() {
  return {
      {"Content-Length", post("Content-Length: 3\r\n", "abc"), 200, "abc"},
      {"Content-Length 0", post("Content-Length: 0\r\n", "")},
      {"POST without a length", post("", "")},
      {"GET with a body", get("Content-Length: 2\r\n") + "ab", 200, "ab"},
      {"blanks around the length", post("Content-Length: \t 3 \t\r\n", "abc"), 200, "abc"},
      {"length +3", post("Content-Length: +3\r\n", "abc"), 400},
      {"length -1", post("Content-Length: -1\r\n", "abc"), 400},
      {"length 0x3", post("Content-Length: 0x3\r\n", "abc"), 400},
      {"length 3.0", post("Content-Length: 3.0\r\n", "abc"), 400},
      {"length 1e1", post("Content-Length: 1e1\r\n", "abc"), 400},
      {"length 03", post("Content-Length: 03\r\n", "abc"), 400},
      {"length 3 3", post("Content-Length: 3 3\r\n", "abc"), 400},
      {"length list 3, 3", post("Content-Length: 3, 3\r\n", "abc"), 400},
      {"length list 3,4", post("Content-Length: 3,4\r\n", "abc"), 400},
      {"length empty", post("Content-Length:\r\n", ""), 400},
      {"length 2^64", post("Content-Length: 18446744073709551616\r\n", ""), 400},
      {"length 2^64 + 3", post("Content-Length: 18446744073709551619\r\n", "abc"), 400},
      {"length 2^63", post("Content-Length: 9223372036854775808\r\n", ""), 400},
      {"length in other digits", post("Content-Length: \xd9\xa3\r\n", "abc"), 400},
      {"equal lengths twice", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400},
      {"different lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), 400},
      {"length twice, other case", post("Content-Length: 3\r\ncontent-length: 3\r\n", "abc"), 400},
      {"length over the limit", post("Content-Length: 4097\r\n", ""), 413},
      {"length at the limit", post("Content-Length: 4096\r\n", std::string(4096, 'x')), 200, std::string(4096, 'x')},
      {"CL then TE", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
      {"TE then CL", post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"), 400},
      {"TE and a bad CL", post("Transfer-Encoding: chunked\r\nContent-Length: x\r\n", "0\r\n\r\n"), 400},
      {"TE xchunked", post("Transfer-Encoding: xchunked\r\n", ""), 400},
      {"TE chunked;q=1", post("Transfer-Encoding: chunked;q=1\r\n", ""), 400},
      {"TE identity", post("Transfer-Encoding: identity\r\n", ""), 400},
      {"TE gzip", post("Transfer-Encoding: gzip\r\n", ""), 400},
      {"TE gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400},
      {"TE chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400},
      {"TE chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400},
      {"TE twice", chunked("0\r\n\r\n", "Transfer-Encoding: chunked\r\n"), 400},
      {"TE twice, one gzip", chunked("0\r\n\r\n", "Transfer-Encoding: gzip\r\n"), 400},
      {"TE empty", post("Transfer-Encoding:\r\n", ""), 400},
      {"TE \"chunked\"", post("Transfer-Encoding: \"chunked\"\r\n", ""), 400},
      {"TE with a vertical tab", post("Transfer-Encoding: \vchunked\r\n", ""), 400},
      {"TE CHUNKED", post("Transfer-Encoding: CHUNKED\r\n", "0\r\n\r\n")},
      {"TE on HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
  };
}

std::vector<Case> chunk_cases() {
  return {
      {"chunks", chunked("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 200, "abcde"},
      {"hexadecimal size", chunked("A\r\n0123456789\r\n0\r\n\r\n"), 200, "0123456789"},
      {"leading zeros in a size", chunked("003\r\nabc\r\n000\r\n\r\n"), 200, "abc"},
      {"extension", chunked("3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n"), 200, "abc"},
      {"no data", chunked("0\r\n\r\n")},
      {"data with CRLF", chunked("4\r\n\r\n\r\n\r\n0\r\n\r\n"), 200, "\r\n\r\n"},
      {"trailers", chunked("1\r\na\r\n0\r\nX: y\r\nZ: w\r\n\r\n"), 200, "a"},
      {"trailer Content-Length", chunked("0\r\nContent-Length: 5\r\n\r\n"), 400},
      {"trailer Transfer-Encoding", chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
      {"trailer Host", chunked("0\r\nHost: b\r\n\r\n"), 400},
      {"trailer Authorization", chunked("0\r\nAuthorization: Bearer x\r\n\r\n"), 400},
      {"trailer without a colon", chunked("0\r\nX\r\n\r\n"), 400},
      {"trailer with bare LF", chunked("0\r\nX: y\n\r\n"), 400},
      {"folded trailer", chunked("0\r\nX: y\r\n z\r\n\r\n"), 400},
      {"trailers too large", chunked("0\r\n" + repeat("X: " + std::string(1000, 'a') + "\r\n", 17) + "\r\n"), 431},
      {"200 trailers", chunked("0\r\n" + repeat("X: y\r\n", 200) + "\r\n"), 431},
      {"size 0x3", chunked("0x3\r\nabc\r\n0\r\n\r\n"), 400},
      {"size 0_3", chunked("0_3\r\nabc\r\n0\r\n\r\n"), 400},
      {"size -3", chunked("-3\r\nabc\r\n0\r\n\r\n"), 400},
      {"size +3", chunked("+3\r\nabc\r\n0\r\n\r\n"), 400},
      {"size with a space before", chunked(" 3\r\nabc\r\n0\r\n\r\n"), 400},
      {"size with a space behind", chunked("3 \r\nabc\r\n0\r\n\r\n"), 400},
      {"size with a space before the extension", chunked("3 ;a\r\nabc\r\n0\r\n\r\n"), 400},
      {"no size", chunked("\r\nabc\r\n0\r\n\r\n"), 400},
      {"extension without a size", chunked(";a\r\nabc\r\n0\r\n\r\n"), 400},
      {"size 2^64", chunked("10000000000000000\r\nabc\r\n0\r\n\r\n"), 400},
      {"size 2^64 + 3 (17 digits)", chunked("10000000000000003\r\nabc\r\n0\r\n\r\n"), 400},
      {"size 2^63", chunked("8000000000000000\r\nabc\r\n0\r\n\r\n"), 400},
      {"size 2^63 - 1", chunked("7fffffffffffffff\r\nabc\r\n0\r\n\r\n"), 413},
      {"size with many zeros", chunked(std::string(20, '0') + "3\r\nabc\r\n0\r\n\r\n"), 400},
      {"size line ends in LF", chunked("3\nabc\r\n0\r\n\r\n"), 400},
      {"bare LF in an extension", chunked("3;a\nbc\r\nabc\r\n0\r\n\r\n"), 400},
      {"bare CR in an extension", chunked("3;a\rb\r\nabc\r\n0\r\n\r\n"), 400},
      {"NUL in an extension", chunked(std::string("3;a\0b\r\nabc\r\n0\r\n\r\n", 18)), 400},
      {"data longer than its size", chunked("2\r\nabc\r\n0\r\n\r\n"), 400},
      {"data ends in LF", chunked("3\r\nabc\n0\r\n\r\n"), 400},
      {"data without an end", chunked("3\r\nabc0\r\n\r\n"), 400},
      {"last chunk ends in LF", chunked("3\r\nabc\r\n0\n\r\n"), 400},
      {"end ends in LF", chunked("3\r\nabc\r\n0\r\n\n"), 400},
      {"long extension", chunked("3;" + std::string(300, 'a') + "\r\nabc\r\n0\r\n\r\n"), 400},
      {"many extensions", chunked(repeat("1;" + std::string(200, 'a') + "\r\nx\r\n", 30) + "0\r\n\r\n"), 400},
      {"chunks over the limit", chunked(repeat("400\r\n" + std::string(1024, 'a') + "\r\n", 5) + "0\r\n\r\n"), 413},
      {"chunks at the limit", chunked(repeat("400\r\n" + std::string(1024, 'a') + "\r\n", 4) + "0\r\n\r\n"), 200,
       std::string(4096, 'a')},
  };
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto& part : {request_line_cases(), field_cases(), length_cases(), chunk_cases()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

void expect_outcome(HttpFramer& framer, const Case& one) {
  if (one.status != 200) {
    EXPECT_EQ(framer.error().status, one.status) << framer.error().message;
    return;
  }
  EXPECT_TRUE(framer.complete()) << framer.error().message;
  EXPECT_EQ(framer.request().body, one.body);
  EXPECT_EQ(framer.request().path, one.path);
}

TEST(HttpFraming, JudgesEachCaseWhole) {
  EXPECT_GE(all_cases().size(), 150u);
  for (const Case& one : all_cases()) {
    SCOPED_TRACE(one.name);
    HttpFramer framer(limits());
    framer.feed(one.bytes);
    expect_outcome(framer, one);
  }
}

TEST(HttpFraming, JudgesEachCaseTheSameByteByByte) {
  for (const Case& one : all_cases()) {
    SCOPED_TRACE(one.name);
    HttpFramer framer(limits());
    for (const char byte : one.bytes) framer.feed({&byte, 1}, true);
    expect_outcome(framer, one);
  }
}

TEST(HttpFraming, JudgesEachShortCaseTheSameInAnyTwoParts) {
  for (const Case& one : all_cases()) {
    if (one.bytes.size() > 400) continue;
    for (size_t cut = 0; cut <= one.bytes.size(); ++cut) {
      SCOPED_TRACE(one.name + " cut at " + std::to_string(cut));
      HttpFramer framer(limits());
      framer.feed(std::string_view(one.bytes).substr(0, cut));
      framer.feed(std::string_view(one.bytes).substr(cut));
      expect_outcome(framer, one);
    }
  }
}

TEST(HttpFraming, LeavesTheNextRequestAlone) {
  HttpFramer framer(limits());
  const std::string first = post("Content-Length: 3\r\n", "abc"), second = chunked("1\r\nz\r\n0\r\n\r\n");
  const std::string both = first + second;
  EXPECT_EQ(framer.feed(both), first.size());
  EXPECT_TRUE(framer.complete());
  framer.reset();
  EXPECT_FALSE(framer.started());
  EXPECT_EQ(framer.feed(std::string_view(both).substr(first.size())), second.size());
  EXPECT_EQ(framer.request().body, "z");
}

TEST(HttpFraming, KeepsAliveByVersionAndField) {
  const auto keeps = [](const std::string& bytes) {
    HttpFramer framer(limits());
    framer.feed(bytes);
    EXPECT_TRUE(framer.complete()) << framer.error().message;
    return framer.keep_alive();
  };
  EXPECT_TRUE(keeps(get("")));
  EXPECT_FALSE(keeps(get("Connection: close\r\n")));
  EXPECT_FALSE(keeps(get("Connection: x, CLOSE\r\n")));
  EXPECT_FALSE(keeps(get("Connection: keep-alive\r\nConnection: close\r\n")));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"));
}

// ---- the same cases through a server

class FramingServer : public ::testing::Test {
 protected:
  static HttpServerOptions options() {
    HttpServerOptions options;
    options.port = 0;
    options.limits.framing = limits();
    return options;
  }
  static std::vector<Route> routes() {
    const Handler echo = [](std::shared_ptr<Exchange> exchange) {
      exchange->respond(200, "text/plain", exchange->request().path + "\n" + exchange->request().body);
    };
    return {{"GET", "/", Access::open, echo},      {"POST", "/", Access::open, echo}, {"GET", "/*", Access::open, echo},
            {"POST", "/*", Access::open, echo}};
  }
  void SetUp() override { server_.start(); }
  HttpServer server_{options(), routes()};
};

TEST_F(FramingServer, AnswersEachCaseAndClosesAfterAnError) {
  for (const Case& one : all_cases()) {
    SCOPED_TRACE(one.name);
    RawClient client(server_.port());
    client.send(one.bytes);
    const RawResponse answer = client.response();
    ASSERT_EQ(answer.status, one.status) << answer.body;
    if (one.status == 200) {
      EXPECT_EQ(answer.body, one.path + "\n" + one.body);
      continue;
    }
    EXPECT_EQ(answer.field("Connection"), "close");
    EXPECT_EQ(answer.field("Content-Type"), "application/json");
    EXPECT_NE(answer.body.find("{\"error\":{\"message\":"), std::string::npos);
    EXPECT_TRUE(client.buffer().empty()) << "a second answer";
    EXPECT_TRUE(client.closed_by_server());
  }
}

TEST_F(FramingServer, AnswersSplitAtEveryByte) {
  const std::vector<Case> cases = {
      {"chunks", chunked("3;e\r\nabc\r\n0\r\nX: y\r\n\r\n"), 200, "abc"},
      {"length", post("Content-Length: 3\r\n", "abc"), 200, "abc"},
      {"CL and TE", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
      {"bare LF", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
  };
  for (const Case& one : cases) {
    for (size_t cut = 1; cut < one.bytes.size(); ++cut) {
      SCOPED_TRACE(one.name + " cut at " + std::to_string(cut));
      RawClient client(server_.port());
      client.send(one.bytes.substr(0, cut));
      ::usleep(200);
      client.send(one.bytes.substr(cut));
      ASSERT_EQ(client.response().status, one.status);
    }
  }
}

TEST_F(FramingServer, TakesNothingBehindAMalformedRequestForARequest) {
  RawClient client(server_.port());
  client.send(post("Transfer-Encoding: xchunked\r\n", "") + get("") + get(""));
  EXPECT_EQ(client.response().status, 400);
  while (client.read_some()) {
  }
  EXPECT_TRUE(client.buffer().empty());
  EXPECT_EQ(server_.counters().answers[200], 0u);
  EXPECT_EQ(server_.counters().requests_malformed, 1u);
}

}  // namespace
}  // namespace trireme::test
