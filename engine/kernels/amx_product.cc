#if defined(__x86_64__) && defined(__linux__)

#include "engine/kernels/amx-inl.h"

RUNNEL_AMX_BEGIN
namespace runnel::engine::tiles {
namespace {

constexpr int kBlock = 32;  // rows and columns of a product's inner block: 2 × 2 tiles

/// SiLU within 1e-4: x / (1 + 2^(−x · log2 e)).
inline __m512 silu(__m512 x) noexcept {
  const __m512 t = _mm512_max_ps(
      _mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f)), _mm512_set1_ps(126.0f)),
      _mm512_set1_ps(-126.0f));
  const __m512 r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // t − ⌊t⌋
  __m512 p = _mm512_set1_ps(1.353415195e-02f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.201149359e-02f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.414427400e-01f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.930038333e-01f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.000002623f));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), _mm512_scalef_ps(p, t)));
}

/// What a product does with its sums, known when it is compiled.
template <bool kInt8_, TileProduct::Output kOutput_, Activation kActivation_, bool kResidual_>
struct Finish {
  static constexpr bool kInt8 = kInt8_, kResidual = kResidual_;
  static constexpr TileProduct::Output kOutput = kOutput_;
  static constexpr Activation kActivation = kActivation_;
};

/// A finished 32 × 32 block of sums on its way to where it belongs. Its rows are written bit by bit
/// while the next block's tiles are multiplied: the vector units have nothing else to do then.
template <class F>
class PendingBlock {
  using Output = TileProduct::Output;

 public:
  explicit PendingBlock(const TileProduct& product) noexcept
      : p_(product), y_stride_(product.y_stride), residual_stride_(0) {
    if constexpr (F::kResidual) residual_stride_ = product.epilogue.residual_stride;
  }

  void start(const float* sums, int row, int column) noexcept {
    sums_ = sums;
    left_ = kBlock;
    row_ = 0;
    if constexpr (F::kOutput == Output::kStrips) {
      to_ = static_cast<std::byte*>(p_.y) +
            ((row / 16) * p_.y_stride + p_.y_first_tile + column / kBlock) * kTileBytes;
    } else {
      left_ = std::min(kBlock, p_.rows - row);
      to_ = reinterpret_cast<std::byte*>(static_cast<float*>(p_.y) + row * p_.y_stride + column);
    }
    if constexpr (F::kResidual) {
      residual_ = p_.epilogue.residual + row * p_.epilogue.residual_stride + column;
    }
    if constexpr (F::kInt8) {
      row_scales_ = p_.a_scales + row;
      scaled_rows_ = p_.rows - row;
    }
    for (int half = 0; half < 2; ++half) {
      const int at = column + 16 * half;
      masks_[half] = mask_of(p_.cols - at);
      bias_[half] = p_.epilogue.bias ? _mm512_maskz_loadu_ps(masks_[half], p_.epilogue.bias + at)
                                     : _mm512_setzero_ps();
      if constexpr (F::kInt8) scale_[half] = _mm512_maskz_loadu_ps(masks_[half], p_.b_scales + at);
    }
  }

  /// The next `rows`, as far as there are any.
  void write(int rows) noexcept {
    const int now = std::min(rows, left_);
    for (int i = 0; i < now; ++i) write_row();
    left_ -= now;
  }
  void write_all() noexcept { write(left_); }

 private:
  void write_row() noexcept {
    __m512 x[2];
    for (int half = 0; half < 2; ++half) {
      const float* from = sums_ + 16 * half;
      if constexpr (F::kInt8) {
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(from));
        const float row_scale = scaled_rows_ > 0 ? *row_scales_ : 0.0f;
        x[half] = _mm512_fmadd_ps(_mm512_mul_ps(sum, scale_[half]), _mm512_set1_ps(row_scale),
                                  bias_[half]);
      } else {
        x[half] = _mm512_add_ps(_mm512_load_ps(from), bias_[half]);
      }
      if constexpr (F::kActivation == Activation::kGelu) x[half] = gelu(x[half]);
      if constexpr (F::kActivation == Activation::kSilu) x[half] = silu(x[half]);
      if constexpr (F::kResidual) {
        x[half] =
            _mm512_add_ps(x[half], _mm512_maskz_loadu_ps(masks_[half], residual_ + 16 * half));
      }
    }
    if constexpr (F::kOutput == Output::kFloat) {
      float* to = reinterpret_cast<float*>(to_);
      _mm512_mask_storeu_ps(to, masks_[0], x[0]);
      _mm512_mask_storeu_ps(to + 16, masks_[1], x[1]);
      prefetch_row(to_ + kBlock * y_stride_ * sizeof(float));
      to_ += y_stride_ * sizeof(float);
    } else {
      _mm512_store_si512(to_, __m512i(_mm512_cvtne2ps_pbh(x[1], x[0])));
      to_ += 64;
      // Behind the strip's 16 rows comes its next tile; the next strip is further on.
      if (++row_ == 16) to_ += (y_stride_ - 1) * kTileBytes;
    }
    sums_ += kBlock;
    if constexpr (F::kResidual) residual_ += residual_stride_;
    if constexpr (F::kInt8) {
      ++row_scales_;
      --scaled_rows_;
    }
  }

  /// The same row of the next block is written soon, and rows that far apart are nothing that the
  /// processor foresees.
  static void prefetch_row(const std::byte* row) noexcept {
    asm volatile("prefetchw %0" : : "m"(row[0]));
    asm volatile("prefetchw %0" : : "m"(row[64]));
  }

  const TileProduct& p_;
  const std::ptrdiff_t y_stride_;
  std::ptrdiff_t residual_stride_;
  const float* sums_ = nullptr;  // [32, 32]; int32 for int8
  std::byte* to_ = nullptr;
  const float* residual_ = nullptr;
  const float* row_scales_ = nullptr;
  int scaled_rows_ = 0;
  int left_ = 0;  // rows that are not written yet
  int row_ = 0;   // of the block; strips only
  __mmask16 masks_[2] = {};
  __m512 bias_[2];
  __m512 scale_[2];
};

