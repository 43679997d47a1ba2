#include "models/gtcrn/layers.h"

#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>

namespace runnel::models::gtcrn {
namespace {

using engine::BandConv;
using engine::kBandChannels;
using engine::Shape;
using engine::Weights;

constexpr int kGroup = 8;  // channels of one of two groups

/// Batch norm at inference, y = x · scale + shift, over the bias of the convolution before it.
struct Affine {
  std::vector<float> scale, shift;
};

Affine fold_norm(const Weights& weights, const std::string& conv_bias, const std::string& norm,
                 int channels) {
  const Shape shape = {channels};
  const auto bias = weights.floats(conv_bias, shape),
             gamma = weights.floats(norm + ".weight", shape),
             beta = weights.floats(norm + ".bias", shape),
             mean = weights.floats(norm + ".running_mean", shape),
             variance = weights.floats(norm + ".running_var", shape);
  Affine affine;
  for (int c = 0; c < channels; ++c) {
    if (variance[c] < 0) {
      throw std::runtime_error(weights.label() + ": tensor '" + norm +
                               ".running_var': expected variances, found " +
                               std::to_string(variance[c]) + " at element " + std::to_string(c));
    }
    const double scale = gamma[c] / std::sqrt(double(variance[c]) + 1e-5);
    affine.scale.push_back(float(scale));
    affine.shift.push_back(float((double(bias[c]) - mean[c]) * scale + beta[c]));
  }
  return affine;
}

float slope_of(const Weights& weights, const std::string& prefix) {
  return weights.floats(prefix + ".weight", {1})[0];
}

/// Adds a tap that reads the value `offset` floats away; `weight(o)` is its weight for output o.
void add_tap(BandConv& conv, int offset, const std::function<float(int)>& weight) {
  conv.offsets.push_back(offset);
  for (int o = 0; o < conv.outputs; ++o) conv.weights.push_back(weight(o));
}

/// Channels o and c are in the same of two groups.
bool same_group(int o, int c) { return o / kGroup == c / kGroup; }

/// A matrix [rows, columns] whose zeros outside one run a row are left out; `columns` are shifted
/// by `first_column`. Unit rows for the low bins come first.
engine::BandedMatrix banded(const std::vector<float>& matrix, int rows, int columns,
                            int first_column) {
  engine::BandedMatrix result;
  for (int r = 0; r < kLowBins; ++r) {
    result.rows.push_back({r, 1, int(result.values.size())});
    result.values.push_back(1.0f);
  }
  for (int r = 0; r < rows; ++r) {
    const float* row = matrix.data() + r * columns;
    int begin = 0, end = columns;
    while (begin < end && row[begin] == 0) ++begin;
    while (end > begin && row[end - 1] == 0) --end;
    result.rows.push_back({first_column + begin, end - begin, int(result.values.size())});
    result.values.insert(result.values.end(), row + begin, row + end);
  }
  return result;
}

BandConv encoder_conv0(const Weights& weights) {
  const std::string prefix = "encoder.en_convs.0.";
  const auto w = weights.floats(prefix + "conv.weight", {kBandChannels, kUnfolded, 1, 5});
  const Affine affine = fold_norm(weights, prefix + "conv.bias", prefix + "bn", kBandChannels);
  BandConv conv{
      .x_step = 2 * kUnfolded, .bias = affine.shift, .slope = slope_of(weights, prefix + "act")};
  for (int k = 0; k < 5; ++k) {
    for (int neighbour = 0; neighbour < 3; ++neighbour) {
      for (int c = 0; c < kFeatures; ++c) {
        // Our rows hold [neighbour, feature], the checkpoint [feature, neighbour].
        add_tap(conv, (k - 2) * kUnfolded + neighbour * kFeatures + c, [&](int o) {
          return affine.scale[o] * w[(o * kUnfolded + c * 3 + neighbour) * 5 + k];
        });
      }
    }
  }
  return conv;
}

BandConv encoder_conv1(const Weights& weights) {
  const std::string prefix = "encoder.en_convs.1.";
  const auto w = weights.floats(prefix + "conv.weight", {kBandChannels, kGroup, 1, 5});
  const Affine affine = fold_norm(weights, prefix + "conv.bias", prefix + "bn", kBandChannels);
  BandConv conv{.x_step = 2 * kBandChannels,
                .bias = affine.shift,
                .slope = slope_of(weights, prefix + "act")};
  for (int k = 0; k < 5; ++k) {
    for (int c = 0; c < kBandChannels; ++c) {
      add_tap(conv, (k - 2) * kBandChannels + c, [&](int o) {
        return same_group(o, c) ? affine.scale[o] * w[(o * kGroup + c % kGroup) * 5 + k] : 0.0f;
      });
    }
  }
  return conv;
}

/// Transposed, stride 2, 5 taps, padding 2: band 2m hears bands m + 1, m, m − 1 through taps 0, 2,
/// 4, band 2m + 1 hears m + 1 and m through taps 1 and 3.
BandConv decoder_conv3(const Weights& weights, int parity) {
  const std::string prefix = "decoder.de_convs.3.";
  const auto w = weights.floats(prefix + "conv.weight", {kBandChannels, kGroup, 1, 5});
  const Affine affine = fold_norm(weights, prefix + "conv.bias", prefix + "bn", kBandChannels);
  BandConv conv{.y_step = 2 * kBandChannels,
                .bias = affine.shift,
                .slope = slope_of(weights, prefix + "act")};
  for (int k = parity; k < 5; k += 2) {
    for (int c = 0; c < kBandChannels; ++c) {
      add_tap(conv, (1 - k / 2) * kBandChannels + c, [&](int o) {
        return same_group(o, c) ? affine.scale[o] * w[(c * kGroup + o % kGroup) * 5 + k] : 0.0f;
      });
    }
  }
  return conv;
}

/// All 5 taps × 2 channels of every input band side by side, for BandKernels::fold to add up.
BandConv decoder_conv4(const Weights& weights) {
  constexpr int kOut = 2;
  const std::string prefix = "decoder.de_convs.4.";
  const auto w = weights.floats(prefix + "conv.weight", {kBandChannels, kOut, 1, 5});
  const Affine affine = fold_norm(weights, prefix + "conv.bias", prefix + "bn", kOut);
  BandConv conv{.bias = std::vector<float>(kBandChannels, 0.0f)};
  for (int lane = 4; lane < 8; ++lane) conv.bias[lane] = affine.shift[lane % kOut];
  for (int c = 0; c < kBandChannels; ++c) {
    add_tap(conv, c, [&](int lane) {
      const int tap = lane / kOut, o = lane % kOut;
      return tap < 5 ? affine.scale[o] * w[(c * kOut + o) * 5 + tap] : 0.0f;
    });
  }
  return conv;
}

engine::AttentionGru attention(const Weights& weights, const std::string& prefix) {
  constexpr int kIn = kGroup, kHidden = 16;
  const auto ih = weights.floats(prefix + "att_gru.weight_ih_l0", {3 * kHidden, kIn}),
             hh = weights.floats(prefix + "att_gru.weight_hh_l0", {3 * kHidden, kHidden}),
             ih_bias = weights.floats(prefix + "att_gru.bias_ih_l0", {3 * kHidden}),
             hh_bias = weights.floats(prefix + "att_gru.bias_hh_l0", {3 * kHidden}),
             fc = weights.floats(prefix + "att_fc.weight", {kIn, kHidden});
  engine::AttentionGru gru{.out_bias = weights.floats(prefix + "att_fc.bias", {kIn})};
  for (int j = 0; j < kIn; ++j) {
    for (int row = 0; row < 3 * kHidden; ++row) gru.input.push_back(ih[row * kIn + j]);
  }
  for (int j = 0; j < kHidden; ++j) {
    for (int row = 0; row < 3 * kHidden; ++row) gru.recurrent.push_back(hh[row * kHidden + j]);
    for (int c = 0; c < kIn; ++c) gru.out.push_back(fc[c * kHidden + j]);
  }
  for (int row = 0; row < 3 * kHidden; ++row) {
    gru.bias.push_back(ih_bias[row] + (row < 2 * kHidden ? hh_bias[row] : 0.0f));
  }
  gru.bias.insert(gru.bias.end(), hh_bias.begin() + 2 * kHidden, hh_bias.end());
  return gru;
}

/// A transposed convolution is an ordinary one with the kernel flipped and [in, out] swapped.
GtConv gt_conv(const Weights& weights, const std::string& prefix, int dilation, bool transposed) {
  constexpr int kIn = 3 * kGroup;
  GtConv layer{.dilation = dilation, .attention = attention(weights, prefix + "tra.")};

  const auto w1 =
      weights.floats(prefix + "point_conv1.weight", transposed ? Shape{kIn, kBandChannels, 1, 1}
                                                               : Shape{kBandChannels, kIn, 1, 1});
  const Affine affine1 =
      fold_norm(weights, prefix + "point_conv1.bias", prefix + "point_bn1", kBandChannels);
  layer.point1 = {.bias = affine1.shift, .slope = slope_of(weights, prefix + "point_act")};
  for (int k = 0; k < 3; ++k) {
    for (int c = 0; c < kGroup; ++c) {
      const int in = c * 3 + k;
      add_tap(layer.point1, (k - 1) * kBandChannels + c, [&](int o) {
        return affine1.scale[o] * (transposed ? w1[in * kBandChannels + o] : w1[o * kIn + in]);
      });
    }
  }

  const auto depth = weights.floats(prefix + "depth_conv.weight", {kBandChannels, 1, 3, 3});
  const Affine affine_depth =
      fold_norm(weights, prefix + "depth_conv.bias", prefix + "depth_bn", kBandChannels);
  layer.depth = {.bias = affine_depth.shift, .slope = slope_of(weights, prefix + "depth_act")};
  for (int tap = 0; tap < 9; ++tap) {
    for (int c = 0; c < kBandChannels; ++c) {
      layer.depth.weights.push_back(affine_depth.scale[c] *
                                    depth[c * 9 + (transposed ? 8 - tap : tap)]);
    }
  }

  const auto w2 = weights.floats(
      prefix + "point_conv2.weight",
      transposed ? Shape{kBandChannels, kGroup, 1, 1} : Shape{kGroup, kBandChannels, 1, 1});
  const Affine affine2 =
      fold_norm(weights, prefix + "point_conv2.bias", prefix + "point_bn2", kGroup);
  layer.point2 = {.outputs = kGroup, .y_step = kGroup, .bias = affine2.shift};
  for (int c = 0; c < kBandChannels; ++c) {
    add_tap(layer.point2, c, [&](int o) {
      return affine2.scale[o] * (transposed ? w2[c * kGroup + o] : w2[o * kBandChannels + c]);
    });
  }
  return layer;
}

BandConv linear(const Weights& weights, const std::string& prefix, int x_step, int first) {
  const auto w = weights.floats(prefix + "weight", {kBandChannels, kBandChannels});
  BandConv conv{.x_step = x_step, .bias = weights.floats(prefix + "bias", {kBandChannels})};
  for (int c = 0; c < kBandChannels; ++c) {
    add_tap(conv, first + c, [&](int o) { return w[o * kBandChannels + c]; });
  }
  return conv;
}

/// One grouped GRU as stored: for each of its parts the four tensors of PyTorch's layer.
struct GruPart {
  GruPart(const Weights& weights, const std::string& prefix, const std::string& suffix, int units)
      : units(units),
        ih(weights.floats(prefix + "weight_ih_l0" + suffix, {3 * units, kGroup})),
        hh(weights.floats(prefix + "weight_hh_l0" + suffix, {3 * units, units})),
        ih_bias(weights.floats(prefix + "bias_ih_l0" + suffix, {3 * units})),
        hh_bias(weights.floats(prefix + "bias_hh_l0" + suffix, {3 * units})) {}

