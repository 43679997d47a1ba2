// Every attention kernel against a reference in double precision, over odd sizes.
#include "engine/kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "engine/aligned_vector.h"
#include "engine/kernels/number.h"

namespace runnel::engine {
namespace {

const std::vector<int> kDims = {2, 6, 14, 16, 18, 20, 24, 32, 34, 40, 62, 64, 66, 80, 96, 126, 128};

class Attention : public testing::TestWithParam<Isa> {
 protected:
  std::vector<float> random(std::size_t n, float scale = 1.0f) {
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> values(n);
    for (float& v : values) v = normal(engine_);
    return values;
  }

  const AttentionKernels& kernels_ = attention_kernels(GetParam());
  std::mt19937 engine_{5};
};

struct Attended {
  std::vector<double> weights;  // [n]
  std::vector<double> out;      // [dim]
  double scatter = 0;           // Σ weight · |v|, of which a float knows one part in 2²⁴
};

/// key(i) and value(i) point to row i.
template <class K, class V>
Attended attend(const float* query, int n, int dim, float scale, K key, V value) {
  Attended a{std::vector<double>(std::size_t(n)), std::vector<double>(std::size_t(dim))};
  for (int i = 0; i < n; ++i) {
    for (int d = 0; d < dim; ++d) a.weights[std::size_t(i)] += double(query[d]) * key(i)[d];
    a.weights[std::size_t(i)] *= scale;
  }
  const double largest = *std::max_element(a.weights.begin(), a.weights.end());
  double sum = 0;
  for (double& w : a.weights) sum += w = std::exp(w - largest);
  for (int i = 0; i < n; ++i) {
    const double w = a.weights[std::size_t(i)] /= sum;
    double most = 0;
    for (int d = 0; d < dim; ++d) {
      a.out[std::size_t(d)] += w * value(i)[d];
      most = std::max(most, std::abs(double(value(i)[d])));
    }
    a.scatter += w * most;
  }
  return a;
}

template <class T>
T narrowed(float x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else
    return f16_of(x);
}

float widened(float x) { return x; }
float widened(std::uint16_t x) { return float_of_f16(x); }

/// Error of the softmax that float scores of this size may have.
double tolerance(float score_size) { return 4e-6 + 6e-7 * score_size; }

template <class T>
void check_one(const AttentionKernels& kernels, std::mt19937& engine, int n, int dim,
               float magnitude) {
  SCOPED_TRACE("n " + std::to_string(n) + ", dim " + std::to_string(dim));
  std::normal_distribution<float> normal;
  const auto size = std::size_t(n) * std::size_t(dim);
  const std::size_t panels = std::size_t(n + 15) / 16;
  const std::ptrdiff_t stride = dim + 3;
  std::vector<float> rows(std::size_t(n * stride)), query(std::size_t(dim), 0.0f);
  for (float& x : rows) x = normal(engine);
  for (float& x : query) x = normal(engine) * magnitude;
  std::vector<T> keys(panels * 16 * std::size_t(dim) + 1, T(7)), values(size);
  std::vector<float> wide_values(size);
  for (std::size_t i = 0; i < size; ++i) {
    values[i] = narrowed<T>(normal(engine));
    wide_values[i] = widened(values[i]);
  }
  (std::is_same_v<T, float> ? kernels.pack_keys_f32 : kernels.pack_keys_f16)(rows.data(), stride, n,
                                                                             dim, keys.data());
  EXPECT_EQ(keys.back(), T(7)) << "packed past the end";
  for (std::size_t i = 0; i < panels * 16; ++i) {
    for (int d = 0; d < dim; ++d) {
      const T packed = keys[(i / 16 * std::size_t(dim) + std::size_t(d)) * 16 + i % 16];
      const float from = int(i) < n ? rows[i * std::size_t(stride) + std::size_t(d)] : 0.0f;
      ASSERT_EQ(packed, narrowed<T>(from)) << "key " << i << ", " << d;
      if (int(i) < n) rows[i * std::size_t(stride) + std::size_t(d)] = widened(packed);
    }
  }
  const float scale = 1.0f / std::sqrt(float(dim));
  const auto exact = attend(
      query.data(), n, dim, scale, [&](int i) { return rows.data() + i * stride; },
      [&](int i) { return wide_values.data() + std::ptrdiff_t(i) * dim; });
  std::vector<float> scratch(panels * 16 + 1, 7.0f), out(std::size_t(dim) + 1, 7.0f);
  const AttendMemory memory{keys.data(), values.data(), n};
  (std::is_same_v<T, float> ? kernels.one_f32 : kernels.one_f16)(query.data(), memory, dim, scale,
                                                                 scratch.data(), out.data());
  EXPECT_EQ(scratch.back(), 7.0f);
  EXPECT_EQ(out.back(), 7.0f);
  const double allowed = tolerance(5 * magnitude);
  for (std::size_t i = 0; i < std::size_t(n); ++i) {
    ASSERT_NEAR(scratch[i], exact.weights[i], allowed) << "weight " << i;
  }
  for (std::size_t d = 0; d < std::size_t(dim); ++d) {
    ASSERT_NEAR(out[d], exact.out[d], allowed * (1 + exact.scatter)) << "out " << d;
  }
}

TEST_P(Attention, OneQueryAgainstAMemory) {
  for (int dim : kDims) {
    for (int n : {1, 2, 15, 16, 17, 31, 32, 33, 100, 333}) {
      check_one<float>(kernels_, engine_, n, dim, 1.0f);
      check_one<std::uint16_t>(kernels_, engine_, n, dim, 1.0f);
    }
  }
  check_one<float>(kernels_, engine_, 1500, 64, 1.0f);
  check_one<std::uint16_t>(kernels_, engine_, 1500, 64, 1.0f);
  check_one<float>(kernels_, engine_, 200, 64, 3e3f);  // scores beyond ±10⁴
  check_one<std::uint16_t>(kernels_, engine_, 200, 64, 3e3f);
}

template <class T>
void check_gathered(const AttentionKernels& kernels, std::mt19937& engine, int n, int dim,
                    float magnitude) {
  SCOPED_TRACE("n " + std::to_string(n) + ", dim " + std::to_string(dim));
  std::normal_distribution<float> normal;
  const std::ptrdiff_t stride = dim * 3 + 1;
  std::vector<std::int32_t> order(std::size_t(n) * 2);  // every other row of the cache, shuffled
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), engine);
  std::vector<T> cache(std::size_t(2 * n * stride));
  std::vector<float> wide(cache.size()), query(std::size_t(dim), 0.0f);
  for (float& x : query) x = normal(engine) * magnitude;
  for (std::size_t i = 0; i < cache.size(); ++i) {
    cache[i] = narrowed<T>(normal(engine));
    wide[i] = widened(cache[i]);
  }
  const float scale = 0.125f;
  const auto exact = attend(
      query.data(), n, dim, scale,
      [&](int i) { return wide.data() + order[std::size_t(i)] * stride; },
      [&](int i) { return wide.data() + order[std::size_t(i)] * stride + dim; });
  std::vector<float> scratch(std::size_t(n) + 1, 7.0f), out(std::size_t(dim) + 1, 7.0f);
  const AttendRows context{cache.data(), cache.data() + dim, stride, order.data(), n};
  (std::is_same_v<T, float> ? kernels.gathered_f32 : kernels.gathered_f16)(
      query.data(), context, dim, scale, scratch.data(), out.data());
  EXPECT_EQ(scratch.back(), 7.0f);
  EXPECT_EQ(out.back(), 7.0f);
  const double allowed = tolerance(5 * magnitude);
  for (std::size_t i = 0; i < std::size_t(n); ++i) {
    ASSERT_NEAR(scratch[i], exact.weights[i], allowed) << "weight " << i;
  }
  for (std::size_t d = 0; d < std::size_t(dim); ++d) {
    ASSERT_NEAR(out[d], exact.out[d], allowed * (1 + exact.scatter)) << "out " << d;
  }
}

