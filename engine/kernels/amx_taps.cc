#if defined(__x86_64__) && defined(__linux__)

#include "engine/kernels/amx-inl.h"
#include "engine/kernels/taps.h"

RUNNEL_AMX_BEGIN
namespace runnel::engine::tiles {
namespace {

using Kind = TapFinish::Kind;

constexpr int kBlock = 32;  // rows and columns of a block of sums: 2 × 2 tiles

inline __m512 load_bf16(const std::uint16_t* from, __mmask16 mask) noexcept {
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

/// A block of sums on its way to where it belongs, bit by bit while the next one's tiles are
/// multiplied: the vector units have nothing else to do then.
template <Kind kKind, int kPanels>
class PendingRows {
 public:
  explicit PendingRows(const TapFinish& finish) noexcept : f_(finish) {}

  void start(const float* sums, int row, int rows, int panel) noexcept {
    sums_ = sums;
    row_ = row;
    left_ = rows;
    column_ = kKind == Kind::kGlu ? 8 * panel : 16 * panel;
    for (int half = 0; half < kPanels; ++half) {
      const int at = 16 * (panel + half);
      gain_[half] = f_.gain ? _mm512_loadu_ps(f_.gain + at) : _mm512_set1_ps(1.0f);
      bias_[half] = f_.bias ? _mm512_loadu_ps(f_.bias + at) : _mm512_setzero_ps();
      mask_[half] = mask_of(f_.cols - column_ - 16 * half);
    }
  }
  void write(int rows) noexcept {
    const int now = std::min(rows, left_);
    for (int i = 0; i < now; ++i) write_row();
    left_ -= now;
  }
  void finish() noexcept {
    write(left_);
    if constexpr (kKind == Kind::kMoments) {
      f_.moments[0] += double(_mm512_reduce_add_ps(sum_));
      f_.moments[1] += double(_mm512_reduce_add_ps(squares_));
    }
  }

 private:
  void write_row() noexcept {
    __m512 t[kPanels];
    for (int half = 0; half < kPanels; ++half) {
      t[half] = _mm512_fmadd_ps(_mm512_load_ps(sums_ + 16 * half), gain_[half], bias_[half]);
    }
    sums_ += kBlock;
    if constexpr (kKind == Kind::kMoments) {
      for (int half = 0; half < kPanels; ++half) {
        sum_ = _mm512_add_ps(sum_, t[half]);
        squares_ = _mm512_fmadd_ps(t[half], t[half], squares_);
      }
      return;
    }
    if constexpr (kKind == Kind::kGlu) {
      put(0, glu(t[0], t[kPanels - 1]));
    } else {
      for (int half = 0; half < kPanels; ++half) {
        put(half, kKind == Kind::kGelu ? gelu(t[half]) : t[half]);
      }
    }
    ++row_;
  }

  void put(int half, __m512 t) noexcept {
    const int column = column_ + 16 * half;
    const __mmask16 mask = mask_[half];
    if (f_.residual) {
      const std::ptrdiff_t at = row_ * f_.residual_stride + column;
      t = _mm512_add_ps(
          t, f_.residual_is_bf16
                 ? load_bf16(static_cast<const std::uint16_t*>(f_.residual) + at, mask)
                 : _mm512_maskz_loadu_ps(mask, static_cast<const float*>(f_.residual) + at));
    }
    if (f_.y) _mm512_mask_storeu_ps(f_.y + row_ * f_.y_stride + column, mask, t);
    if (f_.y_bf16) {
      _mm256_mask_storeu_epi16(f_.y_bf16 + row_ * f_.y_bf16_stride + column, mask,
                               __m256i(_mm512_cvtneps_pbh(t)));
    }
  }

  /// value · σ(gate), σ within 1e-4: bfloat16 holds no more.
  static __m512 glu(__m512 value, __m512 gate) noexcept {
    const __m512 t = _mm512_max_ps(
        _mm512_min_ps(_mm512_mul_ps(gate, _mm512_set1_ps(-1.44269504f)), _mm512_set1_ps(126.0f)),
        _mm512_set1_ps(-126.0f));
    const __m512 r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // t − ⌊t⌋
    __m512 p = _mm512_set1_ps(1.353415195e-02f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.201149359e-02f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.414427400e-01f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.930038333e-01f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.000002623f));
    const __m512 e = _mm512_scalef_ps(p, t);
    return _mm512_mul_ps(value, _mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.0f), e)));
  }

  const TapFinish& f_;
  const float* sums_ = nullptr;
  int row_ = 0, left_ = 0, column_ = 0;
  __m512 gain_[kPanels], bias_[kPanels];
  __mmask16 mask_[kPanels] = {};
  __m512 sum_ = _mm512_setzero_ps(), squares_ = _mm512_setzero_ps();
};