  int units;
  std::vector<float> ih, hh, ih_bias, hh_bias;
};

void read_intra(const Weights& weights, const std::string& prefix, DualPath& path) {
  constexpr int kUnits = 4;
  // Output o belongs to unit o % 4 of part o / 4: group 1 forwards, backwards, group 2 likewise.
  const std::array<GruPart, 4> parts = {GruPart(weights, prefix + "rnn1.", "", kUnits),
                                        GruPart(weights, prefix + "rnn1.", "_reverse", kUnits),
                                        GruPart(weights, prefix + "rnn2.", "", kUnits),
                                        GruPart(weights, prefix + "rnn2.", "_reverse", kUnits)};
  for (int gate = 0; gate < 3; ++gate) {
    BandConv& conv = path.intra_gates[gate];
    for (int o = 0; o < kBandChannels; ++o) {
      const GruPart& part = parts[o / kUnits];
      const int row = gate * kUnits + o % kUnits;
      conv.bias.push_back(part.ih_bias[row] + (gate < 2 ? part.hh_bias[row] : 0.0f));
      if (gate == 2) path.intra.n_bias.push_back(part.hh_bias[row]);
    }
    for (int c = 0; c < kBandChannels; ++c) {
      add_tap(conv, c, [&](int o) {
        const int row = gate * kUnits + o % kUnits;
        return same_group(o, c) ? parts[o / kUnits].ih[row * kGroup + c % kGroup] : 0.0f;
      });
    }
    for (int j = 0; j < kUnits; ++j) {
      for (int o = 0; o < kBandChannels; ++o) {
        const int row = gate * kUnits + o % kUnits;
        path.intra.recurrent.push_back(parts[o / kUnits].hh[row * kUnits + j]);
      }
    }
  }
}

void read_inter(const Weights& weights, const std::string& prefix, DualPath& path) {
  constexpr int kUnits = kGroup;
  const std::array<GruPart, 2> parts = {GruPart(weights, prefix + "rnn1.", "", kUnits),
                                        GruPart(weights, prefix + "rnn2.", "", kUnits)};
  const auto taps = [&](BandConv& conv, int gate, bool hidden) {
    for (int c = 0; c < kBandChannels; ++c) {
      add_tap(conv, (hidden ? kBandChannels : 0) + c, [&](int o) {
        if (!same_group(o, c)) return 0.0f;
        const GruPart& part = parts[o / kUnits];
        return (hidden ? part.hh : part.ih)[(gate * kUnits + o % kUnits) * kUnits + c % kUnits];
      });
    }
  };
  const auto bias = [&](int gate, bool input, bool hidden) {
    std::vector<float> sums;
    for (int o = 0; o < kBandChannels; ++o) {
      const GruPart& part = parts[o / kUnits];
      const int row = gate * kUnits + o % kUnits;
      sums.push_back((input ? part.ih_bias[row] : 0.0f) + (hidden ? part.hh_bias[row] : 0.0f));
    }
    return sums;
  };
  constexpr int kStep = 2 * kBandChannels;
  path.inter_r = {.x_step = kStep, .bias = bias(0, true, true)};
  path.inter_z = {.x_step = kStep, .bias = bias(1, true, true)};
  path.inter_n_x = {.x_step = kStep, .bias = bias(2, true, false)};
  path.inter_n_h = {.x_step = kStep, .bias = bias(2, false, true)};
  for (bool hidden : {false, true}) {
    taps(path.inter_r, 0, hidden);
    taps(path.inter_z, 1, hidden);
    taps(hidden ? path.inter_n_h : path.inter_n_x, 2, hidden);
  }
}

DualPath dual_path(const Weights& weights, const std::string& prefix) {
  const Shape norm = {kCoreBands, kBandChannels};
  DualPath path;
  read_intra(weights, prefix + "intra_rnn.", path);
  path.intra_fc = linear(weights, prefix + "intra_fc.", kBandChannels, 0);
  path.intra_norm = {weights.floats(prefix + "intra_ln.weight", norm),
                     weights.floats(prefix + "intra_ln.bias", norm)};
  read_inter(weights, prefix + "inter_rnn.", path);
  path.inter_fc = linear(weights, prefix + "inter_fc.", 2 * kBandChannels, kBandChannels);
  path.inter_norm = {weights.floats(prefix + "inter_ln.weight", norm),
                     weights.floats(prefix + "inter_ln.bias", norm)};
  return path;
}

std::array<GtConv, 3> gt_convs(const Weights& weights, bool decoder) {
  const auto layer = [&](int i) {
    return decoder ? gt_conv(weights, "decoder.de_convs." + std::to_string(i) + ".",
                             kDilations[2 - i], true)
                   : gt_conv(weights, "encoder.en_convs." + std::to_string(i + 2) + ".",
                             kDilations[i], false);
  };
  return {layer(0), layer(1), layer(2)};
}

}  // namespace

Layers::Layers(const Weights& weights)
    : to_bands(banded(weights.floats("erb.erb_fc.weight", {kErbBands, kBins - kLowBins}), kErbBands,
                      kBins - kLowBins, kLowBins)),
      en_conv0(encoder_conv0(weights)),
      en_conv1(encoder_conv1(weights)),
      en_gt(gt_convs(weights, /*decoder=*/false)),
      dpgrnn{dual_path(weights, "dpgrnn1."), dual_path(weights, "dpgrnn2.")},
      de_gt(gt_convs(weights, /*decoder=*/true)),
      de_conv3_even(decoder_conv3(weights, 0)),
      de_conv3_odd(decoder_conv3(weights, 1)),
      de_conv4(decoder_conv4(weights)),
      from_bands(banded(weights.floats("erb.ierb_fc.weight", {kBins - kLowBins, kErbBands}),
                        kBins - kLowBins, kErbBands, kLowBins)) {}

std::size_t Layers::bytes() const noexcept {
  std::size_t floats = to_bands.values.size() + from_bands.values.size();
  const auto add = [&](const BandConv& conv) {
    floats += conv.weights.size() + conv.bias.size() + conv.offsets.size();
  };
  for (const BandConv* conv : {&en_conv0, &en_conv1, &de_conv3_even, &de_conv3_odd, &de_conv4}) {
    add(*conv);
  }
  for (const auto* half : {&en_gt, &de_gt}) {
    for (const GtConv& layer : *half) {
      add(layer.point1);
      add(layer.point2);
      floats += layer.depth.weights.size() + layer.depth.bias.size() +
                layer.attention.input.size() + layer.attention.recurrent.size() +
                layer.attention.bias.size() + layer.attention.out.size() +
                layer.attention.out_bias.size();
    }
  }
  for (const DualPath& path : dpgrnn) {
    for (const BandConv& conv : path.intra_gates) add(conv);
    for (const BandConv* conv : {&path.intra_fc, &path.inter_r, &path.inter_z, &path.inter_n_x,
                                 &path.inter_n_h, &path.inter_fc}) {
      add(*conv);
    }
    floats +=
        path.intra.recurrent.size() + path.intra.n_bias.size() + 4 * path.intra_norm.weight.size();
  }
  return floats * sizeof(float) +
         (to_bands.rows.size() + from_bands.rows.size()) * sizeof(engine::BandedMatrix::Row);
}

}  // namespace runnel::models::gtcrn
