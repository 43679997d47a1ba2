#include "models/htdemucs/residual_branch.h"

#include <algorithm>
#include <cmath>

#include "models/htdemucs/row_image.h"

namespace runnel::models::htdemucs {
namespace {

using Kind = engine::TapFinish::Kind;

constexpr double kEpsilon = 1e-5;
constexpr int kJoinedValues = 1024;  // the most that kMostColumns / 8 gives a row, and some

struct Normal {
  float mean, scale;  // 1 / √(variance + ε)
};

Normal normal_of(const Moments& m, double count) noexcept {
  const double mean = m.sum / count;
  const double variance = std::max(0.0, m.squares / count - mean * mean);
  return {float(mean), float(1.0 / std::sqrt(variance + kEpsilon))};
}

}  // namespace

ResidualBranch::ResidualBranch(const LayerReader& reader, const std::string& name, int channels,
                               int hidden, int dilation, bool bf16)
    : channels_(channels), hidden_(hidden), dilation_(dilation) {
  const auto in = reader.floats(name + ".0.weight", {hidden, channels, 3});
  const auto in_bias = reader.floats(name + ".0.bias", {hidden});
  narrow_ = engine::Convolution(
      hidden, 3, channels, false, bf16,
      [&](int output, int tap, std::span<float> row) {
        for (int c = 0; c < channels; ++c) {
          row[std::size_t(c)] = in[std::size_t((output * channels + c) * 3 + tap)];
        }
      },
      in_bias);
  hidden_gain_ = reader.floats(name + ".1.weight", {hidden});
  hidden_bias_ = reader.floats(name + ".1.bias", {hidden});
  const auto out = reader.floats(name + ".3.weight", {2 * channels, hidden, 1});
  widen_ = engine::Convolution(
      2 * channels, 1, hidden, true, bf16,
      [&](int output, int, std::span<float> row) {
        std::copy_n(out.begin() + std::ptrdiff_t(output) * hidden, hidden, row.begin());
      },
      reader.floats(name + ".3.bias", {2 * channels}));
  auto gain = reader.floats(name + ".4.weight", {2 * channels});
  auto bias = reader.floats(name + ".4.bias", {2 * channels});
  const auto scale = reader.floats(name + ".6.scale", {channels});
  for (std::size_t c = 0; c < std::size_t(channels); ++c) {
    gain[c] *= scale[c];
    bias[c] *= scale[c];
  }
  gain_ = widen_.columns_of(gain);
  bias_ = widen_.columns_of(bias);
}

Moments ResidualBranch::narrow(engine::Executor& executor, int thread, const ResidualRows& rows,
                               int first, int count) const noexcept {
  const std::ptrdiff_t begin = rows.operand_row0 + std::ptrdiff_t(first - dilation_) * channels_;
  engine::TapProduct product = narrow_.product(rows.operand.at(begin), channels_,
                                               std::ptrdiff_t(dilation_) * channels_, count);
  float* hidden = rows.hidden + std::ptrdiff_t(first) * hidden_stride();
  product.finish.y = hidden;
  product.finish.y_stride = hidden_stride();
  double moments[2] = {0, 0};
  product.finish.moments = moments;
  engine::multiply(executor, thread, product);
  return {moments[0], moments[1]};
}

Moments ResidualBranch::activate(engine::Executor& executor, int thread, const ResidualRows& rows,
                                 int first, int count, const Moments& of_hidden) const noexcept {
  const Normal norm = normal_of(of_hidden, double(rows.rows) * hidden_);
  // Rows are too narrow for vectors: several that lie one after the other are taken as one.
  const std::ptrdiff_t stride = hidden_stride(), at = first * stride;
  const int together = int(kJoinedValues / stride), cols = int(together * stride);
  alignas(64) float gain[kJoinedValues], bias[kJoinedValues];
  for (int i = 0; i < cols; ++i) {
    const std::size_t channel = std::size_t(i % stride);
    gain[i] = bias[i] = 0;
    if (channel >= std::size_t(hidden_)) continue;
    gain[i] = norm.scale * hidden_gain_[channel];
    bias[i] = hidden_bias_[channel] - norm.mean * gain[i];
  }
  std::byte* activated = rows.activated.at(at);
  const auto activate_rows = [&](int row, int count, int width) {
    engine::TapFinish finish{.kind = Kind::kGelu, .gain = gain, .bias = bias, .cols = width};
    write_to(finish, rows.activated, at + row * stride, width);
    executor.taps.finish(rows.hidden + at + row * stride, width, count, finish);
  };
  const int whole = count / together, rest = count % together;
  activate_rows(0, whole, cols);
  if (rest > 0) activate_rows(whole * together, 1, int(rest * stride));

  double moments[2] = {0, 0};
  engine::TapProduct product = widen_.product(activated, stride, 0, count);
  product.finish.kind = Kind::kMoments;
  product.finish.cols = widen_.columns();
  product.finish.moments = moments;
  engine::multiply(executor, thread, product);
  return {moments[0], moments[1]};
}

void ResidualBranch::add(engine::Executor& executor, int thread, const ResidualRows& rows,
                         int first, int count, const Moments& of_widened) const noexcept {
  const Normal norm = normal_of(of_widened, 2.0 * rows.rows * channels_);
  alignas(64) float gain[kMostColumns], bias[kMostColumns];
  for (int c = 0; c < widen_.columns(); ++c) {
    gain[c] = norm.scale * gain_[std::size_t(c)];
    bias[c] = (widen_.bias[std::size_t(c)] - norm.mean) * gain[c] + bias_[std::size_t(c)];
  }
  const std::ptrdiff_t stride = hidden_stride();
  engine::TapProduct product = widen_.product(rows.activated.at(first * stride), stride, 0, count);
  float* x = rows.x + std::ptrdiff_t(first) * channels_;
  product.finish.kind = Kind::kGlu;
  product.finish.gain = gain;
  product.finish.bias = bias;
  product.finish.residual = x;
  product.finish.residual_stride = channels_;
  product.finish.y = x;
  product.finish.y_stride = channels_;
  if (rows.operand.bf16) {
    write_to(product.finish, rows.operand, rows.operand_row0 + std::ptrdiff_t(first) * channels_,
             channels_);
  }
  engine::multiply(executor, thread, product);
}

}  // namespace runnel::models::htdemucs
