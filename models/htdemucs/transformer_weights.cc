#include "models/htdemucs/transformer_weights.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "models/layer_reader.h"

namespace runnel::models::htdemucs {
namespace {

using engine::LayerNorm;
using engine::Linear;
using engine::PackedMatrix;
using engine::Precision;

constexpr engine::MemoryUsage kMemory = engine::MemoryUsage::kBalanced;

class Packer {
 public:
  Packer(const Config& config, const HeadShape& heads, const TensorSource& tensors,
         Precision precision)
      : dim_(config.transformer_dim()),
        hidden_(int(float(dim_) * config.t_hidden_scale)),
        heads_(heads),
        tensors_(tensors),
        precision_(precision),
        read_(tensors, {}, {}) {}

  Linear sampler(const std::string& name, int outputs, int inputs) const {
    return read_.convolution(name, outputs, inputs, 1, precision_);
  }
  LayerNorm norm(const std::string& name) const { return read_.norm(name, dim_); }

  /// `own` and `other`: "crosstransformer.layers.3." and the same layer of the other branch.
  TransformerLayer layer(const std::string& own, const std::string& other, bool cross) const {
    TransformerLayer layer;
    layer.cross = cross;
    const std::string attention = cross ? "cross_attn." : "self_attn.";
    // Of a cross layer, norm1 is the queries' and norm2 the keys' and values'.
    layer.qkv = qkv(own + attention, norm(own + "norm1"), (cross ? other : own) + attention,
                    cross ? norm(other + "norm2") : norm(own + "norm1"));
    layer.out = out(own + attention + "out_proj", scale(own + "gamma_1"));
    layer.linear1 = normalised(own + "linear1", hidden_, norm(own + (cross ? "norm3" : "norm2")));
    layer.linear2 = scaled(own + "linear2", hidden_, scale(own + "gamma_2"));
    layer.group_scale = read_.floats(own + "norm_out.weight", {dim_});
    layer.group_shift = read_.floats(own + "norm_out.bias", {dim_});
    return layer;
  }

 private:
  AlignedVector<float> scale(const std::string& name) const {
    return read_.floats(name + ".scale", {dim_});
  }

  /// Reads an output of a product that follows a normalisation: returns its bias, `row` its
  /// weights.
  float normalised_row(const std::string& weight, const AlignedVector<float>& bias, int o,
                       const LayerNorm& norm, std::span<float> row) const {
    tensors_.read(weight, std::int64_t(o) * dim_, row);
    double shift = bias[std::size_t(o)];
    for (std::size_t i = 0; i < row.size(); ++i) {
      shift += double(row[i]) * norm.beta[i];
      row[i] *= norm.gamma[i];
    }
    return float(shift);
  }

  Linear normalised(const std::string& name, int outputs, const LayerNorm& norm) const {
    tensors_.expect(name + ".weight", {outputs, dim_});
    const AlignedVector<float> bias = read_.floats(name + ".bias", {outputs});
    Linear layer;
    layer.bias.resize(std::size_t(outputs));
    layer.weight =
        PackedMatrix(outputs, dim_, precision_, kMemory, [&](int o, std::span<float> row) {
          layer.bias[std::size_t(o)] = normalised_row(name + ".weight", bias, o, norm, row);
        });
    tensors_.done(name + ".weight");
    return layer;
  }

  /// Queries of one attention, keys and values of another or the same.
  Linear qkv(const std::string& q_name, const LayerNorm& q_norm, const std::string& kv_name,
             const LayerNorm& kv_norm) const {
    for (const std::string& name : {q_name, kv_name}) {
      tensors_.expect(name + "in_proj_weight", {3 * dim_, dim_});
    }
    const AlignedVector<float> q_bias = read_.floats(q_name + "in_proj_bias", {3 * dim_});
    const AlignedVector<float> kv_bias = read_.floats(kv_name + "in_proj_bias", {3 * dim_});
    const int width = heads_.width();
    Linear layer;
    layer.bias.assign(std::size_t(3 * width), 0.0f);
    layer.weight =
        PackedMatrix(3 * width, dim_, precision_, kMemory, [&](int o, std::span<float> row) {
          const int part = o / width, head = o % width / heads_.padded, d = o % heads_.padded;
          if (d >= heads_.dim) return std::fill(row.begin(), row.end(), 0.0f);
          const int from = part * dim_ + head * heads_.dim + d;
          const bool query = part == 0;
          layer.bias[std::size_t(o)] =
              normalised_row((query ? q_name : kv_name) + "in_proj_weight",
                             query ? q_bias : kv_bias, from, query ? q_norm : kv_norm, row);
        });
    return layer;
  }

