// The vector versions, written once on Highway and compiled for each instruction set.
#include "engine/kernels/bands.h"
#include "engine/kernels/bands_plain.h"

// AVX2 and AVX-512 are what Isa names; the levels between bring nothing here.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/bands_simd.cc"
#include "hwy/foreach_target.h"
// foreach_target must come first.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace runnel::engine {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // the compiler's baseline: the plain kernels serve it
const BandKernels& table() { return plain_band_kernels(); }
#else
namespace {

namespace hn = hwy::HWY_NAMESPACE;

/// W floats in as many registers as the target needs: one with AVX-512, two with AVX2.
template <int W>
struct Pack {
  using D = hn::CappedTag<float, W>;
  static constexpr int kLanes = int(hn::MaxLanes(D()));
  static constexpr int kParts = W / kLanes;
  hn::VFromD<D> part[kParts];
};

template <int W, class F>
HWY_INLINE Pack<W> make(F f) {
  Pack<W> p;
  for (int i = 0; i < Pack<W>::kParts; ++i) p.part[i] = f(i);
  return p;
}

template <int W>
HWY_INLINE Pack<W> load(const float* from) {
  return make<W>(
      [&](int i) HWY_ATTR { return hn::LoadU(typename Pack<W>::D(), from + i * Pack<W>::kLanes); });
}

template <int W>
HWY_INLINE void store(const Pack<W>& p, float* to) {
  for (int i = 0; i < Pack<W>::kParts; ++i) {
    hn::StoreU(p.part[i], typename Pack<W>::D(), to + i * Pack<W>::kLanes);
  }
}

template <int W>
HWY_INLINE Pack<W> splat(float x) {
  return make<W>([&](int) HWY_ATTR { return hn::Set(typename Pack<W>::D(), x); });
}

template <int W>
HWY_INLINE Pack<W> mul_add(const Pack<W>& a, const Pack<W>& b, const Pack<W>& c) {
  return make<W>([&](int i) HWY_ATTR { return hn::MulAdd(a.part[i], b.part[i], c.part[i]); });
}

template <int W>
HWY_INLINE Pack<W> operator+(const Pack<W>& a, const Pack<W>& b) {
  return make<W>([&](int i) HWY_ATTR { return hn::Add(a.part[i], b.part[i]); });
}

template <int W>
HWY_INLINE Pack<W> operator-(const Pack<W>& a, const Pack<W>& b) {
  return make<W>([&](int i) HWY_ATTR { return hn::Sub(a.part[i], b.part[i]); });
}

template <int W>
HWY_INLINE Pack<W> operator*(const Pack<W>& a, const Pack<W>& b) {
  return make<W>([&](int i) HWY_ATTR { return hn::Mul(a.part[i], b.part[i]); });
}

template <int W>
HWY_INLINE float sum_of(const Pack<W>& p) {
  const typename Pack<W>::D d;
  auto total = p.part[0];
  for (int i = 1; i < Pack<W>::kParts; ++i) total = hn::Add(total, p.part[i]);
  return hn::GetLane(hn::SumOfLanes(d, total));
}

template <int W>
HWY_INLINE Pack<W> prelu(const Pack<W>& p, float slope) {
  const typename Pack<W>::D d;
  return make<W>([&](int i) HWY_ATTR {
    const auto zero = hn::Zero(d);
    return hn::MulAdd(hn::Set(d, slope), hn::Min(p.part[i], zero), hn::Max(p.part[i], zero));
  });
}

/// 1 / (1 + eˣ), within 2e-7: range reduction to |r| ≤ ln 2 / 2 and Cephes' polynomial for expf.
template <class V>
HWY_INLINE V reciprocal_one_plus_exp(V x) {
  const hn::DFromV<V> d;
  const hn::RebindToSigned<decltype(d)> di;
  x = hn::Min(hn::Max(x, hn::Set(d, -87.0f)), hn::Set(d, 87.0f));
  const auto exponent = hn::NearestInt(hn::Mul(x, hn::Set(d, 1.44269504f)));
  const auto whole = hn::ConvertTo(d, exponent);
  V r = hn::NegMulAdd(whole, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(whole, hn::Set(d, -2.12194440e-4f), r);
  const V r2 = hn::Mul(r, r);
  // Estrin's scheme: the chain is what a recurrent step waits for.
  const V p01 = hn::MulAdd(hn::Set(d, 1.6666665459e-1f), r, hn::Set(d, 5.0000001201e-1f));
  const V p23 = hn::MulAdd(hn::Set(d, 8.3334519073e-3f), r, hn::Set(d, 4.1665795894e-2f));
  const V p45 = hn::MulAdd(hn::Set(d, 1.9875691500e-4f), r, hn::Set(d, 1.3981999507e-3f));
  const V high = hn::MulAdd(p45, r2, p23);
  const V fraction = hn::MulAdd(hn::MulAdd(high, r2, p01), r2, r);  // eʳ − 1
  const V scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(exponent, hn::Set(di, 127))));
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(hn::MulAdd(fraction, scale, scale), one));
}