/// One k tile of a 2 × 2 block. The order keeps two products between a load and its first use.
template <bool kInt8>
inline void multiply_step(const std::byte* a0, const std::byte* a1, const std::byte* b0,
                          const std::byte* b1) noexcept {
  _tile_loadd(4, a0, 64);
  _tile_loadd(6, b0, 64);
  if constexpr (kInt8) {
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, a1, 64);
    _tile_dpbssd(2, 5, 6);
    _tile_loadd(7, b1, 64);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(3, 5, 7);
  } else {
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, a1, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_loadd(7, b1, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
}

inline void store_block(float* sums) noexcept {
  _tile_stored(0, sums, kBlock * sizeof(float));
  _tile_stored(1, sums + 16, kBlock * sizeof(float));
  _tile_stored(2, sums + 16 * kBlock, kBlock * sizeof(float));
  _tile_stored(3, sums + 16 * kBlock + 16, kBlock * sizeof(float));
}

/// The panels that come next, brought from the L3 cache to the L2 bit by bit while this pair's
/// tiles are multiplied.
class PanelsAhead {
 public:
  /// `pieces`: in how many the prefetch is done.
  PanelsAhead(const std::byte* from, std::ptrdiff_t bytes, int pieces) noexcept
      : at_(from), end_(from + bytes), piece_((bytes / 64 + pieces - 1) / pieces * 64) {}

  void fetch() noexcept {
    const std::byte* const stop = std::min(at_ + piece_, end_);
    for (; at_ < stop; at_ += 64) _mm_prefetch(reinterpret_cast<const char*>(at_), _MM_HINT_T1);
  }

 private:
  const std::byte* at_;
  const std::byte* const end_;
  const std::ptrdiff_t piece_;  // bytes
};

template <class F>
void multiply(const TileProduct& p, std::byte* scratch) noexcept {
  const TileScope tiles;
  float* const sums[2] = {reinterpret_cast<float*>(scratch),
                          reinterpret_cast<float*>(scratch) + kBlock * kBlock};
  const std::ptrdiff_t strip = std::ptrdiff_t(p.k_tiles) * kTileBytes;
  const int k_count = p.k_end - p.k_begin;
  const int rows_per_step = (kBlock + k_count - 1) / k_count;
  PendingBlock<F> pending(p);
  int turn = 0;
  for (int panel = 0; panel < p.panels; panel += 2) {
    const std::byte* const b_first = p.b + panel * strip;
    // A last odd panel is multiplied twice; the copy falls behind `cols`.
    const std::byte* const b_second = panel + 1 < p.panels ? b_first + strip : b_first;
    const int ahead = std::clamp(p.panels - panel - 2, 0, 2);
    PanelsAhead next(b_first + 2 * strip, ahead * strip, p.strips / 2 * k_count);
    for (int s = 0; s < p.strips; s += 2) {
      // Every other block runs through the inputs backwards: what it begins with is what the one
      // before has just left in the L1 cache.
      const bool backwards = turn && !p.one_way;
      const std::ptrdiff_t begin = (backwards ? p.k_end - 1 : p.k_begin) * kTileBytes;
      const std::ptrdiff_t step = backwards ? -kTileBytes : kTileBytes;
      const std::byte* a0 = p.a + (p.first_strip + s) * strip + begin;
      const std::byte* a1 = a0 + strip;
      const std::byte* b0 = b_first + begin;
      const std::byte* b1 = b_second + begin;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int k = 0; k < k_count; ++k) {
        multiply_step<F::kInt8>(a0, a1, b0, b1);
        pending.write(rows_per_step);
        next.fetch();
        a0 += step;
        a1 += step;
        b0 += step;
        b1 += step;
      }
      store_block(sums[turn]);
      pending.start(sums[turn], 16 * (p.first_strip + s), 16 * panel);
      turn ^= 1;
    }
  }
  pending.write_all();
}

