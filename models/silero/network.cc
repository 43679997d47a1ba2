#include "models/silero/network.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "dsp/elementwise.h"
#include "dsp/window.h"

namespace runnel::models::silero {
namespace {

constexpr int kReflected = 64;  // samples, at the right end only

void relu(float* x, int n) noexcept {
  for (int i = 0; i < n; ++i) x[i] = x[i] < 0.0f ? 0.0f : x[i];  // NaN stays
}

float sigmoid(float x) noexcept { return 1.0f / (1.0f + std::exp(-x)); }

// Absolute error below 1e-7, as cheap as one exponential; it saturates without overflow.
float tanh_of(float x) noexcept { return 1.0f - 2.0f / (1.0f + std::exp(2.0f * x)); }

}  // namespace

Network::Network(std::shared_ptr<const Weights> weights, engine::Isa isa)
    : weights_(std::move(weights)),
      kernels_(engine::matrix_kernels(isa)),
      fft_(dsp::shared_fft(kFft)),
      window_(dsp::make_window(dsp::WindowKind::kHann, kFft)),
      windowed_(kFft),
      bins_(kBins),
      scratch_(fft_->scratch_size()),
      audio_(kContext + kBlock + kReflected),
      frames_((kFrames + 2) * kBins + kMostPadding),
      out1_((kFrames + 1) * 128),
      out2_(2 * 64),
      out3_(64),
      gates_(4 * kHidden),
      loud_(kHidden),
      logit_(engine::kPanel),
      x_h_(2 * kHidden),
      cell_(kHidden) {}

void Network::reset() noexcept {
  for (AlignedVector<float>* state : {&audio_, &x_h_, &cell_}) {
    std::fill(state->begin(), state->end(), 0.0f);
  }
}

float Network::step(std::span<const float, kBlock> samples) noexcept {
  const Weights& w = *weights_;
  std::copy(samples.begin(), samples.end(), audio_.begin() + kContext);
  magnitudes();
  // Each row of input is the frames under the kernel, one after another.
  apply(w.conv1, frames_.data(), kBins, kFrames, out1_.data() + 128);
  relu(out1_.data() + 128, kFrames * 128);
  apply(w.conv2, out1_.data(), 2 * 128, 2, out2_.data());
  relu(out2_.data(), 2 * 64);
  apply(w.conv3, out2_.data(), 0, 1, out3_.data());
  relu(out3_.data(), 64);
  apply(w.conv4, out3_.data(), 0, 1, x_h_.data());
  relu(x_h_.data(), kHidden);

  apply(w.lstm, x_h_.data(), 0, 1, gates_.data());
  float* hidden = x_h_.data() + kHidden;
  const float *i = gates_.data(), *f = i + kHidden, *g = f + kHidden, *o = g + kHidden;
  for (int k = 0; k < kHidden; ++k) {
    cell_[k] = sigmoid(f[k]) * cell_[k] + sigmoid(i[k]) * tanh_of(g[k]);
    hidden[k] = sigmoid(o[k]) * tanh_of(cell_[k]);
  }
  std::copy_n(hidden, kHidden, loud_.data());
  relu(loud_.data(), kHidden);
  apply(w.probability, loud_.data(), 0, 1, logit_.data());
  std::copy_n(audio_.begin() + kBlock, kContext, audio_.begin());
  return sigmoid(logit_[0]);
}

// y[r] = W·x[r] + b for x rows that lie x_stride apart, and may overlap; y: [rows, outputs].
void Network::apply(const Linear& linear, const float* x, int x_stride, int rows,
                    float* y) noexcept {
  const engine::PackedMatrix& w = linear.weight;
  const int outputs = int(linear.bias.size());
  const auto few =
      w.precision() == engine::Precision::kFloat16 ? kernels_.few_f16 : kernels_.few_f32;
  few(x, x_stride, rows, w.steps(), w.panel(0), w.panels(), y, outputs);
  for (int r = 0; r < rows; ++r) {
    for (int o = 0; o < outputs; ++o) y[r * outputs + o] += linear.bias[o];
  }
}

void Network::magnitudes() noexcept {
  float* end = audio_.data() + kContext + kBlock;
  for (int i = 0; i < kReflected; ++i) end[i] = end[-2 - i];
  for (int frame = 0; frame < kFrames; ++frame) {
    dsp::multiply(window_.data(), audio_.data() + frame * kFftHop, windowed_.data(), kFft);
    fft_->forward(windowed_.data(), bins_.data(), scratch_.data());
    const auto* parts = reinterpret_cast<const float*>(bins_.data());
    float* out = frames_.data() + (1 + frame) * kBins;
    for (int k = 0; k < kBins; ++k) {
      out[k] = std::sqrt(parts[2 * k] * parts[2 * k] + parts[2 * k + 1] * parts[2 * k + 1]);
    }
  }
}

}  // namespace runnel::models::silero
