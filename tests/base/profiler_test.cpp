#include "base/profiler.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/progress.h"

namespace trireme {
namespace {

TEST(KernelCategory, FollowsFromTheNameOfAKernelOrAnOp) {
  const auto category = [](const char* name) { return kernel_category(name); };
  for (const char* name : {"void trireme::cuda::(anonymous namespace)::paged_attention_kernel<128, 16>(float*)",
                           "decode_attention_kernel", "merge_splits_kernel", "kv_append(cache, k, v)",
                           "rope_append_kernel"})
    EXPECT_EQ(category(name), SpanCategory::attention) << name;
  for (const char* name :
       {"nvjet_sm90_tst_64x8_64x16_4x1_v_bz_TNT", "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize64x64x64",
        "void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16>(sample::Params)",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float>(cublasSplitKParams<float>)", "skinny_linear_kernel",
        "void gemvNSP_kernel<__nv_bfloat16>(int)", "linear(out, x, weight, {}, stream)"})
    EXPECT_EQ(category(name), SpanCategory::gemm) << name;
  for (const char* name : {"void trireme::cuda::(anonymous namespace)::draw_kernel(trireme::SampleRow const*)",
                           "sample_heads(batch)", "histogram_kernel", "search_step_kernel", "resolve_open_kernel",
                           "merge_candidates_kernel", "beam_masses_kernel", "rank_kernel", "ids_kernel"})
    EXPECT_EQ(category(name), SpanCategory::sampling) << name;
  for (const char* name : {"rms_norm_kernel", "head_square_sums_kernel", "gated_kernel", "rope_kernel",
                           "void add_partial_kernel<nccl_word>(int)", "add_bias_kernel", "silu_mul(out, in)"})
    EXPECT_EQ(category(name), SpanCategory::norm) << name;
  for (const char* name : {"embed_kernel", "gather_rows_kernel", "apply_draws_kernel", "resolve_tokens_kernel",
                           "update_block_table_kernel", "open_slots_kernel"})
    EXPECT_EQ(category(name), SpanCategory::embedding) << name;
  for (const char* name : {"ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
                           "all_reduce_sum", "recv", "all_gather",
                           "void trireme::cuda::all_reduce_one_shot_kernel<2, 1>(trireme::cuda::Args)"})
    EXPECT_EQ(category(name), SpanCategory::communication) << name;
  EXPECT_EQ(category("memcpy host to device"), SpanCategory::copies);
  EXPECT_EQ(category("copy_blocks_kernel"), SpanCategory::copies);
  EXPECT_EQ(category("mark_progress_kernel"), SpanCategory::other);
  EXPECT_EQ(category("something else"), SpanCategory::other);
  EXPECT_EQ(category(""), SpanCategory::other);
}

TEST(Profiler, RecordsNothingWhileItIsOff) {
  prepare_profiling(kCpu);
  rank_progress().tick("linear(x)");
  { const HostSpan span("emit", kEngineLane); }
  start_profiling();
  EXPECT_TRUE(profiling());
  EXPECT_TRUE(stop_profiling().spans.empty());
  EXPECT_FALSE(profiling());
}

TEST(Profiler, AnOpLastsUntilTheNextOneOrTheEnd) {
  prepare_profiling(kCpu);
  start_profiling();
  rank_progress().tick("rms_norm(out, x)");
  rank_progress().tick("linear(out, x)");
  end_op();
  end_op();  // none is open
  const Recording recording = stop_profiling();
  ASSERT_EQ(recording.spans.size(), 2u);
  const TraceSpan &norm = recording.spans[0], &linear = recording.spans[1];
  EXPECT_EQ(norm.name, "rms_norm");
  EXPECT_EQ(norm.category, SpanCategory::norm);
  EXPECT_EQ(linear.name, "linear");
  EXPECT_EQ(linear.lane, kOpLane);
  EXPECT_LE(norm.start_ns, norm.end_ns);
  EXPECT_LE(linear.start_ns, linear.end_ns);
  EXPECT_LE(norm.start_ns, linear.start_ns);
}

TEST(Profiler, TakesHostSpansOfSeveralThreads) {
  prepare_profiling(kCpu);
  start_profiling();
  std::thread engine([] { const HostSpan span("schedule", kEngineLane); });
  { const HostSpan span("execute", kWorkerLane); }
  engine.join();
  const Recording recording = stop_profiling();
  ASSERT_EQ(recording.spans.size(), 2u);
  for (const TraceSpan& span : recording.spans) EXPECT_EQ(span.category, SpanCategory::host);
}

TEST(Profiler, CountsWhatItHasNoRoomFor) {
  prepare_profiling(kCpu);
  start_profiling();
  for (size_t i = 0; i < kMaxSpans + 3; ++i) add_span({"x", SpanCategory::other, kOpLane, 1, 2, false});
  add_dropped_spans(2);
  const Recording recording = stop_profiling();
  EXPECT_EQ(recording.spans.size(), kMaxSpans);
  EXPECT_EQ(recording.dropped, 5);
}

}  // namespace
}  // namespace trireme