/// Up to 16 rows, bound by reading the weights: four panels side by side, since memory gives more
/// to several streams. Sums are made in the order of a first block above: the same bits.
template <class F>
void multiply_narrow(const TileProduct& p, std::byte* scratch) noexcept {
  const TileScope tiles;
  constexpr int kHalf = 16 * kBlock;
  float* const sums = reinterpret_cast<float*>(scratch);  // [2][16][32]
  const std::ptrdiff_t strip = std::ptrdiff_t(p.k_tiles) * kTileBytes;
  const int first_row = 16 * p.first_strip;
  const std::byte* const a = p.a + p.first_strip * strip;
  for (int panel = 0; panel < p.panels; panel += 4) {
    // Panels that aren't there are multiplied as the last one; the copies fall behind `cols`.
    const std::byte* b[4];
    for (int i = 0; i < 4; ++i) b[i] = p.b + std::min(panel + i, p.panels - 1) * strip;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::ptrdiff_t k = p.k_begin * kTileBytes; k < p.k_end * kTileBytes; k += kTileBytes) {
      _tile_loadd(4, a + k, 64);
      _tile_loadd(5, b[0] + k, 64);
      _tile_loadd(6, b[1] + k, 64);
      if constexpr (F::kInt8) {
        _tile_dpbssd(0, 4, 5);
        _tile_loadd(7, b[2] + k, 64);
        _tile_dpbssd(1, 4, 6);
        _tile_loadd(5, b[3] + k, 64);
        _tile_dpbssd(2, 4, 7);
        _tile_dpbssd(3, 4, 5);
      } else {
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(7, b[2] + k, 64);
        _tile_dpbf16ps(1, 4, 6);
        _tile_loadd(5, b[3] + k, 64);
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 4, 5);
      }
    }
    _tile_stored(0, sums, kBlock * sizeof(float));
    _tile_stored(1, sums + 16, kBlock * sizeof(float));
    _tile_stored(2, sums + kHalf, kBlock * sizeof(float));
    _tile_stored(3, sums + kHalf + 16, kBlock * sizeof(float));
    for (int pair = 0; pair < 2 && 16 * (panel + 2 * pair) < p.cols; ++pair) {
      PendingBlock<F> block(p);
      block.start(sums + pair * kHalf, first_row, 16 * (panel + 2 * pair));
      block.write(p.rows - first_row);
    }
  }
}

template <class F>
void multiply_any(const TileProduct& p, std::byte* scratch) noexcept {
  const bool narrow = p.strips == 2 && p.rows - 16 * p.first_strip <= 16;
  narrow ? multiply_narrow<F>(p, scratch) : multiply<F>(p, scratch);
}

template <bool kInt8, TileProduct::Output kOutput, Activation kActivation>
void multiply_activated(const TileProduct& p, std::byte* scratch) noexcept {
  p.epilogue.residual ? multiply_any<Finish<kInt8, kOutput, kActivation, true>>(p, scratch)
                      : multiply_any<Finish<kInt8, kOutput, kActivation, false>>(p, scratch);
}

template <bool kInt8, TileProduct::Output kOutput>
void multiply_to(const TileProduct& p, std::byte* scratch) noexcept {
  switch (p.epilogue.activation) {
    case Activation::kNone:
      return multiply_activated<kInt8, kOutput, Activation::kNone>(p, scratch);
    case Activation::kGelu:
      return multiply_activated<kInt8, kOutput, Activation::kGelu>(p, scratch);
    case Activation::kSilu:
      return multiply_activated<kInt8, kOutput, Activation::kSilu>(p, scratch);
  }
}

template <bool kInt8>
void multiply_type(const TileProduct& p, std::byte* scratch) noexcept {
  using Output = TileProduct::Output;
  switch (p.output) {
    case Output::kFloat:
      return multiply_to<kInt8, Output::kFloat>(p, scratch);
    case Output::kStrips:
      return multiply_to<kInt8, Output::kStrips>(p, scratch);
  }
}

}  // namespace

void product(const TileProduct& p, std::byte* scratch) noexcept {
  p.a_scales ? multiply_type<true>(p, scratch) : multiply_type<false>(p, scratch);
}

}  // namespace runnel::engine::tiles
RUNNEL_AMX_END

#endif
