#pragma once
// The CUDA side of kernels/sample.h.

#include "kernels/sample.h"

namespace trireme::cuda {

// Of a shard with only_greedy that holds some ids (sampling/greedy.cu): the answers of the only one, or one's heads.
void sample_greedy_rows(int32_t* ids, const SampleShard& shard, const Stream& stream);
void sample_greedy_heads(SampleHead* heads, const SampleShard& shard, const Stream& stream);
bool sample_whole_rows(int32_t* ids, SampleHead* heads, SampleEntry* tops, SampleEntry* candidates,
                       const SampleShard& shard, const Stream& stream);
void sample_first_round(SampleHead* heads, SampleEntry* tops, SampleEntry* candidates, const SampleShard& shard,
                        const Stream& stream);
void sample_heads(SampleHead* heads, const SampleShard& shard, const Stream& stream);
void sample_tops(SampleEntry* tops, const SampleShard& shard, const Stream& stream);
void sample_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream& stream);
void sample_resolve(const SampleShard& shard, Gathered heads, Gathered tops, Gathered candidates, const Stream& stream);
void sample_resolve_with_peers(int32_t* ids, char* all, const char* parts, const SampleShard& shard,
                               const PeerBuffers& peers, const Stream& stream);
void sample_stats(SampleStats* stats, const SampleShard& shard, bool for_typical, const Stream& stream);
void sample_resolve_open(const SampleShard& shard, Gathered stats, Gathered candidates, const Stream& stream);
void sample_search_begin(const SampleShard& shard, SampleSearch search, Gathered stats, const Stream& stream);
void sample_histogram(uint64_t* bins, const SampleShard& shard, SampleSearch search, int pass, const Stream& stream);
void sample_search_step(const SampleShard& shard, SampleSearch search, int pass, Gathered bins, const Stream& stream);
void sample_draw(SampleBest* best, const SampleShard& shard, const Stream& stream);
void sample_finish(const SampleShard& shard, Gathered best, const Stream& stream);
void sample_rank(int32_t* greater, const SampleShard& shard, const Stream& stream);
void sample_finish_rank(const SampleShard& shard, Gathered greater, const Stream& stream);
void sample_beam_masses(uint64_t* masses, const SampleShard& shard, const Stream& stream);
void sample_beam_values(const SampleShard& shard, Gathered masses, const Stream& stream);
void sample_beam_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream& stream);
void sample_merge_candidates(SampleEntry* merged, const SampleShard& shard, Gathered candidates, const Stream& stream);
void sample_ids(int32_t* ids, const SampleShard& shard, const Stream& stream);

}  // namespace trireme::cuda
