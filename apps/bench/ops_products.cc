// `runnel bench ops`: the products of Whisper's layers, called as its encoder and decoder do.

#include <algorithm>
#include <array>

#include "apps/bench/ops.h"
#include "engine/linear.h"

namespace runnel::apps {
namespace {

using engine::Activations;
using engine::Executor;
using engine::Linear;
using engine::Precision;

constexpr float kBias = 0.1f;

enum class Layer { kQkv, kOut, kFc1, kFc2, kLogits };

struct Shape {
  Layer layer;
  std::string_view name;
  int inputs, outputs;
};

std::array<Shape, 5> shapes_of(const WhisperShape& whisper) {
  const int d = whisper.dim;
  return {{{Layer::kQkv, "qkv", d, 3 * d},
           {Layer::kOut, "out", d, d},
           {Layer::kFc1, "fc1", d, 4 * d},
           {Layer::kFc2, "fc2", 4 * d, d},
           {Layer::kLogits, "logits", d, whisper.vocabulary}}};
}

std::string shape_text(int rows, const Shape& shape) {
  return std::to_string(rows) + "x" + std::to_string(shape.inputs) + " -> " +
         std::to_string(shape.outputs);
}

Linear random_layer(const Shape& shape, Precision precision) {
  // Rows of the matrix begin at different places of one list of values.
  const std::vector<float> values = random_values(std::size_t(shape.inputs) + 1024);
  Linear layer{.weight = engine::PackedMatrix(
                   shape.outputs, shape.inputs, precision, engine::MemoryUsage::kPerformance,
                   [&](int output, std::span<float> row) {
                     std::copy_n(values.data() + output % 1024, row.size(), row.data());
                   }),
               .bias = {}};
  if (shape.layer != Layer::kLogits) layer.bias.assign(std::size_t(shape.outputs), kBias);
  return layer;
}

/// Activations of one call: what goes in, what comes out, and what is added.
struct Buffers {
  Buffers(Executor& executor, int rows, const Shape& shape, Activations::Format format)
      : in(rows, shape.inputs, format), floats(std::size_t(rows) * std::size_t(shape.outputs)) {
    if (shape.layer == Layer::kFc1) next = Activations(rows, shape.outputs, format);
    if (shape.layer == Layer::kQkv && format != Activations::Format::kFloat) {
      next = Activations(rows, shape.outputs, Activations::Format::kBFloat16Strips);
    }
    const std::vector<float> values = random_values(std::size_t(rows) * std::size_t(shape.inputs));
    engine::pack(executor, {values.data(), rows, shape.inputs, shape.inputs}, in);
  }

  Activations in;
  std::vector<float> floats;  // [rows, outputs]
  Activations next;           // the result of fc1 and, on strips, of qkv
};

/// The call that the networks make of this layer.
void call(Executor& executor, const Shape& shape, const Linear& layer, int rows, Buffers& b) {
  const MatrixView<float> y{b.floats.data(), rows, shape.outputs, shape.outputs};
  const bool strips = b.in.format() != Activations::Format::kFloat;
  switch (shape.layer) {
    case Layer::kQkv:
      if (strips) {
        engine::multiply(executor, layer, b.in, rows, b.next);
      } else {
        engine::multiply(executor, layer, b.in, y);
      }
      break;
    case Layer::kFc1:
      engine::multiply(executor, layer, b.in, rows, b.next,
                       {.activation = engine::Activation::kGelu});
      break;
    case Layer::kOut:
    case Layer::kFc2:
      engine::multiply(executor, layer, b.in, y, {.residual = y});
      break;
    case Layer::kLogits:
      engine::multiply(executor, layer, b.in, y);
      break;
  }
}

/// Eigen's float32 product; the weights rotate through `weights`, as much as it is.
Times time_eigen(OpsRun& run, int rows, const Shape& shape, const std::vector<float>& weights) {
  const std::size_t size = std::size_t(shape.inputs) * std::size_t(shape.outputs);
  const std::vector<float> x = random_values(std::size_t(rows) * std::size_t(shape.inputs));
  std::vector<float> y(std::size_t(rows) * std::size_t(shape.outputs));
  std::size_t at = 0;
  return measure(run.seconds, 3, [&] {
    if (at + size > weights.size()) at = 0;
    eigen_multiply(run.executor.pool, run.eigen, x.data(), rows, shape.inputs, weights.data() + at,
                   shape.outputs, y.data());
    at += size;
  });
}

Bound bound_of(const Executor& executor, Precision precision) {
  switch (Activations::format_of(executor, precision)) {
    case Activations::Format::kBFloat16Strips:
      return Bound::kTilesBf16;
    case Activations::Format::kInt8Strips:
      return Bound::kTilesInt8;
    case Activations::Format::kFloat:
      break;
  }
  return Bound::kMultiplyAdds;
}

/// Decoder layers of one model and precision, as many as no cache holds: each round of them is
/// what the model reads for some tokens.
class DecoderLayers {
 public:
  DecoderLayers(Executor& executor, const WhisperShape& whisper, Precision precision,
                const std::vector<Shape>& wanted)
      : executor_(executor), shapes_(wanted) {
    layers_.resize(wanted.size());
    for (std::size_t bytes = 0; bytes < beyond_caches();) {
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        const int copies = wanted[i].layer == Layer::kLogits ? 1 : whisper.decoder_layers;
        for (int c = 0; c < copies; ++c) {
          layers_[i].push_back(random_layer(wanted[i], precision));
          bytes += layers_[i].back().weight.bytes();
        }
      }
    }
  }

