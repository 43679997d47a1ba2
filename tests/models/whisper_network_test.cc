// The network against the reference, with the reference's own log-mel as input.
#include "models/whisper/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/models/whisper_goldens.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models::whisper {
namespace {

using engine::Precision;
using testing::expected_json;
using testing::expected_tensor;
using testing::golden;
using testing::load_model;

/// Largest and mean magnitude of the difference.
struct Difference {
  double largest = 0;
  double rms = 0;
};

Difference difference(std::span<const float> a, std::span<const float> b) {
  Difference d;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double e = std::abs(double(a[i]) - double(b[i]));
    d.largest = std::max(d.largest, e);
    d.rms += e * e;
  }
  d.rms = std::sqrt(d.rms / double(a.size()));
  return d;
}

class WhisperNetwork : public ::testing::TestWithParam<std::string> {
 protected:
  Session encoded(Precision precision, int hypotheses = 1) {
    Session session(load_model(folder_, precision), hypotheses);
    session.encode({mel_.data(), 3000, 80, 80});
    return session;
  }

  Difference encoder_difference(const Session& session) {
    const auto rows = expected_tensor(folder_, "encoder_rows");
    const MatrixView<const float> all = session.encoder_rows();
    std::vector<float> found;
    for (int r = 0; r < 1500; r += 10) {
      found.insert(found.end(), all.row(r).begin(), all.row(r).end());
    }
    return difference(rows.values, found);
  }

  const std::filesystem::path folder_ = golden(GetParam(), "whisper-multilingual");
  const std::vector<float> mel_ = models::testing::expected_log_mel(folder_);
};
INSTANTIATE_TEST_SUITE_P(, WhisperNetwork, ::testing::ValuesIn(testing::golden_sets()),
                         testing::set_name);

TEST_P(WhisperNetwork, EncodesAsTheReferenceInFloat32) {
  const Session session = encoded(Precision::kFloat32);
  EXPECT_LT(encoder_difference(session).largest, 1e-4);
  double norm = 0;
  const MatrixView<const float> rows = session.encoder_rows();
  for (int r = 0; r < rows.rows; ++r) {
    for (const float x : rows.row(r)) norm += double(x) * x;
  }
  const double expected = expected_json(folder_)["encoder_l2_norm"];
  EXPECT_NEAR(std::sqrt(norm), expected, 1e-3);
}

TEST_P(WhisperNetwork, EncodesNearTheReferenceInReducedPrecision) {
  // All-bfloat16 arithmetic of the reference is 4e-2 off (goldens/README.md); rows have RMS 1.
  EXPECT_LT(encoder_difference(encoded(Precision::kFloat16)).largest, 1e-2);
  EXPECT_LT(encoder_difference(encoded(Precision::kBFloat16)).largest, 8e-2);
  EXPECT_LT(encoder_difference(encoded(Precision::kInt8)).rms, 5e-2);
}

TEST_P(WhisperNetwork, GivesTheReferencesLogitsStepByStepAndAtOnce) {
  const auto expected = expected_tensor(folder_, "teacher_forced_logits");
  const auto json = expected_json(folder_)["teacher_forced"];
  const std::vector<int> prompt = json["prompt"], ids = json["ids"];
  const std::size_t vocab = std::size_t(expected.shape[1]);
  Session session = encoded(Precision::kFloat32);

  std::vector<int> tokens = prompt;
  std::vector<float> logits;
  const auto keep = [&](MatrixView<const float> rows) {
    logits.assign(rows.row(rows.rows - 1).begin(), rows.row(rows.rows - 1).end());
  };
  const auto check = [&](std::size_t k, std::size_t row) {
    EXPECT_LT(difference({expected.values.data() + row * vocab, vocab}, logits).largest, 2e-3)
        << "step " << k;
  };
  keep(session.prefill(prompt, int(prompt.size()) - 1));
  check(0, 0);
  for (std::size_t k = 1; k <= ids.size(); ++k) {
    const Step step{.parent = 0, .token = ids[k - 1]};
    keep(session.step({&step, 1}));
    if (k == 7) check(k, 1);
    if (k == 15) check(k, 2);
  }
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  keep(session.prefill(tokens, int(tokens.size()) - 1));  // 19 rows: the many-rows kernels
  check(15, 2);
}

TEST_P(WhisperNetwork, HypothesesShareTheirPastAndDoNotDisturbEachOther) {
  Session session = encoded(Precision::kFloat32, 3);
  const std::vector<int> prompt = {50258, 50259, 50359, 50363};
  const auto alone = [&](std::initializer_list<int> tokens) {
    std::vector<int> all = prompt;
    all.insert(all.end(), tokens);
    const auto rows = session.prefill(all, int(all.size()) - 1);
    return std::vector<float>(rows.row(0).begin(), rows.row(0).end());
  };
  const auto ab = alone({400, 370}), cd = alone({2186, 7938}), ad = alone({400, 7938});

  session.prefill(prompt, 3);
  session.step(std::vector<Step>{{0, 400}, {0, 2186}});
  const auto rows = session.step(std::vector<Step>{{1, 7938}, {0, 370}, {0, 7938}});
  EXPECT_LT(difference(rows.row(0), cd).largest, 1e-3);
  EXPECT_LT(difference(rows.row(1), ab).largest, 1e-3);
  EXPECT_LT(difference(rows.row(2), ad).largest, 1e-3);
}

