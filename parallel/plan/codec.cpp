#include "parallel/plan/codec.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "base/check.h"

namespace trireme {
namespace {

// Layout: u32 version and kind, i64 step, then the fields in the order plan.h declares them, packed; a vector
// is a u32 count and its elements. Numbers are little-endian, as on every machine we build for.
static_assert(std::endian::native == std::endian::little);
constexpr uint32_t kPlanVersion = 0x50000002;       // 'P', layout 2
constexpr uint32_t kSamplingVersion = 0x53000001;   // 'S', layout 1

class Writer {
 public:

  template <typename T>
  void number(const T& value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    append(&value, sizeof(T));
  }
  void flag(const bool& value) { number(uint8_t(value)); }
  template <typename T>
  void numbers(const std::vector<T>& values) {
    number(count_of(values));
    append(values.data(), values.size() * sizeof(T));
  }
  template <typename T, typename Field>
  void list(const std::vector<T>& values, size_t /*smallest*/, Field field) {
    number(count_of(values));
    for (const T& value : values) field(*this, value);
  }
  void reserve(size_t bytes) { bytes_.reserve(bytes); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  template <typename T>
  static uint32_t count_of(const std::vector<T>& values) {
    CHECK_LE(values.size(), size_t(UINT32_MAX)) << "plan codec: vector too long";
    return uint32_t(values.size());
  }
  void append(const void* data, size_t size) {
    const std::byte* begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }
  std::vector<std::byte> bytes_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  void number(T& value) {
    copy(&value, sizeof(T));
  }
  void flag(bool& value) {
    uint8_t byte = 0;
    number(byte);
    CHECK_LE(int(byte), 1) << "plan codec: flag";
    value = byte != 0;
  }
  template <typename T>
  void numbers(std::vector<T>& values) {
    values.resize(count(sizeof(T)));
    copy(values.data(), values.size() * sizeof(T));
  }
  template <typename T, typename Field>
  void list(std::vector<T>& values, size_t smallest, Field field) {
    values.resize(count(smallest));
    for (T& value : values) field(*this, value);
  }
  void finish() const { CHECK(bytes_.empty()) << "plan codec:" << bytes_.size() << "bytes left over"; }

 private:
  // A count is believed only when that many of the smallest elements fit into what is left, so that a wrong
  // one cannot ask for more memory than a small multiple of the message.
  size_t count(size_t smallest) {
    uint32_t value = 0;
    number(value);
    CHECK_LE(size_t(value), bytes_.size() / smallest) << "plan codec: count beyond the message's end";
    return value;
  }
  void copy(void* data, size_t size) {
    CHECK_LE(size, bytes_.size()) << "plan codec: message cut short";
    if (size > 0) std::memcpy(data, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  std::span<const std::byte> bytes_;
};

// One function per type serves both directions (Value is const when writing), so the two cannot disagree.

template <typename Coder, typename Value>
void sampling_fields(Coder& coder, Value& s) {
  coder.number(s.seed);
  coder.number(s.choice);
  coder.number(s.temperature);
  coder.number(s.top_k);
  coder.number(s.top_p);
  coder.number(s.min_p);
  coder.number(s.typical_p);
  coder.number(s.repetition_penalty);
  coder.number(s.presence_penalty);
  coder.number(s.frequency_penalty);
  coder.flag(s.penalize_prompt);
}
constexpr size_t kSlotOrderBytes = 1 + 4 * 4 + 8 + 4 * 9 + 1 + 5 * 4 + 4;   // with empty vectors
constexpr auto slot_order_fields = [](auto& coder, auto& order) {
  coder.number(order.kind);
  coder.number(order.slot);
  coder.number(order.source);
  coder.number(order.adapter);
  coder.number(order.prompt_length);
  sampling_fields(coder, order.sampling);
  coder.numbers(order.history);
  coder.numbers(order.suppressed);
  coder.numbers(order.lists.bias_ids);
  coder.numbers(order.lists.bias_values);
  coder.numbers(order.lists.allowed);
  coder.number(order.token);
};

constexpr size_t kBlockOrderBytes = 2 + 4 * 4;
constexpr auto block_order_fields = [](auto& coder, auto& order) {
  coder.number(order.kind);
  coder.number(order.group);
  coder.number(order.slot);
  coder.number(order.index);
  coder.number(order.block);
  coder.number(order.source);
};

constexpr size_t kRowBytes = 4 * 4;
constexpr auto row_fields = [](auto& coder, auto& row) {
  coder.number(row.slot);
  coder.number(row.start);
  coder.number(row.count);
  coder.number(row.ids_begin);
};

constexpr size_t kOutputBytes = 4 + 5 * 4;
constexpr auto output_fields = [](auto& coder, auto& output) {
  coder.number(output.kind);
  coder.number(output.slot);
  coder.number(output.row);
  coder.number(output.offset);
  coder.number(output.position);
  coder.number(output.target);
  coder.number(output.top_logprobs);
  coder.number(output.num_candidates);
  coder.flag(output.suppress);
};

template <typename Coder, typename Plan>
void plan_fields(Coder& coder, Plan& plan) {
  coder.number(plan.step);
  coder.flag(plan.shutdown);
  coder.flag(plan.sampling_follows);
  coder.number(plan.draws_needed);
  coder.list(plan.slots, kSlotOrderBytes, slot_order_fields);
  coder.list(plan.blocks, kBlockOrderBytes, block_order_fields);
  coder.list(plan.rows, kRowBytes, row_fields);
  coder.numbers(plan.row_ids);
  coder.list(plan.outputs, kOutputBytes, output_fields);
}

template <typename Coder, typename Orders>
void sampling_orders_fields(Coder& coder, Orders& orders) {
  coder.number(orders.step);
  coder.numbers(orders.mask_rows);
  coder.numbers(orders.masks);
  coder.numbers(orders.bias_begin);
  coder.numbers(orders.bias_ids);
  coder.numbers(orders.bias_values);
}

// What can be checked without the cluster's sizes: kinds, signs, and every index into the message itself.
void check_slot_order(const SlotOrder& order) {
  CHECK_LE(int(order.kind), int(SlotOrderKind::close)) << "slot order's kind";
  CHECK(order.slot >= 0 && order.source >= 0) << "slot order: slot" << order.slot << "source" << order.source;
  CHECK(order.adapter >= 0 && order.prompt_length >= 0) << "slot order of slot" << order.slot;
  CHECK_EQ(order.lists.bias_ids.size(), order.lists.bias_values.size()) << "bias of slot" << order.slot;
}

void check_block_order(const BlockOrder& order) {
  CHECK_LE(int(order.kind), int(BlockOrderKind::copy)) << "block order's kind";
  CHECK(order.slot >= 0 && order.index >= 0 && order.block >= 0 && order.source >= 0)
      << "block order: slot" << order.slot << "index" << order.index << "block" << order.block << "source"
      << order.source;
}

void check_row(const PlanRow& row, size_t num_ids) {
  CHECK(row.slot >= 0 && row.start >= 0 && row.count >= 0) << "row of slot" << row.slot;
  if (row.ids_begin == kLastDrawn) {
    CHECK_EQ(row.count, 1) << "row of the last drawn token of slot" << row.slot;
    return;
  }
  CHECK(row.ids_begin >= 0 && int64_t(row.ids_begin) + row.count <= int64_t(num_ids))
      << "row of slot" << row.slot << "ids" << row.ids_begin << "+" << row.count << "of" << num_ids;
}

void check_output(const PlanOutput& output, const std::vector<PlanRow>& rows) {
  CHECK_LE(int(output.kind), int(OutputKind::candidates)) << "output's kind";
  CHECK_LE(int(output.top_logprobs), 20) << "output's top_logprobs";
  CHECK(output.slot >= 0 && output.position >= 0) << "output: slot" << output.slot << "position" << output.position;
  CHECK(output.row >= 0 && size_t(output.row) < rows.size()) << "output: row" << output.row << "of" << rows.size();
  CHECK(output.offset >= 0 && output.offset < rows[size_t(output.row)].count)
      << "output: offset" << output.offset << "in row" << output.row;
}

void check_plan(const StepPlan& plan) {
  CHECK_GE(plan.step, 0) << "plan's step";
  for (const SlotOrder& order : plan.slots) check_slot_order(order);
  for (const BlockOrder& order : plan.blocks) check_block_order(order);
  for (const PlanRow& row : plan.rows) check_row(row, plan.row_ids.size());
  for (const PlanOutput& output : plan.outputs) check_output(output, plan.rows);
}

void check_sampling_orders(const SamplingOrders& orders) {
  CHECK_GE(orders.step, 0) << "sampling orders' step";
  int32_t rows = 0;
  for (int32_t row : orders.mask_rows) {
    CHECK_GE(row, -1) << "mask row";
    rows = std::max(rows, row + (row < INT32_MAX ? 1 : 0));
  }
  CHECK_LE(size_t(rows), orders.masks.size()) << "mask rows beyond the masks";
  CHECK_EQ(orders.bias_ids.size(), orders.bias_values.size()) << "bias ids and values";
  if (orders.bias_begin.empty()) {
    CHECK(orders.bias_ids.empty()) << "bias ids that no output owns";
    return;
  }
  CHECK_EQ(orders.bias_begin.front(), 0) << "bias offsets";
  CHECK(std::is_sorted(orders.bias_begin.begin(), orders.bias_begin.end())) << "bias offsets";
  CHECK_EQ(size_t(orders.bias_begin.back()), orders.bias_ids.size()) << "bias offsets";
  CHECK(orders.mask_rows.empty() || orders.mask_rows.size() + 1 == orders.bias_begin.size())
      << "outputs with masks:" << orders.mask_rows.size() << "bias offsets:" << orders.bias_begin.size();
}

void read_version(Reader& reader, uint32_t expected) {
  uint32_t version = 0;
  reader.number(version);
  CHECK_EQ(version, expected) << "plan codec: version (do all ranks run the same program?)";
}

}  // namespace

std::vector<std::byte> encode_plan(const StepPlan& plan) {
  check_plan(plan);
  Writer writer;
  writer.reserve(64 + plan.slots.size() * kSlotOrderBytes + plan.blocks.size() * kBlockOrderBytes +
                 plan.rows.size() * kRowBytes + plan.row_ids.size() * 4 + plan.outputs.size() * kOutputBytes);
  writer.number(kPlanVersion);
  plan_fields(writer, plan);
  return writer.take();
}

StepPlan decode_plan(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  read_version(reader, kPlanVersion);
  StepPlan plan;
  plan_fields(reader, plan);
  reader.finish();
  check_plan(plan);
  return plan;
}

std::vector<std::byte> encode_sampling_orders(const SamplingOrders& orders) {
  check_sampling_orders(orders);
  Writer writer;
  writer.reserve(64 + 4 * (orders.mask_rows.size() + orders.masks.size() + orders.bias_begin.size() +
                           orders.bias_ids.size() + orders.bias_values.size()));
  writer.number(kSamplingVersion);
  sampling_orders_fields(writer, orders);
  return writer.take();
}

SamplingOrders decode_sampling_orders(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  read_version(reader, kSamplingVersion);
  SamplingOrders orders;
  sampling_orders_fields(reader, orders);
  reader.finish();
  check_sampling_orders(orders);
  return orders;
}

}  // namespace trireme