/// Against one query at a time, which the test above knows to be right.
template <class T>
void check_few(const AttentionKernels& kernels, std::mt19937& engine, int n, int dim, int count) {
  SCOPED_TRACE("n " + std::to_string(n) + ", dim " + std::to_string(dim) + ", queries " +
               std::to_string(count));
  std::normal_distribution<float> normal;
  const std::size_t panels = std::size_t(n + 15) / 16, size = std::size_t(n) * std::size_t(dim);
  const std::ptrdiff_t stride = dim + 3, padded = std::ptrdiff_t(panels * 16);
  std::vector<float> queries(std::size_t(count * stride)), rows(size);
  for (float& v : queries) v = normal(engine);
  for (float& v : rows) v = normal(engine);
  std::vector<T> keys(panels * 16 * std::size_t(dim)), values(size);
  for (T& v : values) v = narrowed<T>(normal(engine));
  constexpr bool kFloat = std::is_same_v<T, float>;
  (kFloat ? kernels.pack_keys_f32 : kernels.pack_keys_f16)(rows.data(), dim, n, dim, keys.data());
  const AttendMemory memory{keys.data(), values.data(), n};
  std::vector<float> scratch(std::size_t(count * padded) + 1, 7.0f);
  std::vector<float> out(std::size_t(count * stride), 7.0f);
  std::vector<float> one(static_cast<std::size_t>(dim), 0.0f), weights(scratch);
  (kFloat ? kernels.few_f32 : kernels.few_f16)(queries.data(), stride, count, memory, dim, 0.3f,
                                               scratch.data(), out.data(), stride);
  EXPECT_EQ(scratch.back(), 7.0f);
  for (int q = 0; q < count; ++q) {
    (kFloat ? kernels.one_f32 : kernels.one_f16)(queries.data() + q * stride, memory, dim, 0.3f,
                                                 weights.data(), one.data());
    for (int i = 0; i < n; ++i) {
      ASSERT_NEAR(scratch[std::size_t(q * padded + i)], weights[std::size_t(i)], 1e-5);
    }
    for (int d = 0; d < stride; ++d) {
      ASSERT_NEAR(out[std::size_t(q * stride + d)], d < dim ? one[std::size_t(d)] : 7.0f, 1e-5);
    }
  }
}