  std::size_t bytes(std::size_t shape) const { return layers_[shape].front().weight.bytes(); }

  std::vector<Times> measure(int rows, double budget_s) {
    std::vector<Buffers> buffers;
    for (const Shape& shape : shapes_) {
      buffers.emplace_back(executor_, rows, shape, Activations::Format::kFloat);
    }
    std::vector<std::vector<double>> seconds(shapes_.size());
    round(rows, buffers, nullptr);
    const auto start = BenchClock::now();
    do {
      round(rows, buffers, &seconds);
    } while (seconds_since(start) < budget_s);
    std::vector<Times> times;
    for (auto& s : seconds) times.push_back(times_of(std::move(s)));
    return times;
  }

 private:
  /// Layer by layer as a model goes; shapes that come more often are spread out.
  void round(int rows, std::vector<Buffers>& buffers, std::vector<std::vector<double>>* seconds) {
    std::size_t most = 0;
    for (const auto& copies : layers_) most = std::max(most, copies.size());
    for (std::size_t n = 0; n < most; ++n) {
      for (std::size_t i = 0; i < shapes_.size(); ++i) {
        if (n >= layers_[i].size()) continue;
        const double s =
            time_once([&] { call(executor_, shapes_[i], layers_[i][n], rows, buffers[i]); });
        if (seconds) (*seconds)[i].push_back(s);
      }
    }
  }

  Executor& executor_;
  const std::vector<Shape> shapes_;
  std::vector<std::vector<Linear>> layers_;  // [shape][copy]
};

}  // namespace

void bench_encoder_products(OpsRun& run) {
  for (const WhisperShape& whisper : kWhisperShapes) {
    for (const Shape& shape : shapes_of(whisper)) {
      if (shape.layer == Layer::kLogits) continue;
      Times eigen;
      for (const Precision precision :
           {Precision::kFloat32, Precision::kBFloat16, Precision::kInt8}) {
        Op op{.name = std::string(whisper.name) + " encoder " + std::string(shape.name) + " " +
                      std::string(name(precision)),
              .shape = shape_text(kAudioRows, shape),
              .precision = std::string(name(precision)),
              .operations = 2.0 * kAudioRows * shape.inputs * shape.outputs,
              .bound = bound_of(run.executor, precision)};
        if (!run.wants(op.name)) continue;
        if (eigen.rounds == 0) {
          eigen = time_eigen(run, kAudioRows, shape,
                             random_values(std::size_t(shape.inputs) * std::size_t(shape.outputs)));
        }
        op.eigen = eigen;
        const Linear layer = random_layer(shape, precision);
        Buffers buffers(run.executor, kAudioRows, shape,
                        Activations::format_of(run.executor, precision));
        op.times =
            measure(run.seconds, 3, [&] { call(run.executor, shape, layer, kAudioRows, buffers); });
        run.ops.push_back(std::move(op));
      }
    }
  }
}

void bench_decoder_products(OpsRun& run) {
  constexpr int kRows[] = {1, 5};  // greedy, and a beam
  std::vector<float> weights;      // Eigen's; made when first wanted
  for (const WhisperShape& whisper : kWhisperShapes) {
    std::array<std::array<Times, 2>, 5> eigen;
    for (const Precision precision :
         {Precision::kFloat32, Precision::kFloat16, Precision::kBFloat16, Precision::kInt8}) {
      const auto line = [&](const Shape& shape, int rows) {
        return std::string(whisper.name) + " decoder " + std::string(shape.name) + " " +
               std::string(name(precision)) + " " + std::to_string(rows) +
               (rows == 1 ? " row" : " rows");
      };
      std::vector<Shape> wanted;
      for (const Shape& shape : shapes_of(whisper)) {
        if (run.wants(line(shape, 1)) || run.wants(line(shape, 5))) wanted.push_back(shape);
      }
      if (wanted.empty()) continue;
      if (weights.empty()) {
        // At least the largest matrix, whatever the caches are.
        const WhisperShape& turbo = kWhisperShapes[3];
        weights = random_values(std::max(beyond_caches() / sizeof(float),
                                         std::size_t(turbo.dim) * std::size_t(turbo.vocabulary)));
      }
      DecoderLayers layers(run.executor, whisper, precision, wanted);
      for (std::size_t r = 0; r < std::size(kRows); ++r) {
        const int rows = kRows[r];
        const std::vector<Times> times = layers.measure(rows, run.seconds * double(wanted.size()));
        for (std::size_t i = 0; i < wanted.size(); ++i) {
          const Shape& shape = wanted[i];
          if (!run.wants(line(shape, rows))) continue;
          Times& peer = eigen[std::size_t(shape.layer)][r];
          if (peer.rounds == 0) peer = time_eigen(run, rows, shape, weights);
          run.ops.push_back({.name = line(shape, rows),
                             .shape = shape_text(rows, shape),
                             .precision = std::string(name(precision)),
                             .times = times[i],
                             .operations = 2.0 * rows * shape.inputs * shape.outputs,
                             .bytes = double(layers.bytes(i)),
                             .bound = Bound::kMemory,
                             .eigen = peer});
        }
      }
    }
  }
}

}  // namespace runnel::apps
