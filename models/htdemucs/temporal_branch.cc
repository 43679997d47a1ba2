#include "models/htdemucs/temporal_branch.h"

#include <algorithm>

namespace runnel::models::htdemucs {
namespace {

using Kind = engine::TapFinish::Kind;

/// Of each layer.
std::vector<int> rows_of(const Config& c, int samples) {
  std::vector<int> rows;
  for (int i = 0; i < c.depth; ++i) {
    samples = (samples + c.stride - 1) / c.stride;
    rows.push_back(samples);
  }
  return rows;
}

/// Rows of a task: some 200 KB of floats.
int block_rows(int channels) noexcept { return std::max(64, 49152 / channels / 32 * 32); }

}  // namespace

TemporalWeights::TemporalWeights(const Config& c, const LayerReader& reader, bool bf16) {
  for (int i = 0; i < c.depth; ++i) {
    encoder.emplace_back(c, reader, Branch::kTemporal, i, bf16);
    decoder.emplace_back(c, reader, Branch::kTemporal, i, bf16);
  }
}

std::size_t TemporalWeights::bytes() const {
  std::size_t bytes = 0;
  for (const EncoderLayer& layer : encoder) bytes += bytes_of(layer);
  for (const DecoderLayer& layer : decoder) bytes += bytes_of(layer);
  return bytes;
}

TemporalBranch::TemporalBranch(const Config& c, int samples, bool bf16, engine::Executor& executor)
    : stride_(c.stride),
      pad_(c.kernel_size / 4),
      bf16_(bf16),
      executor_(executor),
      input_(1, samples, c.audio_channels, beyond(c), c.stride, bf16),
      residual_(c, rows_of(c, samples), bf16) {
  const std::vector<int> rows = rows_of(c, samples);
  std::size_t blocks = 0;
  for (int i = 0; i < c.depth; ++i) {
    const int count = rows[std::size_t(i)], channels = c.channels_of(i);
    levels_.emplace_back(1, count, channels, beyond(c), c.stride, bf16);
    blocks = std::max(blocks, std::size_t(count / block_rows(channels) + 1));
  }
  bottom_.resize(std::size_t(rows.back()) * std::size_t(c.channels_of(c.depth - 1)));
  moments_.resize(blocks);
}

template <class Task>
void TemporalBranch::over_rows(int rows, int channels, const Task& task) noexcept {
  const int block = block_rows(channels);
  executor_.pool.run((rows + block - 1) / block, [&](int i, int thread) {
    task(i * block, std::min(block, rows - i * block), thread);
  });
}

template <class Task>
Moments TemporalBranch::sum_over_rows(int rows, int channels, const Task& task) noexcept {
  const int block = block_rows(channels), blocks = (rows + block - 1) / block;
  over_rows(rows, channels, [&](int first, int count, int thread) {
    moments_[std::size_t(first / block)] = task(first, count, thread);
  });
  Moments total;
  for (int i = 0; i < blocks; ++i) total += moments_[std::size_t(i)];
  return total;
}

template <class Then>
void TemporalBranch::add_residual(const std::vector<ResidualBranch>& branches, int channels,
                                  const ResidualRows& rows, const Then& then) noexcept {
  for (const ResidualBranch& branch : branches) {
    const bool last = &branch == &branches.back();
    const Moments hidden = sum_over_rows(rows.rows, channels, [&](int first, int n, int thread) {
      return branch.narrow(executor_, thread, rows, first, n);
    });
    const Moments widened = sum_over_rows(rows.rows, channels, [&](int first, int n, int thread) {
      return branch.activate(executor_, thread, rows, first, n, hidden);
    });
    over_rows(rows.rows, channels, [&](int first, int n, int thread) {
      branch.add(executor_, thread, rows, first, n, widened);
      if (last) then(first, n, thread);
    });
  }
}

void TemporalBranch::encode(const TemporalWeights& weights, int i) noexcept {
  const EncoderLayer& layer = weights.encoder[std::size_t(i)];
  RowImage& in = i > 0 ? levels_[std::size_t(i - 1)] : input_;
  RowImage& out = levels_[std::size_t(i)];
  const int channels = layer.channels;
  const bool last = i + 1 == int(levels_.size());
  const ResidualRows rows = residual_.rows_of(i, out.rows());
  over_rows(out.rows(), channels, [&](int first, int count, int thread) {
    const std::ptrdiff_t at = std::ptrdiff_t(first) * channels;
    engine::TapProduct conv = layer.conv.product(in.at(0, stride_ * first - pad_),
                                                 std::ptrdiff_t(stride_) * layer.inputs, 0, count);
    conv.finish.kind = Kind::kGelu;
    write_to(conv.finish, rows.x, rows.row0 + at, channels);
    engine::multiply(executor_, thread, conv);
  });
  add_residual(layer.residual, channels, rows, [&](int first, int count, int thread) {
    const std::ptrdiff_t at = std::ptrdiff_t(first) * channels;
    engine::TapProduct rewrite =
        layer.rewrite.product(rows.x.at(rows.row0 + at), channels, 0, count);
    rewrite.finish.kind = Kind::kGlu;
    write_to(rewrite.finish, out.operand(), out.place(0, first), channels);
    if (last && bf16_) {
      rewrite.finish.y = bottom_.data() + at;
      rewrite.finish.y_stride = channels;
    }
    engine::multiply(executor_, thread, rewrite);
    if (last && !bf16_) {
      std::copy_n(reinterpret_cast<const float*>(out.at(0, first)),
                  std::ptrdiff_t(count) * channels, bottom_.data() + at);
    }
  });
}

MatrixView<float> TemporalBranch::bottom() noexcept {
  const RowImage& deepest = levels_.back();
  return {bottom_.data(), deepest.rows(), deepest.cols(), deepest.cols()};
}

void TemporalBranch::join_bottom() noexcept {
  RowImage& level = levels_.back();
  over_rows(level.rows(), level.cols(), [&](int first, int count, int) {
    engine::TapFinish sum{.cols = level.cols()};
    add_from(sum, level.operand(), level.place(0, first), level.cols());
    write_to(sum, level.operand(), level.place(0, first), level.cols());
    executor_.taps.finish(bottom_.data() + std::ptrdiff_t(first) * level.cols(), level.cols(),
                          count, sum);
  });
}

void TemporalBranch::decode(const TemporalWeights& weights, int index, float* out) noexcept {
  const DecoderLayer& layer = weights.decoder[std::size_t(index)];
  const std::size_t i = levels_.size() - 1 - std::size_t(index);
  RowImage& in = levels_[i];
  const int channels = layer.channels;
  const ResidualRows rows = residual_.rows_of(int(i), in.rows());
  over_rows(in.rows(), channels, [&](int first, int count, int thread) {
    const std::ptrdiff_t at = std::ptrdiff_t(first) * channels;
    engine::TapProduct rewrite = layer.rewrite.product(in.at(0, first - 1), channels, 0, count);
    rewrite.finish.kind = Kind::kGlu;
    write_to(rewrite.finish, rows.x, rows.row0 + at, channels);
    engine::multiply(executor_, thread, rewrite);
  });
  add_residual(layer.residual, channels, rows, [](int, int, int) {});

  // Windows of inputs q − 1 and q give rows stride · q − pad … of the output.
  const engine::Convolution& up = layer.transposed.front();
  const std::ptrdiff_t step = std::ptrdiff_t(stride_) * layer.outputs;
  RowImage* next = layer.last ? nullptr : &levels_[i - 1];
  over_rows(in.rows() + 1, channels, [&](int first, int count, int thread) {
    engine::TapProduct product =
        up.product(rows.x.at(rows.row0 + std::ptrdiff_t(first - 1) * channels), channels, 0, count);
    const int row = stride_ * first - pad_;
    if (next) {
      product.finish.kind = Kind::kGelu;
      add_from(product.finish, next->operand(), next->place(0, row), step);
      write_to(product.finish, next->operand(), next->place(0, row), step);
    } else {
      product.finish.y = out + std::ptrdiff_t(row) * layer.outputs;
      product.finish.y_stride = step;
    }
    engine::multiply(executor_, thread, product);
  });
  if (next) {
    next->clear(0, -pad_, pad_);
    next->clear(0, next->rows(), stride_ * (in.rows() + 1) - pad_ - next->rows());
  }
}

std::size_t TemporalBranch::bytes() const noexcept {
  std::size_t bytes = input_.bytes() + bottom_.size() * sizeof(float) + residual_.bytes();
  for (const RowImage& image : levels_) bytes += image.bytes();
  return bytes;
}

}  // namespace runnel::models::htdemucs