TEST_P(Attention, AFewQueriesAgainstAMemory) {
  for (int dim : kDims) {
    for (int n : {1, 2, 15, 16, 17, 33, 100}) {
      for (int count = 1; count <= kFewQueries; ++count) {
        check_few<float>(kernels_, engine_, n, dim, count);
        check_few<std::uint16_t>(kernels_, engine_, n, dim, count);
      }
    }
  }
}

TEST_P(Attention, OneQueryAgainstGatheredRows) {
  for (int dim : kDims) {
    for (int n : {1, 2, 3, 4, 5, 7, 16, 33, 100, 448}) {
      check_gathered<float>(kernels_, engine_, n, dim, 1.0f);
      check_gathered<std::uint16_t>(kernels_, engine_, n, dim, 1.0f);
    }
  }
  check_gathered<float>(kernels_, engine_, 200, 64, 3e3f);
  check_gathered<std::uint16_t>(kernels_, engine_, 200, 64, 3e3f);
}

struct Shape {
  int queries, keys, dim;
  bool causal;
  float magnitude = 1.0f;
};

void check_many(const AttentionKernels& kernels, std::mt19937& engine, const Shape& s) {
  SCOPED_TRACE(std::to_string(s.queries) + " queries, " + std::to_string(s.keys) + " keys, dim " +
               std::to_string(s.dim) + (s.causal ? ", causal" : ""));
  std::normal_distribution<float> normal;
  const std::ptrdiff_t q_stride = s.dim + 1, kv_stride = 2 * s.dim + 1, out_stride = s.dim + 2;
  std::vector<float> q(std::size_t(s.queries * q_stride)), kv(std::size_t(s.keys * kv_stride));
  for (float& x : q) x = normal(engine) * s.magnitude;
  for (float& x : kv) x = normal(engine);
  const float scale = 1.0f / std::sqrt(float(s.dim));
  const std::size_t scratch_size = attention_scratch(s.keys, s.dim);
  AlignedVector<float> scratch(scratch_size + 1, 7.0f);
  std::vector<float> out(std::size_t(s.queries * out_stride), 7.0f);
  const float *k = kv.data(), *v = kv.data() + s.dim;
  const auto run = [&](int first, int count) {
    kernels.many(q.data(), q_stride, first, count, s.queries, k, v, kv_stride, s.keys, s.dim, scale,
                 s.causal, scratch.data(), out.data(), out_stride);
  };
  const int split = s.queries / 3;  // as two threads would
  if (split > 0) run(0, split);
  if (s.queries > split) {
    EXPECT_EQ(out[std::size_t(split * out_stride)], 7.0f) << "did another thread's query";
  }
  run(split, s.queries - split);
  EXPECT_EQ(scratch.back(), 7.0f) << "scratch is larger than it says";
  const double allowed = tolerance(5 * s.magnitude);
  for (int i = 0; i < s.queries; ++i) {
    const float* found = out.data() + i * out_stride;
    ASSERT_EQ(found[s.dim], 7.0f) << "wrote past the row";
    const int seen = s.causal ? std::min(s.keys, i + 1 + s.keys - s.queries) : s.keys;
    if (seen <= 0) {
      for (int d = 0; d < s.dim; ++d) ASSERT_EQ(found[d], 0.0f) << "sees nothing: " << i;
      continue;
    }
    const auto exact = attend(
        q.data() + i * q_stride, seen, s.dim, scale, [&](int j) { return k + j * kv_stride; },
        [&](int j) { return v + j * kv_stride; });
    for (int d = 0; d < s.dim; ++d) {
      ASSERT_NEAR(found[d], exact.out[std::size_t(d)], allowed * (1 + exact.scatter))
          << "query " << i << ", " << d;
    }
  }
}

