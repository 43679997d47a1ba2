#if defined(__x86_64__) && defined(__linux__)

#include "engine/kernels/amx-inl.h"
#include "engine/kernels/taps.h"

RUNNEL_AMX_BEGIN
namespace runnel::engine::tiles {
namespace {

using Kind = TapFinish::Kind;

constexpr int kBlock = 32;  // rows and columns of a block of sums: 2 × 2 tiles
constexpr std::ptrdiff_t kStreamedWeights = 1400 << 10;  // bytes

inline __m512 load_bf16(const std::uint16_t* from, __mmask16 mask) noexcept {
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

/// A block of sums on its way to where it belongs, bit by bit while the next one's tiles are
/// multiplied: the vector units have nothing else to do then.
template <Kind kKind, int kPanels>
class PendingRows {
 public:
  explicit PendingRows(const TapFinish& finish) noexcept
      : f_(finish), with_moments_(finish.moments != nullptr) {}

  void start(const float* sums, int row, int rows, int panel) noexcept {
    sums_ = sums;
    left_ = rows;
    const int column = kKind == Kind::kGlu ? 8 * panel : 16 * panel;
    for (int half = 0; half < kPanels; ++half) {
      const int at = 16 * (panel + half);
      gain_[half] = f_.gain ? _mm512_loadu_ps(f_.gain + at) : _mm512_set1_ps(1.0f);
      bias_[half] = f_.bias ? _mm512_loadu_ps(f_.bias + at) : _mm512_setzero_ps();
      mask_[half] = mask_of(f_.cols - column - 16 * half);
    }
    if (f_.residual) {
      residual_step_ = f_.residual_stride * (f_.residual_is_bf16 ? 2 : 4);
      residual_ = static_cast<const std::byte*>(f_.residual) + row * residual_step_ +
                  column * (f_.residual_is_bf16 ? 2 : 4);
    }
    if (f_.y) y_ = f_.y + row * f_.y_stride + column;
    if (f_.y_bf16) narrow_ = f_.y_bf16 + row * f_.y_bf16_stride + column;
  }
  void write(int rows) noexcept {
    const int now = std::min(rows, left_);
    if (now <= 0) return;
    left_ -= now;
    // What goes where is the same for all rows; each loop holds no question but its own.
    if (!residual_) {
      y_&& narrow_ ? write_rows<kNoResidual, true, true>(now)
      : y_         ? write_rows<kNoResidual, true, false>(now)
      : narrow_    ? write_rows<kNoResidual, false, true>(now)
                   : write_rows<kNoResidual, false, false>(now);
    } else if (f_.residual_is_bf16) {
      y_&& narrow_ ? write_rows<kNarrowResidual, true, true>(now)
      : y_         ? write_rows<kNarrowResidual, true, false>(now)
                   : write_rows<kNarrowResidual, false, true>(now);
    } else {
      y_&& narrow_ ? write_rows<kFloatResidual, true, true>(now)
      : y_         ? write_rows<kFloatResidual, true, false>(now)
                   : write_rows<kFloatResidual, false, true>(now);
    }
  }
  void finish() noexcept {
    write(left_);
    if (with_moments_) {
      f_.moments[0] += double(_mm512_reduce_add_ps(sum_));
      f_.moments[1] += double(_mm512_reduce_add_ps(squares_));
    }
  }

 private:
  enum Residual { kNoResidual, kFloatResidual, kNarrowResidual };

  template <Residual kResidual, bool kWide, bool kNarrow>
  void write_rows(int rows) noexcept {
    const float* sums = sums_;
    const std::byte* residual = residual_;
    float* y = y_;
    std::uint16_t* narrow = narrow_;
    const bool with_moments = kKind == Kind::kLinear && with_moments_;
    for (int i = 0; i < rows; ++i) {
      __m512 t[kPanels];
      for (int half = 0; half < kPanels; ++half) {
        t[half] = _mm512_fmadd_ps(_mm512_load_ps(sums + 16 * half), gain_[half], bias_[half]);
      }
      sums += kBlock;
      if (with_moments) {
        for (int half = 0; half < kPanels; ++half) {
          sum_ = _mm512_add_ps(sum_, t[half]);
          squares_ = _mm512_fmadd_ps(t[half], t[half], squares_);
        }
      }
      if constexpr (kKind == Kind::kGlu) t[0] = glu(t[0], t[kPanels - 1]);
      for (int half = 0; half < (kKind == Kind::kGlu ? 1 : kPanels); ++half) {
        if constexpr (kKind == Kind::kGelu) t[half] = gelu(t[half]);
        const __mmask16 mask = mask_[half];
        if constexpr (kResidual == kFloatResidual) {
          const auto* from = reinterpret_cast<const float*>(residual) + 16 * half;
          t[half] = _mm512_add_ps(t[half], _mm512_maskz_loadu_ps(mask, from));
        } else if constexpr (kResidual == kNarrowResidual) {
          const auto* from = reinterpret_cast<const std::uint16_t*>(residual) + 16 * half;
          t[half] = _mm512_add_ps(t[half], load_bf16(from, mask));
        }
        if constexpr (kWide) _mm512_mask_storeu_ps(y + 16 * half, mask, t[half]);
        if constexpr (kNarrow) {
          _mm256_mask_storeu_epi16(narrow + 16 * half, mask, __m256i(_mm512_cvtneps_pbh(t[half])));
        }
      }
      residual += residual_step_;
      y += f_.y_stride;
      narrow += f_.y_bf16_stride;
    }
    sums_ = sums;
    residual_ = residual_ ? residual : nullptr;
    y_ = y_ ? y : nullptr;
    narrow_ = narrow_ ? narrow : nullptr;
  }

  /// value · σ(gate), σ within 1e-4: bfloat16 holds no more.
  static __m512 glu(__m512 value, __m512 gate) noexcept {
    // Without bounds: 2^t beyond float's range is infinity or 0, as it should be.
    const __m512 t = _mm512_mul_ps(gate, _mm512_set1_ps(-1.44269504f));
    const __m512 r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // t − ⌊t⌋
    __m512 p = _mm512_set1_ps(7.802452332e-02f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.260671590e-01f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.958335367e-01f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.999252192e-01f));
    const __m512 e = _mm512_scalef_ps(p, t);
    return _mm512_mul_ps(value, _mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.0f), e)));
  }

  const TapFinish f_;
  const bool with_moments_;
  const float* sums_ = nullptr;
  const std::byte* residual_ = nullptr;
  std::ptrdiff_t residual_step_ = 0;  // bytes
  float* y_ = nullptr;
  std::uint16_t* narrow_ = nullptr;
  int left_ = 0;
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
  if (first == last) return;
  float* const sums[2] = {reinterpret_cast<float*>(scratch),
                          reinterpret_cast<float*>(scratch) + kBlock * kBlock};
  PendingRows<kKind, kPanels> pending(p.finish);
  int turn = 0;
  const auto block = [&](int row, int panel) {
    const int rows = std::min(kBlock, p.rows - row);
    if (rows > 16) {
      multiply_block<2, kPanels>(p, row, panel, pending, sums[turn]);
    } else {
      multiply_block<1, kPanels>(p, row, panel, pending, sums[turn]);
    }
    fence();
    pending.write(kBlock);
    pending.start(sums[turn], row, rows, panel);
    turn ^= 1;
  };
  // Few weights stay in the L2 cache and come along in a stream, while a block of rows, which do
  // not, stays in the L1 cache. Many weights come a panel at a time.
  if ((last - first) * p.panel_bytes <= kStreamedWeights) {
    for (int row = 0; row < p.rows; row += kBlock) {
      for (int panel = first; panel < last; panel += kPanels) block(row, panel);
    }
  } else {
    for (int panel = first; panel < last; panel += kPanels) {
      for (int row = 0; row < p.rows; row += kBlock) {
        block(row, panel);
      }
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
  }
}

}  // namespace runnel::engine::tiles
RUNNEL_AMX_END

#endif