template <int W>
HWY_INLINE Pack<W> sigmoid(const Pack<W>& p) {
  return make<W>([&](int i) HWY_ATTR { return reciprocal_one_plus_exp(hn::Neg(p.part[i])); });
}

template <int W>
HWY_INLINE Pack<W> tanh(const Pack<W>& p) {
  const typename Pack<W>::D d;
  return make<W>([&](int i) HWY_ATTR {
    return hn::NegMulAdd(hn::Set(d, 2.0f), reciprocal_one_plus_exp(hn::Add(p.part[i], p.part[i])),
                         hn::Set(d, 1.0f));
  });
}

using Band = Pack<kBandChannels>;
constexpr int kC = kBandChannels;

HWY_INLINE Band load_band(const float* from) { return load<kC>(from); }

/// Bands worked on at once: enough sums in flight to hide the latency of a multiply-add, few enough
/// to stay in registers.
constexpr int kBlock = Band::kParts == 1 ? 11 : 5;

template <int W, int kStep, int B>
HWY_INLINE void conv_block(const BandConv& conv, const float* HWY_RESTRICT x,
                           float* HWY_RESTRICT y) {
  const int taps = int(conv.offsets.size());
  const float* HWY_RESTRICT weight = conv.weights.data();
  const std::int32_t* HWY_RESTRICT offset = conv.offsets.data();
  Pack<W> sum[B];
  for (int b = 0; b < B; ++b) sum[b] = load<W>(conv.bias.data());
  for (int t = 0; t < taps; ++t) {
    const Pack<W> w = load<W>(weight + t * W);
    const float* in = x + offset[t];
    asm("" : "+r"(in));  // keeps gcc from an address calculation a band where an offset will do
    for (int b = 0; b < B; ++b) sum[b] = mul_add<W>(w, splat<W>(in[b * kStep]), sum[b]);
  }
  const int y_step = conv.y_step;
  if (conv.slope == 1.0f) {
    for (int b = 0; b < B; ++b) store<W>(sum[b], y + b * y_step);
  } else {
    for (int b = 0; b < B; ++b) store<W>(prelu<W>(sum[b], conv.slope), y + b * y_step);
  }
}

template <int W, int kStep>
void conv_bands(const BandConv& conv, const float* x, float* y, int bands) noexcept {
  int f = 0;
  for (; f + kBlock <= bands; f += kBlock) {
    conv_block<W, kStep, kBlock>(conv, x + f * kStep, y + f * conv.y_step);
  }
  if (f == bands) return;
  if (bands >= kBlock) {  // the last block overlaps: x and y are never the same frame
    f = bands - kBlock;
    conv_block<W, kStep, kBlock>(conv, x + f * kStep, y + f * conv.y_step);
    return;
  }
  for (; f < bands; ++f) conv_block<W, kStep, 1>(conv, x + f * kStep, y + f * conv.y_step);
}

