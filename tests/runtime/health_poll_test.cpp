#include "runtime/health_poll.h"

#include <gtest/gtest.h>

#include "base/check.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;

TEST(HealthPoll, AsksAtOnceAndThenOncePerPeriod) {
  int asked = 0;
  HealthPoll poll([&] { ++asked; });
  const TimePoint begin = TimePoint{} + std::chrono::hours(1);
  for (int ms = 0; ms < 1000; ++ms) poll(begin + milliseconds(ms));
  EXPECT_EQ(asked, 1000 / int(HealthPoll::kPeriod.count()));
}

TEST(HealthPoll, PassesOnWhatItsQuestionThrows) {
  HealthPoll poll([] { CHECK(false) << "a peer failed"; });
  EXPECT_THROW(poll(), InternalError);
}

}  // namespace
}  // namespace trireme
