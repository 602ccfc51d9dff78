#include "parallel/plan/codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/check.h"

namespace trireme {
namespace {

using Random = std::mt19937_64;
int32_t below(Random& random, int32_t bound) { return int32_t(random() % uint64_t(bound)); }

std::vector<TokenId> random_ids(Random& random, int32_t most) {
  std::vector<TokenId> ids(size_t(below(random, most + 1)));
  for (TokenId& id : ids) id = below(random, 50000);
  return ids;
}

SlotOrder random_slot_order(Random& random) {
  SlotOrder order;
  order.kind = SlotOrderKind(below(random, 4));
  order.slot = below(random, 256);
  order.source = below(random, 256);
  order.adapter = below(random, 4);
  order.prompt_length = below(random, 1000);
  order.sampling = {.seed = random(), .choice = below(random, 8), .temperature = 0.7f, .top_k = below(random, 100),
                    .top_p = 0.9f, .min_p = 0.05f, .typical_p = 0.95f, .repetition_penalty = 1.1f,
                    .presence_penalty = -0.5f, .frequency_penalty = 0.25f, .penalize_prompt = below(random, 2) != 0};
  order.history = random_ids(random, 50);
  order.suppressed = random_ids(random, 3);
  order.lists.bias_ids = random_ids(random, 5);
  order.lists.bias_values.assign(order.lists.bias_ids.size(), -1.5f);
  order.lists.allowed = random_ids(random, 5);
  order.token = below(random, 50000);
  return order;
}

StepPlan random_plan(Random& random) {
  StepPlan plan;
  plan.step = int64_t(random() >> 1);
  plan.shutdown = below(random, 2) != 0;
  plan.sampling_follows = below(random, 2) != 0;
  plan.draws_needed = plan.step - below(random, 3);
  for (int i = below(random, 4); i > 0; --i) plan.slots.push_back(random_slot_order(random));
  for (int i = below(random, 8); i > 0; --i)
    plan.blocks.push_back({BlockOrderKind(below(random, 4)), uint8_t(below(random, 3)), below(random, 256),
                           below(random, 100), below(random, 5000), below(random, 5000)});
  plan.row_ids = random_ids(random, 64);
  for (int i = below(random, 8); i > 0; --i) {
    PlanRow row{below(random, 256), below(random, 1000), 1, kLastDrawn};
    if (!plan.row_ids.empty() && below(random, 2)) {
      row.ids_begin = below(random, int32_t(plan.row_ids.size()));
      row.count = 1 + below(random, int32_t(plan.row_ids.size()) - row.ids_begin);
    }
    plan.rows.push_back(row);
  }
  for (int i = plan.rows.empty() ? 0 : below(random, 8); i > 0; --i) {
    const int32_t row = below(random, int32_t(plan.rows.size()));
    plan.outputs.push_back({OutputKind(below(random, 5)), below(random, 256), row,
                            below(random, plan.rows[size_t(row)].count), below(random, 4096), below(random, 50000) - 1,
                            uint8_t(below(random, 21)), uint8_t(below(random, 65)), below(random, 2) != 0});
  }
  return plan;
}

SamplingOrders random_orders(Random& random) {
  SamplingOrders orders;
  orders.step = int64_t(random() >> 1);
  const int outputs = 1 + below(random, 6);
  int32_t rows = 0;
  for (int i = 0; i < outputs; ++i) orders.mask_rows.push_back(below(random, 2) ? rows++ : -1);
  for (int i = 0; i < rows * 7; ++i) orders.masks.push_back(uint32_t(random()));
  orders.bias_begin.push_back(0);
  for (int i = 0; i < outputs; ++i) {
    for (int k = below(random, 4); k > 0; --k) {
      orders.bias_ids.push_back(below(random, 50000));
      orders.bias_values.push_back(float(below(random, 200)) - 100);
    }
    orders.bias_begin.push_back(int32_t(orders.bias_ids.size()));
  }
  return orders;
}

TEST(PlanCodec, ReturnsEveryPlanAsItWas) {
  Random random(1);
  EXPECT_EQ(decode_plan(encode_plan(StepPlan())), StepPlan());
  for (int i = 0; i < 2000; ++i) {
    const StepPlan plan = random_plan(random);
    ASSERT_EQ(decode_plan(encode_plan(plan)), plan) << "plan " << i;
  }
}

TEST(PlanCodec, ReturnsEverySamplingOrderAsItWas) {
  Random random(2);
  EXPECT_EQ(decode_sampling_orders(encode_sampling_orders(SamplingOrders())), SamplingOrders());
  for (int i = 0; i < 2000; ++i) {
    const SamplingOrders orders = random_orders(random);
    ASSERT_EQ(decode_sampling_orders(encode_sampling_orders(orders)), orders) << "orders " << i;
  }
}

TEST(PlanCodec, PutsVersionAndStepFirstInLittleEndian) {
  StepPlan plan;
  plan.step = 0x0102030405060708;
  const std::vector<std::byte> bytes = encode_plan(plan);
  EXPECT_EQ(bytes[0], std::byte{2});
  for (int i = 0; i < 8; ++i) EXPECT_EQ(bytes[size_t(4 + i)], std::byte(8 - i));
}

TEST(PlanCodec, KeepsADecodeStepSmall) {
  StepPlan plan;
  for (int i = 0; i < 32; ++i) {
    plan.rows.push_back({i, 100, 1, kLastDrawn});
    plan.outputs.push_back({OutputKind::draw, i, i, 0, 101, -1, 0, 0, false});
  }
  EXPECT_LE(encode_plan(plan).size(), size_t(1400));
}

TEST(PlanCodec, RefusesEveryTruncationAndTrailingBytes) {
  Random random(3);
  for (int i = 0; i < 30; ++i) {
    std::vector<std::byte> bytes = encode_plan(random_plan(random));
    for (size_t length = 0; length < bytes.size(); ++length)
      ASSERT_THROW(decode_plan(std::span(bytes).first(length)), InternalError) << length << " of " << bytes.size();
    bytes.push_back(std::byte{0});
    EXPECT_THROW(decode_plan(bytes), InternalError);
    const std::vector<std::byte> orders = encode_sampling_orders(random_orders(random));
    for (size_t length = 0; length < orders.size(); ++length)
      ASSERT_THROW(decode_sampling_orders(std::span(orders).first(length)), InternalError);
  }
}

// Changed bytes decode to a plan that is sound (it encodes to the same bytes again) or not at all.
template <typename Decode, typename Encode>
void mutate(Random& random, std::vector<std::byte> bytes, Decode decode, Encode encode) {
  for (int change = 1 + below(random, 4); change > 0; --change) {
    const size_t at = random() % bytes.size();
    if (below(random, 4) == 0 && at + 4 <= bytes.size()) std::memset(&bytes[at], 0xff, 4);   // a huge count
    else bytes[at] = std::byte(random());
  }
  if (below(random, 8) == 0) bytes.resize(random() % bytes.size());
  try {
    ASSERT_EQ(encode(decode(bytes)), bytes);
  } catch (const InternalError&) {
  }
}

TEST(PlanCodec, MeetsMutatedMessagesWithAnErrorOrASoundPlan) {
  Random random(4);
  for (int i = 0; i < 20000; ++i) {
    mutate(random, encode_plan(random_plan(random)), decode_plan, encode_plan);
    mutate(random, encode_sampling_orders(random_orders(random)), decode_sampling_orders, encode_sampling_orders);
  }
}

TEST(PlanCodec, MeetsNoiseWithAnError) {
  Random random(5);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> bytes(size_t(below(random, 200)));
    for (std::byte& byte : bytes) byte = std::byte(random());
    EXPECT_THROW(decode_plan(bytes), InternalError);
  }
}

TEST(PlanCodec, ChecksIndicesWhenAPlanIsWritten) {
  StepPlan plan;
  plan.rows.push_back({0, 0, 3, 0});
  EXPECT_THROW(encode_plan(plan), InternalError);                        // ids beyond row_ids
  plan.row_ids = {1, 2, 3};
  EXPECT_NO_THROW(encode_plan(plan));
  plan.outputs.push_back({OutputKind::draw, 0, 1, 0, 3, -1, 0, 0, false});
  EXPECT_THROW(encode_plan(plan), InternalError);                        // no row 1
  plan.outputs[0].row = 0;
  plan.outputs[0].offset = 3;
  EXPECT_THROW(encode_plan(plan), InternalError);                        // row 0 has tokens 0..2
  plan.outputs[0].offset = 2;
  EXPECT_NO_THROW(encode_plan(plan));
  plan.rows[0].ids_begin = kLastDrawn;
  EXPECT_THROW(encode_plan(plan), InternalError);                        // the last drawn token is one
}

}  // namespace
}  // namespace trireme