void conv(const BandConv& conv, const float* x, float* y, int bands) noexcept {
  if (conv.outputs == kC) {
    if (conv.x_step == 16) return conv_bands<kC, 16>(conv, x, y, bands);
    if (conv.x_step == 18) return conv_bands<kC, 18>(conv, x, y, bands);
    if (conv.x_step == 32) return conv_bands<kC, 32>(conv, x, y, bands);
  } else if (conv.outputs == 8 && conv.x_step == 16) {
    return conv_bands<8, 16>(conv, x, y, bands);
  }
  plain_band_kernels().conv(conv, x, y, bands);
}

void depthwise(const DepthwiseConv& conv, const float* const x[3], float* HWY_RESTRICT y,
               int bands) noexcept {
  Band weight[9];
  for (int i = 0; i < 9; ++i) weight[i] = load_band(conv.weights.data() + i * kC);
  const Band bias = load_band(conv.bias.data());
  const float *x0 = x[0], *x1 = x[1], *x2 = x[2];
  for (int f = 0; f < bands; ++f) {
    const int at = f * kC;
    Band a = bias, b = weight[1] * load_band(x0 + at), c = weight[4] * load_band(x1 + at);
    a = mul_add(weight[0], load_band(x0 + at - kC), a);
    b = mul_add(weight[2], load_band(x0 + at + kC), b);
    c = mul_add(weight[3], load_band(x1 + at - kC), c);
    a = mul_add(weight[5], load_band(x1 + at + kC), a);
    b = mul_add(weight[6], load_band(x2 + at - kC), b);
    c = mul_add(weight[7], load_band(x2 + at), c);
    a = mul_add(weight[8], load_band(x2 + at + kC), a);
    store(prelu(a + (b + c), conv.slope), y + at);
  }
}

void features(const std::complex<float>* bins, float* out, int count) noexcept {
  const hn::CappedTag<float, kC> d;
  constexpr int kLanes = Band::kLanes;
  const float* in = reinterpret_cast<const float*>(bins);
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::VFromD<decltype(d)> re, im;
    hn::LoadInterleaved2(d, in + 2 * i, re, im);
    const auto power = hn::MulAdd(re, re, hn::MulAdd(im, im, hn::Set(d, 1e-12f)));
    hn::StoreInterleaved4(hn::Sqrt(power), re, im, hn::Zero(d), d, out + 4 * i);
  }
  plain_band_kernels().features(bins + i, out + 4 * i, count - i);
}

void banded4(const BandedMatrix& matrix, const float* HWY_RESTRICT x,
             float* HWY_RESTRICT y) noexcept {
  const hn::CappedTag<float, 4> d;
  for (const BandedMatrix::Row& row : matrix.rows) {
    const float* value = matrix.values.data() + row.value;
    const float* in = x + 4 * row.column;
    auto sum = hn::Zero(d);
    for (int j = 0; j < row.count; ++j) {
      sum = hn::MulAdd(hn::Set(d, value[j]), hn::LoadU(d, in + 4 * j), sum);
    }
    hn::StoreU(sum, d, y);
    y += 4;
  }
}

void fold(const float* HWY_RESTRICT z, float* HWY_RESTRICT y, int bands) noexcept {
  const hn::CappedTag<float, 4> d;
  for (int f = 0; f < bands; ++f) {
    const float* row = z + f * kC;
    const auto sides = hn::Add(hn::LoadU(d, row + kC), hn::LoadU(d, row + 8 - kC));
    hn::StoreU(hn::Add(sides, hn::LoadU(d, row + 4)), d, y + 4 * f);
  }
}

void gru_gates(const float* r, const float* z, const float* n_x, const float* n_h, float* h,
               int bands) noexcept {
  for (int f = 0; f < bands; ++f) {
    const int at = f * kC;
    float* state = h + f * 2 * kC;
    const Band n =
        tanh(mul_add(sigmoid(load_band(r + at)), load_band(n_h + at), load_band(n_x + at)));
    store(mul_add(sigmoid(load_band(z + at)), load_band(state) - n, n), state);
  }
}

/// Input `J` of every block of four, in all four lanes.
template <int J>
HWY_INLINE Band broadcast_in_blocks(const Band& h) {
  return make<kC>([&](int i) HWY_ATTR { return hn::Broadcast<J>(h.part[i]); });
}