TEST_P(Attention, ManyQueriesOfEveryDim) {
  for (int dim = 2; dim <= 128; dim += 2) {
    check_many(kernels_, engine_, {dim % 7 + 10, 37, dim, false});
    check_many(kernels_, engine_, {dim % 5 + 10, 37, dim, true});
  }
}

TEST_P(Attention, ManyQueriesOfEveryCount) {
  for (int n = 1; n <= 70; ++n) {
    check_many(kernels_, engine_, {n, n, 16, true});
    check_many(kernels_, engine_, {n, 71 - n, 16, false});
    check_many(kernels_, engine_, {n, 129, 16, n % 2 == 0});
  }
}

TEST_P(Attention, ManyQueriesAtRealSizes) {
  check_many(kernels_, engine_, {301, 301, 64, false});
  check_many(kernels_, engine_, {224, 224, 64, true});
  check_many(kernels_, engine_, {4, 227, 64, true});
  check_many(kernels_, engine_, {5, 1500, 64, false});
}

TEST_P(Attention, EarlyQueriesMaySeeNothing) { check_many(kernels_, engine_, {70, 20, 16, true}); }

TEST_P(Attention, ExtremeScoresDoNotOverflow) {
  check_many(kernels_, engine_, {50, 150, 64, false, 3e3f});
  check_many(kernels_, engine_, {50, 150, 64, true, 3e3f});
}

/// `later` of 64 keys, from key `first` on, score `gap` above the others: exp(gap) is just beyond
/// float's range or just within it, and the sums of many such weights are beyond it before.
TEST_P(Attention, LaterScoresAboveTheFirstOnesDoNotOverflow) {
  constexpr int kKeys = 96, kDim = 64, kQueries = 17, kStride = 2 * kDim;
  AlignedVector<float> scratch(attention_scratch(kKeys, kDim));
  std::vector<float> q(kQueries * kDim), kv(kKeys * kStride), out(kQueries * kDim);
  for (int i = 0; i < kQueries; ++i) q[std::size_t(i * kDim)] = 1;
  for (int gap = 60; gap <= 120; ++gap) {
    for (const int first : {33, 64, 95}) {
      for (int k = 0; k < kKeys; ++k) {
        kv[std::size_t(k * kStride)] = k >= first ? float(gap) : 0.0f;
        kv[std::size_t(k * kStride + kDim)] = k >= first ? 3.0f : -1000.0f;
      }
      kernels_.many(q.data(), kDim, 0, kQueries, kQueries, kv.data(), kv.data() + kDim, kStride,
                    kKeys, kDim, 1.0f, false, scratch.data(), out.data(), kDim);
      for (int i = 0; i < kQueries; ++i) {
        ASSERT_NEAR(out[std::size_t(i * kDim)], 3.0f, 1e-4) << "gap " << gap << ", key " << first;
      }
    }
  }
}

