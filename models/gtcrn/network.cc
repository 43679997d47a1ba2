#include "models/gtcrn/network.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <functional>
#include <vector>

namespace runnel::models::gtcrn {
namespace {

using engine::kBandChannels;
using engine::kHalo;

constexpr int kCoreFrame = kCoreBands * kBandChannels;  // floats without halo
constexpr int kCoreFrameSize = (kCoreBands + 2 * kHalo) * kBandChannels;
constexpr int kHalfFrameSize = (kHalfBands + 2 * kHalo) * kBandChannels;
constexpr int kHaloSize = kHalo * kBandChannels;
// Two bands of two channels at a time: one band more than the mask has, rounded up for tanh.
constexpr int kBandMaskSize = (4 * kHalfBands + kBandChannels - 1) / kBandChannels * kBandChannels;

int frames_of(int dilation) { return 2 * dilation + 1; }

}  // namespace

Network::Network(std::shared_ptr<const Weights> weights, engine::Isa isa)
    : weights_(std::move(weights)), kernels_(engine::band_kernels(isa)) {
  // First the sizes, then the pointers, so that the list of buffers stands here once.
  std::vector<std::pair<float**, std::size_t>> buffers;
  std::size_t total = 0;
  const auto buffer = [&](float*& pointer, int size, int halo = 0) {
    buffers.emplace_back(&pointer, total + std::size_t(halo));
    total += std::size_t(aligned_stride<float>(size));
  };
  buffer(features_, 4 * kBins);
  buffer(bands_, 4 * (kBands + 2), 4);
  buffer(unfolded_, kUnfolded * (kBands + 2 * kHalo) + 4, kUnfolded * kHalo);
  buffer(en0_, kHalfFrameSize, kHaloSize);
  buffer(en1_, kCoreFrameSize, kHaloSize);
  for (int i = 0; i < 3; ++i) {
    buffer(en_gt_[i], kCoreFrameSize, kHaloSize);
    for (auto [state, layer] : {std::pair{&en_state_[i], &weights_->layers().en_gt[i]},
                                std::pair{&de_state_[i], &weights_->layers().de_gt[i]}}) {
      buffer(state->frames, frames_of(layer->dilation) * kCoreFrameSize, kHaloSize);
      buffer(state->hidden, kBandChannels);
    }
  }
  for (float*& inter : inter_) buffer(inter, 2 * kCoreFrame);
  for (float*& gate : gates_) buffer(gate, kCoreFrame);
  for (float** frame : {&a_, &b_, &c_}) buffer(*frame, kCoreFrameSize, kHaloSize);
  buffer(worked_, kCoreFrame / 2);
  for (float** frame : {&half_, &half_sum_, &taps_}) buffer(*frame, kHalfFrameSize, kHaloSize);
  buffer(band_mask_, kBandMaskSize);
  workspace_.resize(total);
  for (auto [pointer, offset] : buffers) *pointer = workspace_.data() + offset;
}

void Network::reset() noexcept {
  std::fill(workspace_.begin(), workspace_.end(), 0.0f);
  steps_ = 0;
}

void Network::step(std::span<const std::complex<float>> bins,
                   std::span<std::complex<float>> mask) noexcept {
  assert(bins.size() == kBins && mask.size() == kBins);
  const Layers& layers = weights_->layers();
  const engine::BandKernels& k = kernels_;

  k.features(bins.data(), features_, kBins);
  k.banded4(layers.to_bands, features_, bands_);
  for (int f = 0; f < kBands; ++f) {
    // Three features and a zero are copied at a time; the zero is overwritten by what follows.
    for (int n = 0; n < 3; ++n) {
      std::memcpy(unfolded_ + f * kUnfolded + n * kFeatures, bands_ + 4 * (f + n - 1),
                  4 * sizeof(float));
    }
  }
  k.conv(layers.en_conv0, unfolded_, en0_, kHalfBands);
  k.conv(layers.en_conv1, en0_, en1_, kCoreBands);
  run(layers.en_gt[0], en_state_[0], en1_, en_gt_[0]);
  run(layers.en_gt[1], en_state_[1], en_gt_[0], en_gt_[1]);
  run(layers.en_gt[2], en_state_[2], en_gt_[1], en_gt_[2]);

  run(layers.dpgrnn[0], inter_[0], en_gt_[2], a_);
  run(layers.dpgrnn[1], inter_[1], a_, b_);

  for (int i = 0; i < 3; ++i) {
    k.add(b_, en_gt_[2 - i], a_, kCoreFrame);
    run(layers.de_gt[i], de_state_[i], a_, b_);
  }
  k.add(b_, en1_, a_, kCoreFrame);
  k.conv(layers.de_conv3_even, a_, half_, kCoreBands);
  k.conv(layers.de_conv3_odd, a_, half_ + kBandChannels, kCoreBands - 1);
  k.add(half_, en0_, half_sum_, kHalfBands * kBandChannels);
  k.conv(layers.de_conv4, half_sum_, taps_, kHalfBands);
  k.fold(taps_, band_mask_, kHalfBands);
  k.tanh(band_mask_, band_mask_, kBandMaskSize);
  k.banded2(layers.from_bands, band_mask_, reinterpret_cast<float*>(mask.data()));
  ++steps_;
}

void Network::run(const GtConv& layer, const GtState& state, const float* x, float* out) noexcept {
  const int count = frames_of(layer.dilation);
  const auto frame = [&](int age) {
    return state.frames + (steps_ + count - age) % count * kCoreFrameSize;
  };
  kernels_.conv(layer.point1, x, frame(0), kCoreBands);
  const float* const frames[3] = {frame(2 * layer.dilation), frame(layer.dilation), frame(0)};
  kernels_.depthwise(layer.depth, frames, c_, kCoreBands);
  kernels_.conv(layer.point2, c_, worked_, kCoreBands);
  kernels_.attend(layer.attention, worked_, x, state.hidden, out, kCoreBands);
}

void Network::run(const DualPath& path, float* inter, const float* x, float* out) noexcept {
  const auto& [r, z, n_x, n_h] = gates_;
  constexpr float kEpsilon = 1e-8f;

  for (int gate = 0; gate < 3; ++gate) {
    kernels_.conv(path.intra_gates[gate], x, gates_[gate], kCoreBands);
  }
  const float* const gates[3] = {r, z, n_x};
  kernels_.block_gru(path.intra, gates, n_h, kCoreBands);
  kernels_.conv(path.intra_fc, n_h, r, kCoreBands);
  kernels_.norm_add(r, x, path.intra_norm.weight.data(), path.intra_norm.bias.data(), kEpsilon, c_,
                    kCoreBands);

  for (int f = 0; f < kCoreBands; ++f) {
    std::memcpy(inter + 2 * f * kBandChannels, c_ + f * kBandChannels,
                kBandChannels * sizeof(float));
  }
  kernels_.conv(path.inter_r, inter, r, kCoreBands);
  kernels_.conv(path.inter_z, inter, z, kCoreBands);
  kernels_.conv(path.inter_n_x, inter, n_x, kCoreBands);
  kernels_.conv(path.inter_n_h, inter, n_h, kCoreBands);
  kernels_.gru_gates(r, z, n_x, n_h, inter + kBandChannels, kCoreBands);
  kernels_.conv(path.inter_fc, inter, r, kCoreBands);
  kernels_.norm_add(r, c_, path.inter_norm.weight.data(), path.inter_norm.bias.data(), kEpsilon,
                    out, kCoreBands);
}

void Network::apply(std::span<const std::complex<float>> bins,
                    std::span<const std::complex<float>> mask,
                    std::span<std::complex<float>> out) const noexcept {
  kernels_.complex_multiply(bins.data(), mask.data(), out.data(), int(bins.size()));
}

}  // namespace runnel::models::gtcrn
