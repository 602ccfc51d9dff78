#include "runtime/sampling/batch_builder.h"

#include <algorithm>

namespace trireme {
namespace {

SampleKind sample_kind(OutputKind kind) {
  switch (kind) {
    case OutputKind::draw: return SampleKind::draw;
    case OutputKind::score: return SampleKind::score;
    case OutputKind::candidates: return SampleKind::candidates;
    case OutputKind::verify:
    case OutputKind::pool: break;
  }
  CHECK(false) << "an output of kind" << int(kind);
  return SampleKind::draw;
}

SampleRow sample_row(const PlanOutput& output, const SlotInfo& slot) {
  const SlotSampling& sampling = slot.sampling;
  SampleRow row;
  row.kind = int32_t(sample_kind(output.kind));
  row.slot = output.slot;
  row.target = output.target;
  row.choice = sampling.choice;
  row.seed = sampling.seed;
  row.temperature = sampling.temperature;
  row.top_k = sampling.top_k;
  row.top_p = sampling.top_p;
  row.min_p = sampling.min_p;
  row.typical_p = sampling.typical_p;
  row.repetition_penalty = sampling.repetition_penalty;
  row.presence_penalty = sampling.presence_penalty;
  row.frequency_penalty = sampling.frequency_penalty;
  row.top_logprobs = output.top_logprobs;
  row.num_candidates = output.num_candidates;
  return row;
}

// The row's bias: the slot's and the step's, both ascending by id, as one list; -inf plus anything stays -inf.
void add_bias(SampleBatch& batch, SampleRow& row, const SlotLists* lists, std::span<const TokenId> ids,
              std::span<const float> values) {
  row.bias_begin = int32_t(batch.bias_ids.size());
  const size_t fixed = lists ? lists->bias_ids.size() : 0;
  for (size_t i = 0, j = 0; i < fixed || j < ids.size();) {
    const TokenId a = i < fixed ? lists->bias_ids[i] : INT32_MAX, b = j < ids.size() ? ids[j] : INT32_MAX;
    batch.bias_ids.push_back(std::min(a, b));
    float& value = batch.bias_values.emplace_back(0.0f);
    if (a <= b) value += lists->bias_values[i++];
    if (b <= a) value += values[j++];
  }
  row.bias_count = int32_t(batch.bias_ids.size()) - row.bias_begin;
}

// One more mask: the slot's allowed ids, and of these what the row's mask of this step allows.
void add_allowed(SampleBatch& batch, SampleRow& row, const std::vector<TokenId>& allowed, int64_t vocab_size) {
  const size_t words = size_t((vocab_size + 31) / 32), begin = batch.masks.size();
  batch.masks.resize(begin + words, 0);
  for (TokenId id : allowed) batch.masks[begin + size_t(id >> 5)] |= uint32_t(1) << (id & 31);
  if (row.mask_row >= 0)
    for (size_t i = 0; i < words; ++i) batch.masks[begin + i] &= batch.masks[size_t(row.mask_row) * words + i];
  row.mask_row = int32_t(begin / words);
}

}  // namespace

// All that add_row() reads of an output.
bool SampleBatchBuilder::is_as_before(std::span<const PlanOutput> outputs) const {
  return slots_version_ == slots_.version() &&
         std::ranges::equal(outputs, outputs_, [](const PlanOutput& a, const PlanOutput& b) {
           return a.kind == b.kind && a.slot == b.slot && a.target == b.target && a.top_logprobs == b.top_logprobs &&
                  a.num_candidates == b.num_candidates && a.suppress == b.suppress;
         });
}

const SampleBatch& SampleBatchBuilder::build(std::span<const PlanOutput> outputs, const SamplingOrders* orders) {
  if (!orders && !outputs.empty() && is_as_before(outputs)) return batch_;
  outputs_.clear();
  if (!orders) outputs_.assign(outputs.begin(), outputs.end());
  slots_version_ = slots_.version();
  batch_.number = ++num_batches_;
  batch_.rows.clear();
  batch_.suppressed.clear();
  batch_.bias_ids.clear();
  batch_.bias_values.clear();
  if (orders)
    batch_.masks = orders->masks;
  else
    batch_.masks.clear();
  for (size_t i = 0; i < outputs.size(); ++i) add_row(outputs[i], i, orders);
  return batch_;
}

void SampleBatchBuilder::add_row(const PlanOutput& output, size_t i, const SamplingOrders* orders) {
  const SlotInfo& slot = slots_.info(output.slot);
  SampleRow row = sample_row(output, slot);
  if (output.suppress) {
    row.suppress_begin = int32_t(batch_.suppressed.size());
    row.suppress_count = int32_t(slot.suppressed.size());
    batch_.suppressed.insert(batch_.suppressed.end(), slot.suppressed.begin(), slot.suppressed.end());
  }
  const bool is_score = output.kind == OutputKind::score;  // of the raw logits: nothing is processed
  if (orders && !orders->mask_rows.empty()) row.mask_row = orders->mask_rows.at(i);
  if (!is_score && slot.lists && !slot.lists->allowed.empty())
    add_allowed(batch_, row, slot.lists->allowed, vocab_size_);
  std::span<const TokenId> bias_ids;
  std::span<const float> bias_values;
  if (orders && !orders->bias_begin.empty()) {
    const auto begin = size_t(orders->bias_begin.at(i)), count = size_t(orders->bias_begin.at(i + 1)) - begin;
    bias_ids = std::span(orders->bias_ids).subspan(begin, count);
    bias_values = std::span(orders->bias_values).subspan(begin, count);
  }
  if (!is_score) add_bias(batch_, row, slot.lists.get(), bias_ids, bias_values);
  batch_.rows.push_back(row);
}

void read_outputs(StepResult& result, const ShardSampler& sampler, int entry, size_t num_outputs) {
  const SampleAnswer* answers = sampler.answers(entry);
  result.outputs.reserve(result.outputs.size() + num_outputs);
  for (size_t i = 0; i < num_outputs; ++i) {
    const SampleAnswer& answer = answers[i];
    OutputResult& output = result.outputs.emplace_back();
    output.token = {answer.id, answer.logprob};
    output.rank = answer.rank;
    output.non_finite = answer.non_finite != 0;
    output.candidates.reserve(size_t(answer.candidate_count));
    for (int32_t c = 0; c < answer.candidate_count; ++c) {
      const SampleEntry& candidate = sampler.candidates(entry, int(i))[c];
      output.candidates.push_back({candidate.id, candidate.value, candidate.raw});
    }
    output.top.reserve(size_t(answer.top_count));
    for (int32_t t = 0; t < answer.top_count; ++t) output.top.push_back({answer.top_ids[t], answer.top_logprobs[t]});
  }
}

}  // namespace trireme