void check_pieces(const AttentionKernels& kernels, std::mt19937& engine, int queries,
                  const std::vector<int>& sizes, int dim) {
  SCOPED_TRACE(std::to_string(queries) + " queries, " + std::to_string(sizes.size()) +
               " pieces, dim " + std::to_string(dim));
  std::normal_distribution<float> normal;
  const int total = std::accumulate(sizes.begin(), sizes.end(), 0);
  std::vector<float> q(std::size_t(queries * (dim + 1)));
  std::vector<float> k(std::size_t(total * dim)), v(k.size() + 1),  // read one further below
      biases(static_cast<std::size_t>(total));
  for (auto* values : {&q, &k, &v}) {
    for (float& x : *values) x = normal(engine);
  }
  std::vector<AlignedVector<float>> keys, values;
  std::vector<AttendPiece> pieces;
  int first = 0;
  for (const int n : sizes) {
    keys.emplace_back(piece_keys(n, dim), 50.0f);  // padding that would win
    values.emplace_back(piece_values(n, dim), 0.0f);
    const float bias = pieces.empty() ? 0.0f : 1.5f * float(pieces.size()) - 2;
    for (int j = 0; j < n; ++j, ++first) {
      put_in_piece(k.data() + first * dim, v.data() + first * dim, j, dim, keys.back().data(),
                   values.back().data());
      biases[std::size_t(first)] = bias;
    }
    pieces.push_back({keys.back().data(), values.back().data(), n, bias});
  }
  const float scale = 1.0f / std::sqrt(float(dim));
  AlignedVector<float> scratch(pieces_scratch(total, dim) + 1, 7.0f);
  std::vector<float> out = q;  // in place
  kernels.pieces(out.data(), dim + 1, queries, pieces.data(), int(pieces.size()), dim, scale,
                 scratch.data(), out.data(), dim + 1);
  EXPECT_EQ(scratch.back(), 7.0f) << "scratch is larger than it says";
  // The bias as one more dimension of the keys, which queries have at 1 / scale.
  const auto wide = [&](const float* row, float last) {
    std::vector<float> with(row, row + dim);
    with.push_back(last);
    return with;
  };
  std::vector<std::vector<float>> wide_keys;
  for (int j = 0; j < total; ++j) {
    wide_keys.push_back(wide(k.data() + j * dim, biases[std::size_t(j)]));
  }
  for (int i = 0; i < queries; ++i) {
    const std::vector<float> query = wide(q.data() + i * (dim + 1), 1.0f / scale);
    const auto exact = attend(
        query.data(), total, dim + 1, scale,
        [&](int j) { return wide_keys[std::size_t(j)].data(); },
        [&](int j) { return v.data() + j * dim; });
    for (int d = 0; d < dim; ++d) {
      ASSERT_NEAR(out[std::size_t(i * (dim + 1) + d)], exact.out[std::size_t(d)],
                  tolerance(8) * (1 + exact.scatter))
          << "query " << i << ", " << d;
    }
  }
}

TEST_P(Attention, QueriesAgainstPiecesWithBiases) {
  for (const int dim : {2, 6, 16, 18, 32, 64, 66, 128}) {
    check_pieces(kernels_, engine_, 28, {37, 28, 9}, dim);
    check_pieces(kernels_, engine_, 1, {0, 1, 0}, dim);
  }
  for (int n = 1; n <= 70; ++n) check_pieces(kernels_, engine_, n, {n, 0, 71 - n}, 16);
  check_pieces(kernels_, engine_, 28, {384, 28, 100}, 64);
}

