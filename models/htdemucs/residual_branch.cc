#include "models/htdemucs/residual_branch.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "models/htdemucs/row_image.h"

namespace runnel::models::htdemucs {
namespace {

using Kind = engine::TapFinish::Kind;

constexpr double kEpsilon = 1e-5;
constexpr int kMostColumns = 2 * (kMostChannels + engine::kPanel - 1);
constexpr int kJoinedValues = 512;
static_assert(kJoinedValues >= engine::kMostGram, "a hidden row must fit");

/// Sums of n values and of their products.
constexpr std::size_t gram_values(int n) { return std::size_t(n) * std::size_t(n + 1); }

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
  if (hidden > engine::kMostGram || channels > kMostChannels) {
    throw std::runtime_error(name + ": expected up to " + std::to_string(kMostChannels) +
                             " channels and " + std::to_string(engine::kMostGram) +
                             " hidden ones, found " + std::to_string(channels) + " and " +
                             std::to_string(hidden));
  }
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
  const std::size_t n = std::size_t(hidden_stride());
  row_sum_.resize(n);
  row_bias_.resize(n);
  row_gram_.resize(n * n);
  std::vector<float> row(std::size_t(widen_.weight.inputs()));
  for (int column = 0; column < widen_.columns(); ++column) {
    widen_.weight.read_row(column, row.data());
    const double b = double(widen_.bias[std::size_t(column)]);
    bias_moments_ += {b, b * b};
    for (std::size_t i = 0; i < std::size_t(hidden); ++i) {
      row_sum_[i] += double(row[i]);
      row_bias_[i] += b * double(row[i]);
      for (std::size_t j = i; j < std::size_t(hidden); ++j) {
        row_gram_[i * n + j] += (j == i ? 1 : 2) * double(row[i]) * double(row[j]);
      }
    }
  }
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

engine::ScratchNeed ResidualBranch::scratch() {
  return engine::convolution_scratch() |
         engine::ScratchNeed::of<float>(gram_values(engine::kMostGram));
}

Moments ResidualBranch::narrow(engine::Executor& executor, int thread, const ResidualRows& rows,
                               int first, int count) const noexcept {
  const std::ptrdiff_t begin = rows.row0 + std::ptrdiff_t(first - dilation_) * channels_;
  engine::TapProduct product =
      narrow_.product(rows.x.at(begin), channels_, std::ptrdiff_t(dilation_) * channels_, count);
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
  for (int i = 0; i < stride; ++i) {
    const std::size_t channel = std::size_t(i);
    gain[i] = i < hidden_ ? norm.scale * hidden_gain_[channel] : 0.0f;
    bias[i] = i < hidden_ ? hidden_bias_[channel] - norm.mean * gain[i] : 0.0f;
  }
  for (int i = int(stride); i < cols; ++i) {
    gain[i] = gain[i - stride];
    bias[i] = bias[i - stride];
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

  const int n = int(stride);
  float* sums = executor.scratch<float>(thread, gram_values(n));
  float* products = sums + n;
  std::fill_n(sums, gram_values(n), 0.0f);
  executor.taps.gram(activated, rows.activated.bf16, stride, count, n, sums, products);
  Moments moments{count * bias_moments_.sum, count * bias_moments_.squares};
  for (int i = 0; i < n; ++i) {
    moments.sum += row_sum_[std::size_t(i)] * double(sums[i]);
    moments.squares += 2 * row_bias_[std::size_t(i)] * double(sums[i]);
  }
  for (int i = 0; i < n; ++i) {
    for (int j = i * n + i; j < (i + 1) * n; ++j) {
      moments.squares += row_gram_[std::size_t(j)] * double(products[j]);
    }
  }
  return moments;
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
  const std::ptrdiff_t place = rows.row0 + std::ptrdiff_t(first) * channels_;
  product.finish.kind = Kind::kGlu;
  product.finish.gain = gain;
  product.finish.bias = bias;
  add_from(product.finish, rows.x, place, channels_);
  write_to(product.finish, rows.x, place, channels_);
  engine::multiply(executor, thread, product);
}

}  // namespace runnel::models::htdemucs