  Linear out(const std::string& name, const AlignedVector<float>& gamma) const {
    tensors_.expect(name + ".weight", {dim_, dim_});
    std::vector<float> values(static_cast<std::size_t>(dim_));
    Linear layer;
    layer.weight =
        PackedMatrix(dim_, heads_.width(), precision_, kMemory, [&](int o, std::span<float> row) {
          tensors_.read(name + ".weight", std::int64_t(o) * dim_, values);
          std::fill(row.begin(), row.end(), 0.0f);
          for (int i = 0; i < dim_; ++i) {
            row[std::size_t(i / heads_.dim * heads_.padded + i % heads_.dim)] =
                values[std::size_t(i)] * gamma[std::size_t(o)];
          }
        });
    tensors_.done(name + ".weight");
    layer.bias = scaled_bias(name, gamma);
    return layer;
  }

  Linear scaled(const std::string& name, int inputs, const AlignedVector<float>& gamma) const {
    tensors_.expect(name + ".weight", {dim_, inputs});
    Linear layer;
    layer.weight =
        PackedMatrix(dim_, inputs, precision_, kMemory, [&](int o, std::span<float> row) {
          tensors_.read(name + ".weight", std::int64_t(o) * inputs, row);
          for (float& value : row) value *= gamma[std::size_t(o)];
        });
    tensors_.done(name + ".weight");
    layer.bias = scaled_bias(name, gamma);
    return layer;
  }

  AlignedVector<float> scaled_bias(const std::string& name,
                                   const AlignedVector<float>& gamma) const {
    AlignedVector<float> bias = read_.floats(name + ".bias", {dim_});
    std::transform(bias.begin(), bias.end(), gamma.begin(), bias.begin(), std::multiplies<>());
    return bias;
  }

  const int dim_, hidden_;
  const HeadShape heads_;
  const TensorSource& tensors_;
  const Precision precision_;
  const LayerReader read_;
};

}  // namespace

TransformerWeights pack_transformer(const Config& c, const HeadShape& heads,
                                    const TensorSource& tensors, Precision precision) {
  const Packer pack(c, heads, tensors, precision);
  const int channels = c.channels_of(c.depth - 1);
  TransformerWeights w;
  for (const bool temporal : {false, true}) {
    TransformerBranch& branch = temporal ? w.temporal : w.spectral;
    const std::string end = temporal ? "_t" : "", other_end = temporal ? "" : "_t";
    if (c.bottom_channels > 0) {
      branch.up = pack.sampler("channel_upsampler" + end, c.bottom_channels, channels);
      branch.down = pack.sampler("channel_downsampler" + end, channels, c.bottom_channels);
    }
    branch.norm_in = pack.norm("crosstransformer.norm_in" + end);
    for (int i = 0; i < c.t_layers; ++i) {
      const auto at = [&](const std::string& branch_end) {
        return "crosstransformer.layers" + branch_end + "." + std::to_string(i) + ".";
      };
      branch.layers.push_back(pack.layer(at(end), at(other_end), i % 2 == 1));
    }
  }
  return w;
}

std::size_t bytes_of(const TransformerBranch& branch) {
  using models::bytes_of;
  std::size_t total = bytes_of(branch.up) + bytes_of(branch.down) + bytes_of(branch.norm_in);
  for (const TransformerLayer& l : branch.layers) {
    total += bytes_of(l.qkv) + bytes_of(l.out) + bytes_of(l.linear1) + bytes_of(l.linear2) +
             (l.group_scale.size() + l.group_shift.size()) * sizeof(float);
  }
  return total;
}

}  // namespace runnel::models::htdemucs
