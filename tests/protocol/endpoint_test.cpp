#include "protocol/endpoint.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme {
namespace {

TEST(Endpoint, ComesBackFromItsLine) {
  const FrontEndpoint endpoint{"unix:/a folder/front.sock", make_attempt_key(), 3};
  EXPECT_EQ(parse_endpoint(endpoint_text(endpoint)), endpoint);
}

TEST(Endpoint, RefusesLinesThatAreNone) {
  for (const char* text : {"", "a", "a b", "tcp:h:1 x key", " 1 key"})
    EXPECT_THROW(parse_endpoint(text), ConfigError) << text;
}

TEST(AttemptKey, IsLongAndNeverTheSame) {
  EXPECT_EQ(make_attempt_key().size(), 64u);
  EXPECT_NE(make_attempt_key(), make_attempt_key());
}

TEST(AttemptKey, AnEmptyOneProvesNothing) {
  EXPECT_TRUE(keys_equal("abc", "abc"));
  EXPECT_FALSE(keys_equal("abc", "abd"));
  EXPECT_FALSE(keys_equal("abc", "ab"));
  EXPECT_FALSE(keys_equal("", ""));
}

}  // namespace
}  // namespace trireme
