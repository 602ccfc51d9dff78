#include "runtime/sampling/shard_sampler.h"

#include <algorithm>

#include "kernels/pinned_copy.h"
#include "kernels/sample_rows.h"
#include "runtime/sampling/shard_exchange.h"
#include "runtime/sampling/step_buffers.h"

namespace trireme {
namespace {

Gathered at_offset(Gathered gathered, int64_t bytes) { return {gathered.data + bytes, gathered.shard_bytes}; }

size_t first_round_bytes(int max_rows) {
  return size_t(max_rows) * (sizeof(SampleHead) + (kMaxTopLogprobs + kSampleCandidates) * sizeof(SampleEntry)) + 64;
}

void check_row(const SampleRow& row, const SampleBatch& batch, int64_t slots) {
  CHECK(row.slot >= 0 && (is_score(row) || row.slot < slots)) << "ShardSampler: slot";
  CHECK(row.top_logprobs >= 0 && row.top_logprobs <= kMaxTopLogprobs) << "ShardSampler: top_logprobs";
  CHECK(!is_beam(row) || (row.num_candidates >= 1 && row.num_candidates <= kSampleCandidates))
      << "ShardSampler: num_candidates" << row.num_candidates;
  CHECK(row.suppress_begin >= 0 && row.suppress_count >= 0) << "ShardSampler: suppressed ids";
  CHECK_LE(size_t(row.suppress_begin) + size_t(row.suppress_count), batch.suppressed.size())
      << "ShardSampler: suppressed ids";
  CHECK(row.bias_begin >= 0 && row.bias_count >= 0) << "ShardSampler: bias";
  CHECK_LE(size_t(row.bias_begin) + size_t(row.bias_count), batch.bias_ids.size()) << "ShardSampler: bias";
}

}  // namespace

struct ShardSampler::State {
  State(Device device, Communicator& group, const ShardSamplerOptions& options);

  void enqueue(StepBuffers& buffers, const SampleBatch& batch, TensorView logits, const SlotState& slots,
               const Stream& stream);

 private:
  void check(const SampleBatch& batch, const TensorView& logits, const SlotState& slots) const;
  void upload(StepBuffers& buffers, const SampleBatch& batch, const Stream& stream);
  void use_orders(const SampleShard& orders);
  void draw(StepBuffers& buffers, const Stream& stream);
  void join_shards(int32_t* ids, const FirstRoundLayout& layout, const Stream& stream);
  void cut_and_draw(Gathered candidates, const Stream& stream);
  Gathered gather_stats(bool for_typical, const Stream& stream);
  void search(SampleSearch search, Gathered stats, const Stream& stream);
  void count_ranks(const Stream& stream);
  void find_candidates(StepBuffers& buffers, const Stream& stream);

  Device device_;
  ShardLinks links_;
  ShardSamplerOptions options_;
  ShardExchange first_round_, small_, bins_;
  Tensor z_, states_;
  SampleLayout layout_;
  uint64_t planned_number_ = 0;  // SampleBatch::number of layout_
  SampleShard shard_;  // of the step being enqueued

