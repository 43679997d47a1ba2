// Scaled dot-product attention of one head, without ever storing the score matrix.
//
// `dim` is the head's size: 64 in real models (make that one fast), any even number ≥ 2 up to
// kMostHeadDim.
// None allocates; scratch comes from the caller.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/isa.h"

namespace runnel::engine {

/// Keys and values that many queries come back to (cross-attention), for one head:
/// keys [⌈n / 16⌉][dim][16 keys], zero in the padding; values [n][dim]. Type: float or IEEE half.
struct AttendMemory {
  const void* keys = nullptr;
  const void* values = nullptr;
  int n = 0;
};

/// Rows of a growing cache (self-attention), for one head: row i of the context lies at
/// base + rows[i] · stride (elements), so that hypotheses can share rows. Type: float or IEEE half.
struct AttendRows {
  const void* keys = nullptr;
  const void* values = nullptr;
  std::ptrdiff_t stride = 0;
  const std::int32_t* rows = nullptr;  // [n]
  int n = 0;
};

/// A piece of a stream, for one head: keys lie across, key j's dimension d at keys[d · key_stride +
/// j], and may be read, whatever they hold, up to kWindowPadding past the last; values are rows.
struct AttendWindow {
  const float* keys = nullptr;
  std::ptrdiff_t key_stride = 0;
  const float* values = nullptr;
  std::ptrdiff_t value_stride = 0;
  int rows = 0;              // that there are
  int past = 0, future = 0;  // row t sees rows t − past … t + future, as far as there are
};
inline constexpr int kWindowPadding = 16;

/// Keys and values that are laid out once for several calls, for one head: keys
/// [⌈n / 8⌉ · 2][dim][4 keys], whatever the padding holds (finite), values [n][piece_columns(dim)],
/// zero behind `dim`.
struct AttendPiece {
  const float* keys = nullptr;
  const float* values = nullptr;
  int n = 0;
  float bias = 0;  // added to the scores, after their scale
};
constexpr int piece_columns(int dim) { return (dim + 15) / 16 * 16; }
constexpr std::size_t piece_keys(int n, int dim) {
  return std::size_t((n + 7) / 8 * 8) * std::size_t(dim);
}
constexpr std::size_t piece_values(int n, int dim) {
  return std::size_t(n) * std::size_t(piece_columns(dim));
}
/// One row of a piece, to its place.
inline void put_in_piece(const float* k, const float* v, int at, int dim, float* keys,
                         float* values) noexcept {
  float* const key = keys + std::ptrdiff_t(at / 4) * dim * 4 + at % 4;
  float* const value = values + std::ptrdiff_t(at) * piece_columns(dim);
  for (int d = 0; d < dim; ++d) key[4 * d] = k[d];
  for (int d = 0; d < dim; ++d) value[d] = v[d];
}

inline constexpr int kFewQueries = 8;
inline constexpr int kMostHeadDim = 128;

struct AttentionKernels {
  /// One query against a memory: out = Σ softmax(scale · q·k) v. scratch: [⌈n / 16⌉ · 16]; after
  /// the call it holds the softmax weights.
  using One = void (*)(const float* query, const AttendMemory& memory, int dim, float scale,
                       float* scratch, float* out) noexcept;
  One one_f32;
  One one_f16;
  /// 1 to kFewQueries queries (rows with strides) against a memory, which is read once for several
  /// of them. scratch: a query after the other, each as for `one`.
  using Few = void (*)(const float* queries, std::ptrdiff_t stride, int count,
                       const AttendMemory& memory, int dim, float scale, float* scratch, float* out,
                       std::ptrdiff_t out_stride) noexcept;
  Few few_f32;
  Few few_f16;
  /// One query against gathered rows; scratch [n] as above.
  using Gathered = void (*)(const float* query, const AttendRows& context, int dim, float scale,
                            float* scratch, float* out) noexcept;
  Gathered gathered_f32;
  Gathered gathered_f16;
  /// Lays out rows [n, dim] of float keys for AttendMemory, as float or half.
  void (*pack_keys_f32)(const float* k, std::ptrdiff_t stride, int n, int dim, void* out) noexcept;
  void (*pack_keys_f16)(const float* k, std::ptrdiff_t stride, int n, int dim, void* out) noexcept;

  /// Rows [first, first + count) of a window as queries; q and out: of row `first`, rows with
  /// strides. A query's result depends on what it sees alone, to the bit. scratch: past + 1 +
  /// future
  /// + kWindowPadding floats.
  void (*window)(const float* q, std::ptrdiff_t q_stride, int first, int count,
                 const AttendWindow& window, int dim, float scale, float* scratch, float* out,
                 std::ptrdiff_t out_stride) noexcept;

  /// Many queries against many keys, float32, blocked with a running maximum. `causal`: query i
  /// sees keys 0 … i + (keys − queries), zeros come of none. q, k, v, out: rows with strides.
  /// scratch: attention_scratch(keys, dim) floats, 64-byte aligned. Queries [first, first + count)
  /// of the head are done, so that callers can split a head among threads.
  void (*many)(const float* q, std::ptrdiff_t q_stride, int first, int count, int queries,
               const float* k, const float* v, std::ptrdiff_t kv_stride, int keys, int dim,
               float scale, bool causal, float* scratch, float* out,
               std::ptrdiff_t out_stride) noexcept;
  /// `count` queries against all keys of some pieces; q and out: rows with strides, and may be the
  /// same. scratch: pieces_scratch(keys of all, dim) floats, 64-byte aligned.
  void (*pieces)(const float* q, std::ptrdiff_t q_stride, int count, const AttendPiece* pieces,
                 int piece_count, int dim, float scale, float* scratch, float* out,
                 std::ptrdiff_t out_stride) noexcept;
};

/// Floats of scratch that `many` needs.
std::size_t attention_scratch(int keys, int dim);
/// Floats of scratch that `pieces` needs.
std::size_t pieces_scratch(int keys, int dim);

const AttentionKernels& attention_kernels(Isa isa);  // kAmx: those of AVX-512

}  // namespace runnel::engine