struct WindowCase {
  int rows, past, future, dim;
  float magnitude = 1;
};

/// The window kernel over all rows at once; and one by one, in a buffer that begins later: the same
/// bits.
void check_window(const AttentionKernels& kernels, std::mt19937& engine, const WindowCase& c) {
  SCOPED_TRACE("rows " + std::to_string(c.rows) + ", past " + std::to_string(c.past) + ", future " +
               std::to_string(c.future) + ", dim " + std::to_string(c.dim));
  std::normal_distribution<float> normal;
  const std::ptrdiff_t key_stride = c.rows + kWindowPadding, value_stride = c.dim + 3;
  const std::ptrdiff_t out_stride = c.dim + 1;
  const float scale = 1.0f / std::sqrt(float(c.dim));
  std::vector<float> queries(std::size_t(c.rows * value_stride)), keys(queries.size()),
      values(queries.size());
  std::vector<float> across(std::size_t(c.dim * key_stride), std::nanf(""));
  for (float& x : queries) x = normal(engine) * c.magnitude;
  for (float& x : keys) x = normal(engine);
  for (float& x : values) x = normal(engine);
  for (int t = 0; t < c.rows; ++t) {
    for (int d = 0; d < c.dim; ++d) {
      across[std::size_t(d * key_stride + t)] = keys[std::size_t(t * value_stride + d)];
    }
  }
  AttendWindow window{.keys = across.data(),
                      .key_stride = key_stride,
                      .values = values.data(),
                      .value_stride = value_stride,
                      .rows = c.rows,
                      .past = c.past,
                      .future = c.future};
  std::vector<float> scratch(std::size_t(c.past + 1 + c.future + kWindowPadding) + 1, 7.0f);
  std::vector<float> out(std::size_t(c.rows * out_stride), 7.0f);
  kernels.window(queries.data(), value_stride, 0, c.rows, window, c.dim, scale, scratch.data(),
                 out.data(), out_stride);
  EXPECT_EQ(scratch.back(), 7.0f);
  const double allowed = tolerance(5 * c.magnitude);
  for (int t = 0; t < c.rows; ++t) {
    const int begin = std::max(0, t - c.past), end = std::min(c.rows, t + c.future + 1);
    const float* query = queries.data() + t * value_stride;
    const auto exact = attend(
        query, end - begin, c.dim, scale,
        [&](int i) { return keys.data() + (begin + i) * value_stride; },
        [&](int i) { return values.data() + (begin + i) * value_stride; });
    const float* found = out.data() + t * out_stride;
    for (int d = 0; d < c.dim; ++d) {
      ASSERT_NEAR(found[d], exact.out[std::size_t(d)], allowed * (1 + exact.scatter))
          << "row " << t << ", " << d;
    }
    ASSERT_EQ(found[c.dim], 7.0f) << "wrote past the row";
    AttendWindow later = window;
    later.keys += begin;
    later.values += begin * value_stride;
    later.rows = end - begin;
    std::vector<float> alone(std::size_t(c.dim));
    kernels.window(query, value_stride, t - begin, 1, later, c.dim, scale, scratch.data(),
                   alone.data(), c.dim);
    ASSERT_TRUE(std::equal(alone.begin(), alone.end(), found)) << "row " << t << " by itself";
  }
}

TEST_P(Attention, AWindowOfNeighbouringRows) {
  for (int dim : kDims) {
    for (const auto& [past, future] :
         {std::pair{15, 3}, {16, 4}, {15, 0}, {0, 0}, {3, 2}, {40, 9}}) {
      for (int rows : {1, 2, 17, 33}) check_window(kernels_, engine_, {rows, past, future, dim});
    }
  }
  for (int dim : {10, 24, 40}) check_window(kernels_, engine_, {200, 16, 4, dim});
  check_window(kernels_, engine_, {50, 15, 3, 64, 3e3f});  // scores beyond ±10⁴
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, Attention, testing::ValuesIn(supported_isas()),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace runnel::engine
