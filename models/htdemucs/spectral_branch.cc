#include "models/htdemucs/spectral_branch.h"

#include <algorithm>

namespace runnel::models::htdemucs {
namespace {

using Kind = engine::TapFinish::Kind;

}  // namespace

SpectralWeights::SpectralWeights(const Config& c, const LayerReader& reader, bool bf16) {
  for (int i = 0; i < c.depth; ++i) {
    encoder.emplace_back(c, reader, Branch::kSpectral, i, bf16);
    decoder.emplace_back(c, reader, Branch::kSpectral, i, bf16);
  }
  if (c.freq_emb == 0) return;  // the checkpoint has none
  embedding = reader.floats("freq_emb.embedding.weight", {c.nfft / 2 / c.stride, c.channels});
  for (float& x : embedding) x *= c.emb_scale * c.freq_emb;
}

std::size_t SpectralWeights::bytes() const {
  std::size_t bytes = embedding.size() * sizeof(float);
  for (const EncoderLayer& layer : encoder) bytes += bytes_of(layer);
  for (const DecoderLayer& layer : decoder) bytes += bytes_of(layer);
  return bytes;
}

SpectralBranch::SpectralBranch(const Config& c, int frames, bool bf16, engine::Executor& executor)
    : frames_(frames),
      stride_(c.stride),
      pad_(c.kernel_size / 4),
      input_channels_(2 * c.audio_channels),
      bf16_(bf16),
      executor_(executor),
      input_(1, frames, (c.nfft / 2 + 2 * pad_) * input_channels_, 0, 1, bf16) {
  int frequencies = c.nfft / 2;
  for (int i = 0; i < c.depth; ++i) {
    frequencies /= stride_;
    levels_.emplace_back(frequencies, frames, c.channels_of(i), 1, 1, bf16);
    upper_.emplace_back(frequencies, frames, c.channels_of(i), c.widest_dilation(), 1, bf16);
  }
  const int channels = c.channels_of(c.depth - 1);
  bottom_.resize(std::size_t(frequencies) * std::size_t(frames) * std::size_t(channels));
  const std::vector<int> rows(std::size_t(c.depth), frames);
  for (int i = 0; i < executor.pool.threads(); ++i) residual_.emplace_back(c, rows, bf16);
}

void SpectralBranch::add_residual(const std::vector<ResidualBranch>& branches, int thread,
                                  const ResidualRows& rows) noexcept {
  for (const ResidualBranch& branch : branches) {
    const Moments hidden = branch.narrow(executor_, thread, rows, 0, frames_);
    const Moments widened = branch.activate(executor_, thread, rows, 0, frames_, hidden);
    branch.add(executor_, thread, rows, 0, frames_, widened);
  }
}

void SpectralBranch::encode(const SpectralWeights& weights, int i) noexcept {
  const EncoderLayer& layer = weights.encoder[std::size_t(i)];
  RowImage& out = levels_[std::size_t(i)];
  RowImage& in = i > 0 ? levels_[std::size_t(i - 1)] : input_;
  const bool first = i == 0, last = i + 1 == int(levels_.size());
  executor_.pool.run(out.planes(), [&](int f, int thread) {
    const ResidualRows rows = residual_[std::size_t(thread)].rows_of(i, frames_);
    const int low = stride_ * f - pad_;  // the first frequency of the window
    engine::TapProduct conv;
    if (first) {
      conv = layer.conv.product(in.operand().at(std::ptrdiff_t(low + pad_) * layer.inputs),
                                in.cols(), 0, frames_);
    } else {
      conv = layer.conv.product(in.at(low, 0), layer.inputs, in.plane_stride(), frames_);
      conv.tap_begin = std::max(0, -low);
      conv.tap_end = std::min(layer.conv.taps, in.planes() - low);
    }
    conv.finish.kind = Kind::kGelu;
    write_to(conv.finish, rows.x, rows.row0, layer.channels);
    engine::multiply(executor_, thread, conv);
    add_residual(layer.residual, thread, rows);

    engine::TapProduct rewrite =
        layer.rewrite.product(rows.x.at(rows.row0), layer.channels, 0, frames_);
    rewrite.finish.kind = Kind::kGlu;
    write_to(rewrite.finish, out.operand(), out.place(f, 0), layer.channels);
    float* bottom = bottom_.data() + std::ptrdiff_t(f) * frames_ * layer.channels;
    if (last && bf16_) {
      rewrite.finish.y = bottom;
      rewrite.finish.y_stride = layer.channels;
    }
    if (first && !weights.embedding.empty()) {
      rewrite.finish.residual = weights.embedding.data() + std::ptrdiff_t(f) * layer.channels;
    }
    engine::multiply(executor_, thread, rewrite);
    if (last && !bf16_) {
      std::copy_n(reinterpret_cast<const float*>(out.at(f, 0)),
                  std::ptrdiff_t(frames_) * layer.channels, bottom);
    }
  });
}

MatrixView<float> SpectralBranch::bottom() noexcept {
  const RowImage& deepest = levels_.back();
  return {bottom_.data(), deepest.planes() * frames_, deepest.cols(), deepest.cols()};
}

void SpectralBranch::join_bottom() noexcept {
  RowImage& level = levels_.back();
  executor_.pool.run(level.planes(), [&](int f, int) {
    engine::TapFinish sum{.cols = level.cols()};
    add_from(sum, level.operand(), level.place(f, 0), level.cols());
    write_to(sum, level.operand(), level.place(f, 0), level.cols());
    executor_.taps.finish(bottom_.data() + std::ptrdiff_t(f) * frames_ * level.cols(), level.cols(),
                          frames_, sum);
  });
}

void SpectralBranch::decode(const SpectralWeights& weights, int index, float* out) noexcept {
  const DecoderLayer& layer = weights.decoder[std::size_t(index)];
  const std::size_t i = levels_.size() - 1 - std::size_t(index);
  RowImage& in = levels_[i];
  RowImage& upper = upper_[i];
  const int planes = in.planes();
  executor_.pool.run(planes, [&](int f, int thread) {
    ResidualRows rows = residual_[std::size_t(thread)].rows_of(int(i), frames_);
    rows.x = upper.operand();
    rows.row0 = upper.place(f, 0);
    engine::TapProduct rewrite =
        layer.rewrite.product(in.at(f - 1, -1), layer.channels, in.plane_stride(), frames_);
    rewrite.tap_begin = f == 0 ? 1 : 0;
    rewrite.tap_end = f + 1 == planes ? 2 : 3;
    rewrite.finish.kind = Kind::kGlu;
    write_to(rewrite.finish, rows.x, rows.row0, layer.channels);
    engine::multiply(executor_, thread, rewrite);
    add_residual(layer.residual, thread, rows);
  });

  const int out_planes = stride_ * planes;
  executor_.pool.run(planes + 1, [&](int q, int thread) {
    const auto product_of = [&](const engine::Convolution& transposed) {
      engine::TapProduct up =
          transposed.product(upper.at(q - 1, 0), layer.channels, upper.plane_stride(), frames_);
      up.tap_begin = q == 0 ? 1 : 0;
      up.tap_end = q == planes ? 1 : 2;
      return up;
    };
    const int first = stride_ * q - pad_;
    if (layer.last) {
      engine::TapProduct up = product_of(layer.transposed.front());
      up.finish.y = out + std::ptrdiff_t(first + out_side()) * layer.outputs;
      up.finish.y_stride = std::ptrdiff_t(out_planes + 2 * out_side()) * layer.outputs;
      engine::multiply(executor_, thread, up);
      return;
    }
    RowImage& next = levels_[i - 1];
    for (int r = 0; r < stride_; ++r) {
      const int f = first + r;
      if (f < 0 || f >= out_planes) continue;
      engine::TapProduct up = product_of(layer.transposed[std::size_t(r)]);
      up.finish.kind = Kind::kGelu;
      add_from(up.finish, next.operand(), next.place(f, 0), layer.outputs);
      write_to(up.finish, next.operand(), next.place(f, 0), layer.outputs);
      engine::multiply(executor_, thread, up);
    }
  });
}

std::size_t SpectralBranch::bytes() const noexcept {
  std::size_t bytes = input_.bytes() + bottom_.size() * sizeof(float);
  for (const RowImage& image : levels_) bytes += image.bytes();
  for (const RowImage& image : upper_) bytes += image.bytes();
  for (const ResidualMemory& memory : residual_) bytes += memory.bytes();
  return bytes;
}

}  // namespace runnel::models::htdemucs