TEST_P(WhisperNetwork, PicksTheReferencesTokensInReducedPrecisionWhereTheMarginIsLarge) {
  const auto json = expected_json(folder_)["greedy_no_timestamps"];
  const std::vector<int> prompt = json["prompt"], tokens = json["tokens"];
  const std::vector<double> margins = json["margins"];
  for (const Precision precision :
       {Precision::kFloat32, Precision::kFloat16, Precision::kBFloat16, Precision::kInt8}) {
    // Rounding weights to bfloat16 alone moves these logits by up to 1 (goldens/README.md).
    const double noise = precision == Precision::kFloat32   ? 0.0
                         : precision == Precision::kFloat16 ? 0.1
                                                            : 2.5;
    Session session = encoded(precision);
    MatrixView<const float> logits = session.prefill(prompt, int(prompt.size()) - 1);
    int compared = 0;
    for (std::size_t i = 1; i < tokens.size(); ++i) {  // the first has suppressed rivals
      const Step step{.parent = 0, .token = tokens[i - 1]};
      logits = session.step({&step, 1});
      const auto row = logits.row(0);
      if (margins[i] <= noise) continue;
      ++compared;
      const auto best = std::max_element(row.begin(), row.end()) - row.begin();
      if (best == 50257) continue;  // the end may be suppressed there
      EXPECT_EQ(best, tokens[i]) << engine::name(precision) << ", token " << i;
    }
    EXPECT_GT(compared, 0) << engine::name(precision);
  }
}

TEST_P(WhisperNetwork, AlignmentRowsAreDistributions) {
  Session session = encoded(Precision::kFloat32, 2);
  session.keep_alignment(true);
  const std::vector<int> prompt = {50258, 50259, 50359, 50363};
  session.prefill(prompt, 3);
  for (int row = 0; row < 4; ++row) {
    const auto heads = session.alignment(row);
    ASSERT_EQ(heads.rows, 2);
    for (int h = 0; h < heads.rows; ++h) {
      double sum = 0;
      for (const float w : heads.row(h)) sum += w;
      EXPECT_NEAR(sum, 1.0, 1e-4);
    }
  }
}

TEST(WhisperModel, StepsAllocateNothingFromTheFirstOn) {
  using rt::testing::RealtimeGuard;
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16, Precision::kInt8}) {
    // On one thread, since the guard sees its own thread only.
    const auto model = std::make_shared<Model>(
        load_checkpoint("tests/fixtures/whisper"),
        engine::ComputeConfig{.encoder = precision, .decoder = precision, .threads = 1});
    Session session(model, 3);
    session.keep_alignment(true);
    const int bins = model->config().mel_bins;
    const std::vector<float> mel(std::size_t(3000 * bins), 0.1f);
    const std::vector<int> prompt(12, 50258);
    const std::vector<Step> steps = {{0, 5}, {0, 6}, {0, 7}};
    const std::string report = rt::testing::guarded([&] {
      session.encode({mel.data(), 3000, bins, bins});
      session.prefill(prompt, 11);
      session.step(steps);
      session.step(steps);
    });
    // The model's mutex is there: sessions take turns.
    for (const char* forbidden : {"alloc", "free", "new", "mmap", "write", "sleep"}) {
      EXPECT_EQ(report.find(forbidden), std::string::npos)
          << engine::name(precision) << ": " << report;
    }
  }
}

TEST(WhisperModel, SessionsShareTheWeightsAndAddTheirCachesOnly) {
  const auto model = std::make_shared<Model>(load_checkpoint("tests/fixtures/whisper"),
                                             engine::ComputeConfig::of("auto"));
  Session a(model), b(model);
  const int bins = model->config().mel_bins;
  std::vector<float> quiet(std::size_t(3000 * bins), -1.0f), loud(quiet.size(), 1.0f);
  const std::vector<int> prompt = {50258, 50259, 50359};
  const auto last = [&](Session& session) {
    const auto rows = session.prefill(prompt, 2);
    return std::vector<float>(rows.row(0).begin(), rows.row(0).end());
  };
  a.encode({quiet.data(), 3000, bins, bins});
  const auto first = last(a);
  b.encode({loud.data(), 3000, bins, bins});
  last(b);
  EXPECT_EQ(last(a), first) << "another session's window showed";
}

TEST_P(WhisperNetwork, TurboAndEnglishShapesMatchTheReference) {
  for (const char* name : {"whisper-turbo", "whisper-en"}) {
    const auto folder = golden(GetParam(), name);
    const auto model = load_model(folder, Precision::kFloat32);
    EXPECT_EQ(model->config().vocab_size, expected_json(folder)["vocab_size"]);
    Session session(model);
    std::vector<float> mel(std::size_t(3000) * std::size_t(model->config().mel_bins), 0.1f);
    session.encode({mel.data(), 3000, model->config().mel_bins, model->config().mel_bins});
    for (const float x : session.encoder_rows().row(1499)) ASSERT_TRUE(std::isfinite(x));
  }
}

}  // namespace
}  // namespace runnel::models::whisper