 public:
  std::vector<std::unique_ptr<StepBuffers>> ring;
};

ShardSampler::State::State(Device device, Communicator& group, const ShardSamplerOptions& options)
    : device_(device),
      links_{group, group.size() > 1 ? options.peers : nullptr},
      options_(options),
      first_round_(device, first_round_bytes(options.max_rows), links_),
      small_(device, size_t(options.max_rows) * std::max(sizeof(SampleStats), sizeof(SampleBest)), links_),
      bins_(device, size_t(options.max_rows) * kSampleBins * sizeof(uint64_t), links_),
      z_(DType::f32, {std::max<int64_t>(1, options.max_rows * options.vocab.size())}, device),
      states_(DType::u8, {options.max_rows * int64_t(sizeof(SampleState))}, device) {
  CHECK(options.max_rows > 0 && options.ring > 0) << "ShardSampler: sizes";
  CHECK_LE(options.vocab_size, kMaxSampledVocab) << "ShardSampler: the fixed-point masses hold this many ids";
  CHECK_LE(group.size(), kMaxSampleShards) << "ShardSampler: shards";
  CHECK(options.vocab.begin >= 0 && options.vocab.end <= options.vocab_size) << "ShardSampler: range of ids";
  layout_.index.reserve(size_t(options.max_rows));
  for (int i = 0; i < options.ring; ++i) ring.push_back(std::make_unique<StepBuffers>(device, options.max_rows));
}

void ShardSampler::State::check(const SampleBatch& batch, const TensorView& logits, const SlotState& slots) const {
  const int64_t rows = int64_t(batch.rows.size());
  CHECK(logits.rank() == 2 && logits.dim(0) >= rows) << "ShardSampler: logits" << logits.shape_text();
  CHECK_EQ(logits.dim(1), options_.vocab.size()) << "ShardSampler: logits";
  CHECK(logits.dtype() == DType::f32 && logits.device() == device_) << "ShardSampler: logits" << logits.shape_text();
  if (batch.number != 0 && batch.number == planned_number_) return;
  CHECK_LE(rows, options_.max_rows) << "ShardSampler: rows";
  CHECK_EQ(batch.bias_ids.size(), batch.bias_values.size()) << "ShardSampler: bias";
  const int64_t words = (options_.vocab_size + 31) / 32;
  for (const SampleRow& row : batch.rows) {
    check_row(row, batch, slots.length.elements());
    CHECK_LE((row.mask_row + 1) * words, int64_t(batch.masks.size())) << "ShardSampler: masks";
  }
  if (!layout_.penalties) return;
  CHECK(slots.counts.rank() == 2 && slots.counts.contiguous()) << "ShardSampler: penalties need the slots' counts";
  CHECK_EQ(slots.counts.dim(1), options_.vocab.size()) << "ShardSampler: counts";
}

void ShardSampler::State::upload(StepBuffers& buffers, const SampleBatch& batch, const Stream& stream) {
  const auto bytes = [](const auto& values) { return values.size() * sizeof(values[0]); };
  UploadBuffer& upload = buffers.upload;
  upload.begin(UploadBuffer::padded(bytes(batch.rows)) + UploadBuffer::padded(bytes(layout_.index)) +
               UploadBuffer::padded(bytes(batch.suppressed)) + UploadBuffer::padded(bytes(batch.masks)) +
               UploadBuffer::padded(bytes(batch.bias_ids)) + UploadBuffer::padded(bytes(batch.bias_values)));
  const auto add = [&]<typename T>(const std::vector<T>& values) {
    return static_cast<const T*>(upload.add(values.data(), values.size() * sizeof(T)));
  };
  SampleShard& orders = buffers.orders;
  orders.rows = add(batch.rows);
  orders.index = add(layout_.index);
  orders.suppressed = add(batch.suppressed);
  orders.masks = add(batch.masks);
  orders.bias_ids = add(batch.bias_ids);
  orders.bias_values = add(batch.bias_values);
  upload.send(stream);
  buffers.batch_number = batch.number;
  buffers.beam_of_row.clear();
  for (const SampleIndex& index : layout_.index) buffers.beam_of_row.push_back(index.beam);
}

void ShardSampler::State::use_orders(const SampleShard& orders) {
  shard_.rows = orders.rows;
  shard_.index = orders.index;
  shard_.suppressed = orders.suppressed;
  shard_.masks = orders.masks;
  shard_.bias_ids = orders.bias_ids;
  shard_.bias_values = orders.bias_values;
}

void ShardSampler::State::enqueue(StepBuffers& buffers, const SampleBatch& batch, TensorView logits,
                                  const SlotState& slots, const Stream& stream) {
  if (batch.rows.empty()) return;
  if (batch.number == 0 || batch.number != planned_number_) layout_.plan(batch, options_.vocab_size);
  check(batch, logits, slots);
  planned_number_ = batch.number;
  shard_ = SampleShard{.states = reinterpret_cast<SampleState*>(states_.data()),
                       .answers = buffers.device_answers(),
                       .num_rows = int32_t(batch.rows.size()),
                       .num_top = layout_.num_top,
                       .num_candidates = layout_.num_candidates,
                       .num_open = layout_.num_open,
                       .num_rank = layout_.num_rank,
                       .num_beam = layout_.num_beam,
                       .shard = links_.group.rank(),
                       .num_shards = links_.group.size(),
                       .vocab_begin = int32_t(options_.vocab.begin),
                       .vocab_local = int32_t(options_.vocab.size()),
                       .vocab_size = int32_t(options_.vocab_size),
                       .logits = static_cast<const float*>(logits.data()),
                       .logits_stride = logits.stride(0),
                       .z = z_.as<float>(),
                       .mask_words = int32_t((options_.vocab_size + 31) / 32),
                       .length = static_cast<const int32_t*>(slots.length.data()),
                       .counts = static_cast<const uint16_t*>(layout_.penalties ? slots.counts.data() : nullptr),
                       .only_greedy = layout_.only_greedy,
                       .device = device_};
  if (batch.number == 0 || batch.number != buffers.batch_number) upload(buffers, batch, stream);
  use_orders(buffers.orders);

  draw(buffers, stream);
  if (shard_.num_beam > 0) find_candidates(buffers, stream);
  copy_to_host(buffers.host_answers, buffers.answers.data(), size_t(shard_.num_rows) * sizeof(SampleAnswer), stream);
}

void ShardSampler::State::draw(StepBuffers& buffers, const Stream& stream) {
  const FirstRoundLayout layout(shard_);
  char* const part = first_round_.as<char>();
  auto* heads = reinterpret_cast<SampleHead*>(part);
  auto* tops = reinterpret_cast<SampleEntry*>(part + layout.tops);
  auto* candidates = reinterpret_cast<SampleEntry*>(part + layout.candidates);
  auto* ids = buffers.ids.as<int32_t>();
  if (shard_.num_shards == 1 && sample_whole_rows(ids, heads, tops, candidates, shard_, stream)) return;
  sample_first_round(heads, tops, candidates, shard_, stream);
  join_shards(ids, layout, stream);
}

void ShardSampler::State::join_shards(int32_t* ids, const FirstRoundLayout& layout, const Stream& stream) {
  const bool in_one = links_.through_peers(size_t(layout.bytes), device_);
  Gathered first{first_round_.all(), layout.bytes};
  if (in_one) {
    sample_resolve_with_peers(ids, first_round_.all(), first_round_.as<char>(), shard_, *links_.peers, stream);
  } else {
    first = first_round_.gather(size_t(layout.bytes), stream);
    sample_resolve(shard_, first, at_offset(first, layout.tops), at_offset(first, layout.candidates), stream);
  }
  if (shard_.num_open > 0) cut_and_draw(at_offset(first, layout.candidates), stream);
  if (shard_.num_rank > 0) count_ranks(stream);
  if (!in_one || shard_.num_open > 0) sample_ids(ids, shard_, stream);
}

// Rows whose cut candidates may not prove. Which searches run depends on the orders alone; a row that is
// answered already takes no part.
void ShardSampler::State::cut_and_draw(Gathered candidates, const Stream& stream) {
  Gathered stats = gather_stats(false, stream);
  sample_resolve_open(shard_, stats, candidates, stream);
  if (layout_.search_top_k) search(SampleSearch::count, stats, stream);
  if (layout_.search_top_p) {
    if (layout_.after_top_k) stats = gather_stats(false, stream);
    search(SampleSearch::mass, stats, stream);
  }
  if (layout_.search_typical) {
    stats = gather_stats(true, stream);
    search(SampleSearch::typical, stats, stream);
  }
  sample_draw(small_.as<SampleBest>(), shard_, stream);
  sample_finish(shard_, small_.gather(size_t(shard_.num_open) * sizeof(SampleBest), stream), stream);
}

Gathered ShardSampler::State::gather_stats(bool for_typical, const Stream& stream) {
  sample_stats(small_.as<SampleStats>(), shard_, for_typical, stream);
  return small_.gather(size_t(shard_.num_open) * sizeof(SampleStats), stream);
}

void ShardSampler::State::search(SampleSearch search, Gathered stats, const Stream& stream) {
  sample_search_begin(shard_, search, stats, stream);
  for (int pass = 0; pass < kSearchPasses; ++pass) {
    sample_histogram(bins_.as<uint64_t>(), shard_, search, pass, stream);
    const size_t bytes = size_t(shard_.num_open) * kSampleBins * sizeof(uint64_t);
    sample_search_step(shard_, search, pass, bins_.gather(bytes, stream), stream);
  }
}

void ShardSampler::State::count_ranks(const Stream& stream) {
  sample_rank(small_.as<int32_t>(), shard_, stream);
  sample_finish_rank(shard_, small_.gather(size_t(shard_.num_rank) * sizeof(int32_t), stream), stream);
}

// Two rounds: the masses relative to the row's global maximum, then each shard's best. The first round's memory is
// free again.
void ShardSampler::State::find_candidates(StepBuffers& buffers, const Stream& stream) {
  sample_beam_masses(small_.as<uint64_t>(), shard_, stream);
  const size_t masses = size_t(shard_.num_beam) * sizeof(uint64_t);
  sample_beam_values(shard_, small_.gather(masses, stream), stream);
  const size_t bytes = size_t(shard_.num_beam) * kSampleCandidates * sizeof(SampleEntry);
  sample_beam_candidates(first_round_.as<SampleEntry>(), shard_, stream);
  sample_merge_candidates(buffers.device_candidates(), shard_, first_round_.gather(bytes, stream), stream);
  copy_to_host(buffers.host_candidates, buffers.candidates.data(), bytes, stream);
}

ShardSampler::ShardSampler(Device device, Communicator& tp_group, const ShardSamplerOptions& options)
    : state_(std::make_unique<State>(device, tp_group, options)) {}

ShardSampler::~ShardSampler() = default;

void ShardSampler::enqueue(int entry, const SampleBatch& batch, TensorView logits, const SlotState& state,
                           const Stream& stream) {
  CHECK(entry >= 0 && entry < int(state_->ring.size())) << "ShardSampler: ring entry";
  state_->enqueue(*state_->ring[size_t(entry)], batch, logits, state, stream);
}

TensorView ShardSampler::drawn_ids(int entry, int64_t rows) const {
  return state_->ring.at(size_t(entry))->ids.view().slice(0, 0, rows);
}

const SampleAnswer* ShardSampler::answers(int entry) const { return state_->ring.at(size_t(entry))->host_answers; }

const SampleEntry* ShardSampler::candidates(int entry, int row) const {
  const StepBuffers& buffers = *state_->ring.at(size_t(entry));
  const int32_t beam = buffers.beam_of_row.at(size_t(row));
  CHECK_GE(beam, 0) << "ShardSampler: row" << row << "asked for no candidates";
  return buffers.host_candidates + int64_t(beam) * kSampleCandidates;
}

}  // namespace trireme
