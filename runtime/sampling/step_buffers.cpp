#include "runtime/sampling/step_buffers.h"

#include <cstring>

#include "kernels/pinned_copy.h"
#include "kernels/sample_rows.h"

namespace trireme {

static SampleIndex index_of(const SampleRow& row, SampleLayout& layout, int32_t vocab_size) {
  SampleIndex index;
  if (row.top_logprobs > 0) index.top = layout.num_top++;
  if (must_count_rank(row)) index.rank = layout.num_rank++;
  if (is_beam(row)) index.beam = layout.num_beam++;
  if (has_cut(row, vocab_size)) index.candidates = layout.num_candidates++;
  if (!is_open(row, vocab_size)) return index;
  index.open = layout.num_open++;
  layout.search_top_k |= has_top_k(row, vocab_size);
  layout.search_top_p |= has_top_p(row);
  layout.search_typical |= has_typical_p(row);
  layout.after_top_k |= has_top_k(row, vocab_size) && has_top_p(row);
  return index;
}

void SampleLayout::plan(const SampleBatch& batch, int64_t vocab_size) {
  index.clear();
  num_top = num_candidates = num_open = num_rank = num_beam = 0;
  search_top_k = search_top_p = search_typical = after_top_k = penalties = false;
  only_greedy = true;
  for (const SampleRow& row : batch.rows) {
    index.push_back(index_of(row, *this, int32_t(vocab_size)));
    penalties |= !is_score(row) && has_penalties(row);
    only_greedy &= draws(row) && is_greedy(row) && !is_processed(row) && row.top_logprobs == 0 && !must_count_rank(row);
  }
}

UploadBuffer::~UploadBuffer() { pinned_free(host_); }

void UploadBuffer::begin(size_t bytes) {
  used_ = 0;
  if (bytes <= capacity_) return;
  const size_t grown = bytes > 2 * capacity_ ? bytes : 2 * capacity_;
  pinned_free(host_);
  host_ = nullptr;
  capacity_ = 0;
  host_ = static_cast<char*>(pinned_allocate(grown));
  if (device_.is_cuda()) on_device_ = Tensor(DType::u8, {int64_t(grown)}, device_);
  capacity_ = grown;
}

const void* UploadBuffer::add(const void* data, size_t bytes) {
  CHECK_LE(used_ + bytes, capacity_) << "UploadBuffer";
  if (bytes) std::memcpy(host_ + used_, data, bytes);
  const char* base = device_.is_cuda() ? static_cast<const char*>(on_device_.data()) : host_;
  const void* place = base + used_;
  used_ += padded(bytes);
  return place;
}

void UploadBuffer::send(const Stream& stream) {
  if (device_.is_cuda()) copy_to_device(on_device_.data(), host_, used_, stream);
}

// What a step without masks and lists uploads.
static size_t order_bytes(int max_rows) {
  return UploadBuffer::padded(size_t(max_rows) * sizeof(SampleRow)) +
         UploadBuffer::padded(size_t(max_rows) * sizeof(SampleIndex));
}

StepBuffers::StepBuffers(Device device, int max_rows)
    : upload(device, order_bytes(max_rows)),
      answers(DType::u8, {int64_t(max_rows) * int64_t(sizeof(SampleAnswer))}, device),
      ids(DType::i32, {max_rows}, device),
      candidates(DType::u8, {max_rows * int64_t(kSampleCandidates * sizeof(SampleEntry))}, device),
      host_answers(static_cast<SampleAnswer*>(pinned_allocate(size_t(max_rows) * sizeof(SampleAnswer)))),
      host_candidates(static_cast<SampleEntry*>(pinned_allocate(size_t(candidates.view().bytes())))) {
  beam_of_row.reserve(size_t(max_rows));
  for (int i = 0; i < max_rows; ++i) host_answers[i] = SampleAnswer{};
}

StepBuffers::~StepBuffers() {
  pinned_free(host_answers);
  pinned_free(host_candidates);
}

}  // namespace trireme
