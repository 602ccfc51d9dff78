#include "kernels/sample.h"

#include "base/sampling_rule.h"
#include "kernels/backend.h"
#include "kernels/cpu/sample.h"
#include "kernels/cuda/sample.h"
#include "kernels/peer_gather.h"

namespace trireme {

static void check_shard(const SampleShard& shard) {
  CHECK(shard.rows && shard.index && shard.states && shard.answers) << "sample: orders and state";
  CHECK(shard.logits || shard.vocab_local == 0) << "sample: logits";
  CHECK(shard.vocab_local >= 0 && shard.vocab_begin >= 0) << "sample: range of ids";
  CHECK_LE(shard.vocab_begin + shard.vocab_local, shard.vocab_size) << "sample: range of ids";
  CHECK_LE(int64_t(shard.vocab_size), kMaxSampledVocab) << "sample: vocabulary";
  CHECK_LE(shard.num_shards, kMaxSampleShards) << "sample: shards";
}

bool sample_whole_rows(int32_t* ids, SampleHead* heads, SampleEntry* tops, SampleEntry* candidates,
                       const SampleShard& shard, const Stream& stream) {
  check_shard(shard);
  CHECK_EQ(shard.num_shards, 1) << "sample_whole_rows: shards";
  BACKEND_RETURN(shard.device, sample_whole_rows(ids, heads, tops, candidates, shard, stream));
}

void sample_first_round(SampleHead* heads, SampleEntry* tops, SampleEntry* candidates, const SampleShard& shard,
                        const Stream& stream) {
  check_shard(shard);
  BACKEND(shard.device, sample_first_round(heads, tops, candidates, shard, stream));
}

void sample_heads(SampleHead* heads, const SampleShard& shard, const Stream& stream) {
  check_shard(shard);
  BACKEND(shard.device, sample_heads(heads, shard, stream));
}

void sample_tops(SampleEntry* tops, const SampleShard& shard, const Stream& stream) {
  if (shard.num_top == 0) return;
  BACKEND(shard.device, sample_tops(tops, shard, stream));
}

void sample_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream& stream) {
  if (shard.num_candidates == 0) return;
  BACKEND(shard.device, sample_candidates(candidates, shard, stream));
}

void sample_resolve(const SampleShard& shard, Gathered heads, Gathered tops, Gathered candidates,
                    const Stream& stream) {
  check_shard(shard);
  BACKEND(shard.device, sample_resolve(shard, heads, tops, candidates, stream));
}

void sample_resolve_with_peers(int32_t* ids, char* all, const char* parts, const SampleShard& shard,
                               const PeerBuffers& peers, const Stream& stream) {
  check_shard(shard);
  CHECK(peers.size == shard.num_shards && peers.rank == shard.shard) << "sample_resolve_with_peers: the shards' ranks";
  if (shard.num_rows == 0) return;
  CHECK_LE(FirstRoundLayout(shard).bytes, peer_gather_bytes(peers, shard.device)) << "sample_resolve_with_peers: bytes";
  BACKEND(shard.device, sample_resolve_with_peers(ids, all, parts, shard, peers, stream));
}

void sample_stats(SampleStats* stats, const SampleShard& shard, bool for_typical, const Stream& stream) {
  BACKEND(shard.device, sample_stats(stats, shard, for_typical, stream));
}

void sample_resolve_open(const SampleShard& shard, Gathered stats, Gathered candidates, const Stream& stream) {
  BACKEND(shard.device, sample_resolve_open(shard, stats, candidates, stream));
}

void sample_search_begin(const SampleShard& shard, SampleSearch search, Gathered stats, const Stream& stream) {
  BACKEND(shard.device, sample_search_begin(shard, search, stats, stream));
}

void sample_histogram(uint64_t* bins, const SampleShard& shard, SampleSearch search, int pass, const Stream& stream) {
  CHECK(pass >= 0 && pass < kSearchPasses) << "sample_histogram";
  BACKEND(shard.device, sample_histogram(bins, shard, search, pass, stream));
}

void sample_search_step(const SampleShard& shard, SampleSearch search, int pass, Gathered bins, const Stream& stream) {
  CHECK(pass >= 0 && pass < kSearchPasses) << "sample_search_step";
  BACKEND(shard.device, sample_search_step(shard, search, pass, bins, stream));
}

void sample_draw(SampleBest* best, const SampleShard& shard, const Stream& stream) {
  BACKEND(shard.device, sample_draw(best, shard, stream));
}

void sample_finish(const SampleShard& shard, Gathered best, const Stream& stream) {
  BACKEND(shard.device, sample_finish(shard, best, stream));
}

void sample_rank(int32_t* greater, const SampleShard& shard, const Stream& stream) {
  BACKEND(shard.device, sample_rank(greater, shard, stream));
}

void sample_finish_rank(const SampleShard& shard, Gathered greater, const Stream& stream) {
  BACKEND(shard.device, sample_finish_rank(shard, greater, stream));
}

void sample_beam_masses(uint64_t* masses, const SampleShard& shard, const Stream& stream) {
  BACKEND(shard.device, sample_beam_masses(masses, shard, stream));
}

void sample_beam_values(const SampleShard& shard, Gathered masses, const Stream& stream) {
  BACKEND(shard.device, sample_beam_values(shard, masses, stream));
}

void sample_beam_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream& stream) {
  BACKEND(shard.device, sample_beam_candidates(candidates, shard, stream));
}

void sample_merge_candidates(SampleEntry* merged, const SampleShard& shard, Gathered candidates, const Stream& stream) {
  BACKEND(shard.device, sample_merge_candidates(merged, shard, candidates, stream));
}

void sample_ids(int32_t* ids, const SampleShard& shard, const Stream& stream) {
  if (shard.num_rows == 0) return;
  BACKEND(shard.device, sample_ids(ids, shard, stream));
}

}  // namespace trireme
