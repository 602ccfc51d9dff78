// The loops of kernels/cpu/attention.cpp. Included once per loops_*.cpp.
//
// Positions are taken in chunks of 64 from position 0 on. Of one query, one chunk gives
//   s[j]    = scale * (chain of fma over head_dim), capped; positions the query does not see are left out
//   m_c     = max_j s[j],  p[j] = exp(s[j] - m_c),  l_c = sum_j p[j] (64 lanes, a fixed tree)
//   o_c[d]  = chain of fma over ascending j of p[j] v[j, d], from 0
// and chunks are joined in ascending order:
//   m' = max(m, m_c),  a = exp(m - m'),  b = exp(m_c - m'),  l' = l a + l_c b,  o' = o a + o_c b;   out = o / l.
// So a result depends on (position, head_dim, window) and the values, never on what else is computed beside it.

namespace trireme::cpu::TRIREME_ISA {

inline constexpr int kChunk = kAttentionChunk;

// Room for one task, one per thread. Queries are numbered token-major: q = token * heads + head.
struct AttentionScratch {
  alignas(64) float keys[kMaxHeadDim * kChunk];    // [head_dim, 64]: transposed
  alignas(64) float rows[kChunk * kMaxHeadDim];    // keys or values padded to whole vectors, where head_dim is not
  alignas(64) float scores[kMaxQueries * kChunk];  // then probabilities
  alignas(64) float output[kMaxQueries * kMaxHeadDim];
  alignas(64) float queries[kMaxQueries * kMaxHeadDim];
  float maximum[kMaxQueries], sum[kMaxQueries];
  float old_weight[kMaxQueries], new_weight[kMaxQueries];
  int begin[kMaxQueries], end[kMaxQueries];  // positions of this chunk that the query sees
  const float* row_at[kChunk];
};

inline int64_t padded(int64_t head_dim) { return (head_dim + kLanes - 1) / kLanes * kLanes; }

// Pointers to the 64 rows of a chunk; rows past `last_position` repeat the last one, for nobody to use.
inline void find_rows(AttentionScratch& s, const AttentionTask& task, const float* base, int64_t chunk_begin,
                      int64_t last_position) {
  for (int j = 0; j < kChunk; ++j) {
    const int64_t position = chunk_begin + j < last_position ? chunk_begin + j : last_position;
    const int64_t block = task.blocks[position / task.block_size];
    s.row_at[j] = base + block * task.block_stride + position % task.block_size * task.head_dim;
  }
  const int64_t width = padded(task.head_dim);
  if (width == task.head_dim) return;
  for (int j = 0; j < kChunk; ++j) {
    for (int64_t d = 0; d < width; ++d) s.rows[j * width + d] = d < task.head_dim ? s.row_at[j][d] : 0;
    s.row_at[j] = s.rows + j * width;
  }
}

inline void transpose_keys(AttentionScratch& s, const AttentionTask& task, int used) {
  const float* rows[kLanes];
  for (int j = 0; j < used; j += kLanes) {
    for (int64_t d = 0; d < padded(task.head_dim); d += kLanes) {
      for (int r = 0; r < kLanes; ++r) rows[r] = s.row_at[j + r] + d;
      transpose(s.keys + d * kChunk + j, kChunk, rows);
    }
  }
}

// scores[q, j] for kQueries queries and kVectors * 16 positions from j.
template <int kQueries, int kVectors>
inline void score_tile(AttentionScratch& s, const AttentionTask& task, int query, int j) {
  Vector sum[kQueries][kVectors];
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[q][v] = broadcast(0.0f);
  const float* queries = s.queries + query * kMaxHeadDim;
  for (int64_t d = 0; d < task.head_dim; ++d) {
    Vector key[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) key[v] = load(s.keys + d * kChunk + j + v * kLanes);
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
      const Vector value = broadcast(queries[q * kMaxHeadDim + d]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[q][v] = fma(value, key[v], sum[q][v]);
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(s.scores + (query + q) * kChunk + j + v * kLanes, sum[q][v]);
}

// o_c for kQueries queries that see the same positions and kVectors * 16 dimensions from d, joined to the output.
template <int kQueries, int kVectors>
inline void value_tile(AttentionScratch& s, int query, int64_t d) {
  Vector sum[kQueries][kVectors];
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[q][v] = broadcast(0.0f);
  const float* probabilities = s.scores + query * kChunk;
  for (int j = s.begin[query]; j < s.end[query]; ++j) {
    const float* row = s.row_at[j] + d;
    Vector value[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) value[v] = load(row + v * kLanes);
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
      const Vector probability = broadcast(probabilities[q * kChunk + j]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[q][v] = fma(probability, value[v], sum[q][v]);
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    const Vector old_weight = broadcast(s.old_weight[query + q]), new_weight = broadcast(s.new_weight[query + q]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* out = s.output + (query + q) * kMaxHeadDim + d + v * kLanes;
      store(out, fma(load(out), old_weight, mul(sum[q][v], new_weight)));
    }
  }
}

// Calls tile<queries, vectors> over `count` queries from `query` on, in tiles of at most kTileQueries.
template <int kQueries, typename Tile>
inline void each_query_tile(int query, int count, const Tile& tile) {
  while (count >= kQueries) {
    tile.template run<kQueries>(query);
    query += kQueries;
    count -= kQueries;
  }
  if constexpr (kQueries > 1)
    if (count > 0) each_query_tile<kQueries / 2>(query, count, tile);
}

struct ScoreTiles {
  AttentionScratch& s;
  const AttentionTask& task;
  int used;
  template <int kQueries>
  void run(int query) const {
    for (int j = 0; j < used; j += kScoreVectors * kLanes) score_tile<kQueries, kScoreVectors>(s, task, query, j);
  }
};

struct ValueTiles {
  AttentionScratch& s;
  int64_t width;
  template <int kQueries>
  void run(int query) const {
    int64_t d = 0;
    for (; d + kScoreVectors * kLanes <= width; d += kScoreVectors * kLanes)
      value_tile<kQueries, kScoreVectors>(s, query, d);
    for (; d < width; d += kLanes) value_tile<kQueries, 1>(s, query, d);
  }
};

// scores -> probabilities of one query, and the weights of its old and new sums.
inline void softmax_chunk(AttentionScratch& s, const AttentionTask& task, int q) {
  const float minus_infinity = -std::numeric_limits<float>::infinity();
  float* scores = s.scores + q * kChunk;
  Vector score[kChunk / kLanes];
#pragma GCC unroll 4
  for (int v = 0; v < kChunk / kLanes; ++v) {
    score[v] = mul(load(scores + v * kLanes), broadcast(task.scale));
    if (task.soft_cap > 0) {
      const Vector cap = broadcast(task.soft_cap);
      score[v] = mul(cap, tanh(div(score[v], cap)));
    }
  }
  if (s.begin[q] > 0 || s.end[q] < kChunk) {
    for (int v = 0; v < kChunk / kLanes; ++v) store(scores + v * kLanes, score[v]);
    for (int j = 0; j < s.begin[q]; ++j) scores[j] = minus_infinity;
    for (int j = s.end[q]; j < kChunk; ++j) scores[j] = minus_infinity;
    for (int v = 0; v < kChunk / kLanes; ++v) score[v] = load(scores + v * kLanes);
  }
  const float chunk_maximum = max_lanes(max(max(score[0], score[1]), max(score[2], score[3])));
#pragma GCC unroll 4
  for (int v = 0; v < kChunk / kLanes; ++v) {
    score[v] = exp(sub(score[v], broadcast(chunk_maximum)));
    store(scores + v * kLanes, score[v]);
  }
  const float chunk_sum = sum_lanes(add(add(score[0], score[1]), add(score[2], score[3])));
  const float maximum = s.maximum[q] > chunk_maximum ? s.maximum[q] : chunk_maximum;
  alignas(64) float weights[kLanes] = {s.maximum[q] - maximum, chunk_maximum - maximum};
  store(weights, exp(load(weights)));
  s.maximum[q] = maximum;
  s.old_weight[q] = weights[0];
  s.new_weight[q] = weights[1];
  s.sum[q] = std::fma(s.sum[q], weights[0], chunk_sum * weights[1]);
}

// The part of the chunk that each query sees. Returns the end of the last; `first` is the first query that sees any.
inline int find_limits(AttentionScratch& s, const AttentionTask& task, int64_t chunk_begin) {
  int used = 0;
  for (int t = 0; t < task.tokens; ++t) {
    const int64_t position = task.first_position + t;
    int64_t begin = task.window > 0 ? position - task.window + 1 - chunk_begin : 0, end = position + 1 - chunk_begin;
    begin = begin < 0 ? 0 : begin;
    end = end > kChunk ? kChunk : end;
    if (begin >= end) begin = end = 0;
    for (int h = 0; h < task.heads; ++h) {
      s.begin[t * task.heads + h] = int(begin);
      s.end[t * task.heads + h] = int(end);
    }
    used = end > used ? int(end) : used;
  }
  return used;
}

inline void attend_chunk(AttentionScratch& s, const AttentionTask& task, int64_t chunk_begin) {
  const int queries = task.tokens * task.heads;
  const int64_t last_position = task.first_position + task.tokens - 1;
  const int used = find_limits(s, task, chunk_begin);
  int first = 0;
  while (first < queries && s.end[first] == 0) ++first;
  int last = queries;
  while (last > first && s.end[last - 1] == 0) --last;
  if (first == last) return;
  find_rows(s, task, task.keys, chunk_begin, last_position);
  transpose_keys(s, task, used);
  each_query_tile<kScoreQueries>(first, last - first, ScoreTiles{s, task, used});
  for (int q = first; q < last; ++q) softmax_chunk(s, task, q);
  find_rows(s, task, task.values, chunk_begin, last_position);
  for (int q = first; q < last;) {  // runs of queries that see the same positions
    int run = 1;
    while (q + run < last && s.begin[q + run] == s.begin[q] && s.end[q + run] == s.end[q]) ++run;
    each_query_tile<kScoreQueries>(q, run, ValueTiles{s, padded(task.head_dim)});
    q += run;
  }
}

inline void load_queries(AttentionScratch& s, const AttentionTask& task) {
  for (int t = 0; t < task.tokens; ++t) {
    for (int h = 0; h < task.heads; ++h) {
      const int q = t * task.heads + h;
      const float* row = task.q + t * task.q_token_stride + h * task.head_dim;
      for (int64_t d = 0; d < task.head_dim; ++d) s.queries[q * kMaxHeadDim + d] = row[d];
      for (int64_t d = 0; d < padded(task.head_dim); ++d) s.output[q * kMaxHeadDim + d] = 0;
      s.maximum[q] = -std::numeric_limits<float>::infinity();
      s.sum[q] = 0;
    }
  }
}

inline void store_output(const AttentionScratch& s, const AttentionTask& task) {
  for (int t = 0; t < task.tokens; ++t) {
    for (int h = 0; h < task.heads; ++h) {
      const int q = t * task.heads + h;
      float* row = task.out + t * task.out_token_stride + h * task.head_dim;
      for (int64_t d = 0; d < task.head_dim; ++d) row[d] = s.output[q * kMaxHeadDim + d] / s.sum[q];
    }
  }
}

inline void attention(const AttentionTask& task) {
  static thread_local const std::unique_ptr<AttentionScratch> scratch(
      new AttentionScratch);  // for as long as the thread lives
  load_queries(*scratch, task);
  const int64_t last_position = task.first_position + task.tokens - 1;
  int64_t begin = task.window > 0 ? task.first_position - task.window + 1 : 0;
  begin = begin < 0 ? 0 : begin / kChunk * kChunk;
  for (; begin <= last_position; begin += kChunk) attend_chunk(*scratch, task, begin);
  store_output(*scratch, task);
}

}  // namespace trireme::cpu::TRIREME_ISA