HWY_INLINE Band recur(const Band* w, const Band& h0, const Band& h1, const Band& h2, const Band& h3,
                      const Band& start) {
  return mul_add(w[1], h1, mul_add(w[0], h0, start)) + mul_add(w[3], h3, w[2] * h2);
}

void block_gru(const BlockGru& gru, const float* const gates[3], float* HWY_RESTRICT out,
               int bands) noexcept {
  const Band::D d;
  Band weight[12];
  for (int i = 0; i < 12; ++i) weight[i] = load_band(gru.recurrent.data() + i * kC);
  const Band n_bias = load_band(gru.n_bias.data());
  alignas(64) static constexpr float kBackward[kC] = {0, 0, 0, 0, 1, 1, 1, 1,
                                                      0, 0, 0, 0, 1, 1, 1, 1};
  const auto backward = [&](int i) HWY_ATTR {
    return hn::Gt(hn::LoadU(d, kBackward + i * Band::kLanes), hn::Zero(d));
  };
  Band h = splat<kC>(0.0f);
  for (int s = 0; s < bands; ++s) {
    const int ahead = s * kC, back = (bands - 1 - s) * kC;
    const auto gate = [&](int g) HWY_ATTR {
      const Band a = load_band(gates[g] + ahead), b = load_band(gates[g] + back);
      return make<kC>([&](int i)
                          HWY_ATTR { return hn::IfThenElse(backward(i), b.part[i], a.part[i]); });
    };
    const Band h0 = broadcast_in_blocks<0>(h), h1 = broadcast_in_blocks<1>(h),
               h2 = broadcast_in_blocks<2>(h), h3 = broadcast_in_blocks<3>(h);
    const Band r = sigmoid(recur(weight, h0, h1, h2, h3, gate(0)));
    const Band z = sigmoid(recur(weight + 4, h0, h1, h2, h3, gate(1)));
    const Band n = tanh(mul_add(r, recur(weight + 8, h0, h1, h2, h3, n_bias), gate(2)));
    h = mul_add(z, h - n, n);
    for (int i = 0; i < Band::kParts; ++i) {
      const int at = i * Band::kLanes;
      hn::BlendedStore(h.part[i], hn::Not(backward(i)), d, out + ahead + at);
      hn::BlendedStore(h.part[i], backward(i), d, out + back + at);
    }
  }
}

/// Σ over the bands of value(f), in two chains.
template <int W, class F>
HWY_INLINE Pack<W> sum_over(int bands, F value) {
  Pack<W> even = splat<W>(0.0f), odd = even;
  int f = 0;
  for (; f + 1 < bands; f += 2) {
    even = value(f, even);
    odd = value(f + 1, odd);
  }
  if (f < bands) even = value(f, even);
  return even + odd;
}

void norm_add(const float* x, const float* residual, const float* weight, const float* bias,
              float epsilon, float* out, int bands) noexcept {
  const float count = float(bands * kC);
  const auto total = sum_over<kC>(
      bands, [&](int f, const Band& sum) HWY_ATTR { return sum + load_band(x + f * kC); });
  const Band mean = splat<kC>(sum_of(total) / count);
  const auto squares = sum_over<kC>(bands, [&](int f, const Band& sum) HWY_ATTR {
    const Band centred = load_band(x + f * kC) - mean;
    return mul_add(centred, centred, sum);
  });
  const Band scale = splat<kC>(1.0f / __builtin_sqrtf(sum_of(squares) / count + epsilon));
  for (int f = 0; f < bands; ++f) {
    const int at = f * kC;
    const Band normed = (load_band(x + at) - mean) * scale;
    store(mul_add(normed, load_band(weight + at), load_band(bias + at) + load_band(residual + at)),
          out + at);
  }
}

