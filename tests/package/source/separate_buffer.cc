// An outside project: separates a buffer with the embedded model.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "engine/stage.h"
#include "models/catalog.h"
#include "models/separator.h"
#include "rt/latency.h"

int main() {
  using runnel::AudioChunk;
  using runnel::Stems;
  using runnel::models::Separator;
  static_assert(runnel::Stage<Separator, AudioChunk, Stems>);

  constexpr int kRate = 16'000, kChunk = 256;
  std::vector<float> input(kRate);  // one second of a tone
  for (int i = 0; i < kRate; ++i) input[i] = 0.3f * std::sin(0.1f * float(i));

  const auto weights =
      runnel::models::load_separator(std::string(runnel::models::kDefaultSeparator));
  Separator separator(weights, {.rate_hz = kRate, .channels = 1, .max_chunk = kChunk});
  std::vector<float> sum;
  const auto drain = [&] {
    Stems stems;
    while (separator.pop(stems)) {
      const auto speech = stems.stem(0).samples.row(0), background = stems.stem(1).samples.row(0);
      for (std::size_t i = 0; i < speech.size(); ++i) sum.push_back(speech[i] + background[i]);
    }
  };
  for (int at = 0; at < kRate; at += kChunk) {
    const int count = std::min(kChunk, kRate - at);
    separator.push({.samples = {input.data() + at, 1, count, count}, .start = {at, kRate}});
    drain();
  }
  separator.flush();
  drain();

  float difference = 0;
  for (std::size_t i = 0; i < std::min(sum.size(), input.size()); ++i) {
    difference = std::max(difference, std::abs(sum[i] - input[i]));
  }
  std::printf("%zu samples, delay %lld, speech + background differs from the input by %g\n",
              sum.size(), static_cast<long long>(separator.latency_samples()), double(difference));
  return sum.size() == input.size() && difference < 1e-5f ? 0 : 1;
}
