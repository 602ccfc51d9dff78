#include "base/fault_injection.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"

namespace trireme {
namespace {

TEST(FaultInjection, ReadsOrders) {
  const std::vector<FaultOrder> orders = parse_fault_orders("1:step12:kill;0:sampling:throw:3@2,4;2:request7:hang");
  ASSERT_EQ(orders.size(), 3u);
  EXPECT_EQ(orders[0], (FaultOrder{1, FaultPoint::step, 12, FaultAction::kill, 1, {}}));
  EXPECT_EQ(orders[1], (FaultOrder{0, FaultPoint::sampling, -1, FaultAction::throw_error, 3, {2, 4}}));
  EXPECT_EQ(orders[2], (FaultOrder{2, FaultPoint::request, 7, FaultAction::hang, 1, {}}));
  EXPECT_TRUE(parse_fault_orders("").empty());
}

TEST(FaultInjection, RefusesWhatItCannotRead) {
  for (const char* text : {"1", "1:step:kill", "x:load:kill", "1:lunch:kill", "1:load:sing", "1:load:kill:0", "1:load:kill@0",
                           "1:load:kill:1:1", "1:step99999999999999999999:kill"})
    EXPECT_THROW(parse_fault_orders(text), ConfigError) << text;
}

TEST(FaultInjection, ActsOnceAtTheCountedPassOfItsRankAndAttempt) {
  setenv("TRIREME_FAULT", "1:load:throw:2@3;1:step4:throw", 1);
  arm_faults(0, 3);
  EXPECT_FALSE(any_fault_armed);
  arm_faults(1, 2);
  fault_point(FaultPoint::load);
  fault_point(FaultPoint::load);
  fault_point(FaultPoint::step, 3);
  EXPECT_THROW(fault_point(FaultPoint::step, 4), InternalError);
  arm_faults(1, 3);
  fault_point(FaultPoint::load);
  EXPECT_THROW(fault_point(FaultPoint::load), InternalError);
  fault_point(FaultPoint::load);
  unsetenv("TRIREME_FAULT");
}

}  // namespace
}  // namespace trireme