void attend(const AttentionGru& gru, const float* worked, const float* x, float* hidden, float* out,
            int bands) noexcept {
  constexpr int kIn = 8;
  using Half = Pack<kIn>;
  const auto squares = sum_over<kIn>(bands, [&](int f, const Half& sum) HWY_ATTR {
    const Half w = load<kIn>(worked + f * kIn);
    return mul_add<kIn>(w, w, sum);
  });
  alignas(64) float energy[kIn];
  store<kIn>(squares * splat<kIn>(1.0f / float(bands)), energy);

  Band in[3], back[3];
  for (int g = 0; g < 3; ++g) in[g] = load_band(gru.bias.data() + g * kC);
  back[0] = back[1] = splat<kC>(0.0f);
  back[2] = load_band(gru.bias.data() + 3 * kC);
  for (int j = 0; j < kIn; ++j) {
    const Band e = splat<kC>(energy[j]);
    for (int g = 0; g < 3; ++g) {
      in[g] = mul_add(load_band(gru.input.data() + (j * 3 + g) * kC), e, in[g]);
    }
  }
  for (int j = 0; j < kC; ++j) {
    const Band h = splat<kC>(hidden[j]);
    for (int g = 0; g < 3; ++g) {
      back[g] = mul_add(load_band(gru.recurrent.data() + (j * 3 + g) * kC), h, back[g]);
    }
  }
  const Band n = tanh(mul_add(sigmoid(in[0] + back[0]), back[2], in[2]));
  store(mul_add(sigmoid(in[1] + back[1]), load_band(hidden) - n, n), hidden);

  Half scale = load<kIn>(gru.out_bias.data());
  for (int j = 0; j < kC; ++j) {
    scale = mul_add<kIn>(load<kIn>(gru.out.data() + j * kIn), splat<kIn>(hidden[j]), scale);
  }
  scale = sigmoid(scale);
  for (int f = 0; f < bands; ++f) {
    const Half scaled = load<kIn>(worked + f * kIn) * scale;
    const Half untouched = load<kIn>(x + f * kC + kIn);
    for (int i = 0; i < Half::kParts; ++i) {
      hn::StoreInterleaved2(scaled.part[i], untouched.part[i], Half::D(),
                            out + f * kC + 2 * i * Half::kLanes);
    }
  }
}

void add(const float* a, const float* b, float* out, int n) noexcept {
  for (int i = 0; i < n; i += kC) store(load_band(a + i) + load_band(b + i), out + i);
}

void tanh_all(const float* x, float* out, int n) noexcept {
  for (int i = 0; i < n; i += kC) store(tanh(load_band(x + i)), out + i);
}

void complex_multiply(const std::complex<float>* a, const std::complex<float>* b,
                      std::complex<float>* out, int count) noexcept {
  const hn::CappedTag<float, kC> d;
  constexpr int kLanes = Band::kLanes;
  const auto floats = [](const std::complex<float>* p) {
    return reinterpret_cast<const float*>(p);
  };
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::VFromD<decltype(d)> a_re, a_im, b_re, b_im;
    hn::LoadInterleaved2(d, floats(a + i), a_re, a_im);
    hn::LoadInterleaved2(d, floats(b + i), b_re, b_im);
    const auto re = hn::NegMulAdd(a_im, b_im, hn::Mul(a_re, b_re));
    const auto im = hn::MulAdd(a_re, b_im, hn::Mul(a_im, b_re));
    hn::StoreInterleaved2(re, im, d, reinterpret_cast<float*>(out + i));
  }
  plain_band_kernels().complex_multiply(a + i, b + i, out + i, count - i);
}

}  // namespace

const BandKernels& table() {
  static const BandKernels kTable{.conv = conv,
                                  .depthwise = depthwise,
                                  .features = features,
                                  .banded4 = banded4,
                                  .banded2 = plain_band_kernels().banded2,
                                  .fold = fold,
                                  .gru_gates = gru_gates,
                                  .block_gru = block_gru,
                                  .norm_add = norm_add,
                                  .attend = attend,
                                  .add = add,
                                  .tanh = tanh_all,
                                  .complex_multiply = complex_multiply};
  return kTable;
}

#endif  // HWY_TARGET
}  // namespace HWY_NAMESPACE
}  // namespace runnel::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace runnel::engine {

const BandKernels& band_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return N_AVX2::table();
  if (isa >= Isa::kAvx512) return N_AVX3::table();
#else
  if (isa != Isa::kGeneric) return HWY_STATIC_DISPATCH(table)();
#endif
  return plain_band_kernels();
}

}  // namespace runnel::engine
#endif