/// One k tile of a block of 1 or 2 strips of rows and panels.
template <int kStrips, int kPanels>
inline void multiply_step(const std::byte* a0, const std::byte* a1, std::ptrdiff_t stride,
                          const std::byte* b0, const std::byte* b1) noexcept {
  _tile_loadd(4, a0, stride);
  _tile_loadd(6, b0, 64);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kStrips == 2) {
    _tile_loadd(5, a1, stride);
    _tile_dpbf16ps(2, 5, 6);
  }
  if constexpr (kPanels == 2) {
    _tile_loadd(7, b1, 64);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kStrips == 2) _tile_dpbf16ps(3, 5, 7);
  }
}

/// Sums of one block, while the one before is written.
template <int kStrips, int kPanels, class Pending>
inline void multiply_block(const TapProduct& p, int row, int panel, Pending& pending,
                           float* sums) noexcept {
  const int k_tiles = p.tap_inputs / 32;
  const int steps = (p.tap_end - p.tap_begin) * k_tiles;
  const int rows_per_step = (kBlock + steps - 1) / steps;
  const std::ptrdiff_t stride = p.x_stride * 2;
  const std::byte* b0 =
      p.w + panel * p.panel_bytes + std::ptrdiff_t(p.tap_begin) * k_tiles * kTileBytes;
  const std::byte* b1 = b0 + p.panel_bytes;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int tap = p.tap_begin; tap < p.tap_end; ++tap) {
    const std::byte* a0 =
        static_cast<const std::byte*>(p.x) + 2 * (row * p.x_stride + tap * p.tap_stride);
    const std::byte* a1 = a0 + 16 * stride;
    for (int k = 0; k < k_tiles; ++k) {
      multiply_step<kStrips, kPanels>(a0, a1, stride, b0, b1);
      pending.write(rows_per_step);
      a0 += 64;
      a1 += 64;
      b0 += kTileBytes;
      b1 += kTileBytes;
    }
  }
  constexpr int kBytes = kBlock * sizeof(float);
  _tile_stored(0, sums, kBytes);
  if constexpr (kPanels == 2) _tile_stored(1, sums + 16, kBytes);
  if constexpr (kStrips == 2) {
    _tile_stored(2, sums + 16 * kBlock, kBytes);
    if constexpr (kPanels == 2) _tile_stored(3, sums + 16 * kBlock + 16, kBytes);
  }
}

template <Kind kKind, int kPanels>
void multiply_panels(const TapProduct& p, int first, int last, std::byte* scratch) noexcept {
  float* const sums[2] = {reinterpret_cast<float*>(scratch),
                          reinterpret_cast<float*>(scratch) + kBlock * kBlock};
  PendingRows<kKind, kPanels> pending(p.finish);
  int turn = 0;
  for (int panel = first; panel < last; panel += kPanels) {
    for (int row = 0; row < p.rows; row += kBlock, turn ^= 1) {
      const int rows = std::min(kBlock, p.rows - row);
      if (rows > 16) {
        multiply_block<2, kPanels>(p, row, panel, pending, sums[turn]);
      } else {
        multiply_block<1, kPanels>(p, row, panel, pending, sums[turn]);
      }
      fence();
      pending.write(kBlock);
      pending.start(sums[turn], row, rows, panel);
    }
  }
  pending.finish();
}

template <Kind kKind>
void multiply_kind(const TapProduct& p, std::byte* scratch) noexcept {
  const int pairs = p.panels / 2 * 2;
  multiply_panels<kKind, 2>(p, 0, pairs, scratch);
  if constexpr (kKind != Kind::kGlu) {
    if (pairs < p.panels) multiply_panels<kKind, 1>(p, pairs, p.panels, scratch);
  }
}

}  // namespace

void multiply_taps(const TapProduct& p, std::byte* scratch) noexcept {
  const TileScope tiles;
  switch (p.finish.kind) {
    case Kind::kLinear:
      return multiply_kind<Kind::kLinear>(p, scratch);
    case Kind::kGelu:
      return multiply_kind<Kind::kGelu>(p, scratch);
    case Kind::kGlu:
      return multiply_kind<Kind::kGlu>(p, scratch);
    case Kind::kMoments:
      return multiply_kind<Kind::kMoments>(p, scratch);
  }
}

}  // namespace runnel::engine::tiles
RUNNEL_AMX_END

#endif
