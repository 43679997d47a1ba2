// The decoder against the reference, with the reference's own encoder rows as input.
#include "models/moonshine/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/models/goldens.h"
#include "tests/models/moonshine_decoder_fixture.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models::moonshine {
namespace {

using engine::ComputeConfig;
using engine::Precision;
using testing::DecoderModel;
using testing::Listener;
using testing::reference_runs;
using testing::ReferenceRun;

ComputeConfig all_in(Precision precision, int threads = 2) {
  return {.encoder = precision, .decoder = precision, .threads = threads};
}

std::vector<int> tokens_of(const Pass& pass) { return {pass.tokens.begin(), pass.tokens.end()}; }
int limit_of(const ReferenceRun& run) { return int(run.tokens.size()); }

/// A set of goldens, and the case's name after "moonshine-streaming-".
class MoonshineDecoder : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  const ReferenceRun& longest() const {
    return *std::max_element(runs_.begin(), runs_.end(), [](const auto& a, const auto& b) {
      return a.text_tokens().size() < b.text_tokens().size();
    });
  }

  const std::filesystem::path folder_ = models::testing::golden(
      std::get<0>(GetParam()), "moonshine-streaming-" + std::get<1>(GetParam()));
  const std::vector<ReferenceRun> runs_ = reference_runs(folder_);
};

TEST_P(MoonshineDecoder, DecodesAsTheReferenceInFloat32OnEveryInstructionSet) {
  for (const engine::Isa isa : engine::supported_isas()) {
    DecoderModel model(folder_, all_in(Precision::kFloat32), isa);
    for (const ReferenceRun& run : runs_) {
      SCOPED_TRACE(std::string(engine::name(isa)) + " " + run.name);
      const auto decoder = model.heard(run);
      const Listener listener;
      const Pass pass = decoder->decode({}, 0, limit_of(run), &listener);
      ASSERT_EQ(tokens_of(pass), run.text_tokens());
      EXPECT_EQ(pass.ended, run.ended());
      EXPECT_EQ(pass.confirmed, 0);
      EXPECT_EQ(pass.decoder_steps, limit_of(run));
      for (std::size_t i = 0; i < pass.tokens.size(); ++i) {
        EXPECT_NEAR(pass.logprobs[i], run.logprobs[i], 2e-3) << "token " << i;
        EXPECT_GE(pass.frames[i], 0.0f);
        EXPECT_LE(pass.frames[i], float(run.frames - 1));
      }
      if (pass.ended) {
        EXPECT_NEAR(pass.end_logprob, run.logprobs.back(), 2e-3);
      }
      EXPECT_EQ(model.checkpoint.tokenizer->decode(pass.tokens), run.text);
      const int vocab = model.checkpoint.config.vocab_size;
      for (std::size_t i = 0; i < run.logits.size(); ++i) {
        ASSERT_NEAR(listener.seen.at(i / std::size_t(vocab)).at(i % std::size_t(vocab)),
                    run.logits[i], 2e-3);
      }
    }
  }
}

TEST_P(MoonshineDecoder, AnyDraftGivesWhatDecodingFromNothingGives) {
  DecoderModel model(folder_, all_in(Precision::kFloat32));
  for (const ReferenceRun& run : runs_) {
    const auto decoder = model.heard(run);
    const std::vector<int> right = run.text_tokens();
    const int n = int(right.size()), limit = limit_of(run);
    const std::vector<float> logprobs(run.logprobs.begin(), run.logprobs.begin() + n);
    const auto expect = [&](std::vector<int> draft, int confirmed, const std::string& what) {
      SCOPED_TRACE(run.name + ": " + what);
      const Pass pass = decoder->decode(draft, 0, limit);
      EXPECT_EQ(tokens_of(pass), right);
      EXPECT_EQ(pass.ended, run.ended());
      EXPECT_EQ(pass.confirmed, confirmed);
      // The draft's batches, then a step for each token that follows the one which they gave.
      const int batches = (std::min(int(draft.size()) + 1, limit) - 1) / Decoder::kBatchRows + 1;
      if (int(draft.size()) <= limit) {
        EXPECT_EQ(pass.decoder_steps, batches + std::max(0, limit - confirmed - 1));
      }
      ASSERT_EQ(pass.logprobs.size(), logprobs.size());
      for (std::size_t i = 0; i < logprobs.size(); ++i) {
        EXPECT_NEAR(pass.logprobs[i], logprobs[i], 2e-3);
      }
    };
    expect(right, n, "all right");
    for (int keep = 0; keep < n; ++keep) {
      expect({right.begin(), right.begin() + keep}, keep, "a beginning");
      std::vector<int> other = right;
      other[std::size_t(keep)] = other[std::size_t(keep)] == 300 ? 301 : 300;
      expect(other, keep, "wrong at " + std::to_string(keep));
    }
    std::vector<int> longer = right;
    longer.insert(longer.end(), 20, 7);
    expect(longer, n, "too long");
    expect({-1, 5}, 0, "no token");
    expect({right[0], 2, right[1]}, 1, "an end inside");
    expect({right[0], 1 << 20}, 1, "beyond the vocabulary");
  }
}

TEST_P(MoonshineDecoder, HeedsALongDraftOverSeveralBatches) {
  DecoderModel model(folder_, all_in(Precision::kFloat32));
  const ReferenceRun& run = longest();
  auto decoder = model.stream(400, 250);
  decoder->append(model.rows(run, 0, run.frames));
  // Fixed tokens lead to where greedy decoding would not go; what follows them is its own.
  std::vector<int> fixed(Decoder::kBatchRows + Decoder::kLogitRows + 3);
  std::iota(fixed.begin(), fixed.end(), 20);
  const auto from = [&](std::span<const int> draft) {
    const Pass pass = decoder->decode(draft, int(fixed.size()), 250);
    return tokens_of(pass);
  };
  const std::vector<int> once = from(fixed);
  ASSERT_GE(once.size(), fixed.size());
  EXPECT_TRUE(std::equal(fixed.begin(), fixed.end(), once.begin()));
  EXPECT_EQ(from(once), once);
  std::vector<int> wrong = once;
  wrong.resize(240, 9);
  EXPECT_EQ(from(wrong), once);
}

TEST_P(MoonshineDecoder, TakesFixedTokensAsTheyAre) {
  DecoderModel model(folder_, all_in(Precision::kFloat32));
  const ReferenceRun& run = longest();
  const auto decoder = model.heard(run);
  const std::vector<int> draft = {400, 401, 402, 403};
  const Pass two = decoder->decode(draft, 2, 12);
  const std::vector<int> kept = tokens_of(two);
  ASSERT_GE(kept.size(), 2u);
  EXPECT_EQ(kept[0], 400);
  EXPECT_EQ(kept[1], 401);
  EXPECT_GE(two.confirmed, 2);
  EXPECT_LT(two.logprobs[0], run.logprobs[0]);
  const Pass all = decoder->decode(draft, 99, 4);
  EXPECT_EQ(tokens_of(all), draft);
  EXPECT_EQ(all.confirmed, 4);
  EXPECT_FALSE(all.ended);
}

TEST_P(MoonshineDecoder, AppendingInAnyChunksGivesTheSame) {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16, Precision::kInt8}) {
    DecoderModel model(folder_, all_in(precision));
    const ReferenceRun& run = longest();
    // Sums in another order round to other halves in the caches of narrow precisions; few rows of
    // int8 are multiplied with activations of 16 bits, many with wide ones or 8 bits.
    const double tolerance = precision == Precision::kFloat32 ? 1e-4 : 1e-2;
    const Listener whole;
    const auto at_once = model.heard(run);
    const std::vector<int> expected = tokens_of(at_once->decode({}, 0, limit_of(run), &whole));
    for (const int chunk : {1, 2, 3, 7, 15, 16, 17, 33, 100}) {
      SCOPED_TRACE(std::string(engine::name(precision)) + ", chunks of " + std::to_string(chunk));
      const auto decoder = model.stream();
      const Listener parts;
      for (int first = 0; first < run.frames; first += chunk) {
        const int count = std::min(chunk, run.frames - first);
        ASSERT_EQ(decoder->append(model.rows(run, first, count)), count);
        // A look at what is there so far leaves no trace.
        if (first / chunk % 5 == 0) decoder->decode(expected, 0, 3);
      }
      EXPECT_EQ(decoder->frames(), run.frames);
      EXPECT_EQ(tokens_of(decoder->decode({}, 0, limit_of(run), &parts)), expected);
      for (std::size_t i = 0; i < whole.seen.size(); ++i) {
        for (std::size_t t = 0; t < whole.seen[i].size(); ++t) {
          ASSERT_NEAR(whole.seen[i][t], parts.seen[i][t], tolerance);
        }
      }
    }
  }
}

TEST_P(MoonshineDecoder, KeepsToItsLimits) {
  DecoderModel model(folder_, all_in(Precision::kFloat32));
  const ReferenceRun& run = longest();
  const std::vector<int> right = run.text_tokens();
  const auto decoder = model.stream(run.frames - 5, 6);
  const Pass nothing = decoder->decode(right, 2, 10);
  EXPECT_TRUE(nothing.tokens.empty());
  EXPECT_EQ(nothing.decoder_steps, 0);
  EXPECT_EQ(decoder->append(model.rows(run, 0, 10)), 10);
  EXPECT_EQ(decoder->append(model.rows(run, 10, run.frames - 10)), run.frames - 15);
  EXPECT_EQ(decoder->append(model.rows(run, 0, 1)), 0);
  EXPECT_EQ(decoder->frames(), run.frames - 5);
  EXPECT_TRUE(decoder->decode({}, 0, 0).tokens.empty());
  EXPECT_TRUE(decoder->decode({}, 0, -3).tokens.empty());
  EXPECT_EQ(decoder->decode({}, 0, 3).tokens.size(), 3u);
  EXPECT_EQ(decoder->decode(right, int(right.size()), 1000).tokens.size(), 6u);
  const Checkpoint& checkpoint = model.checkpoint;
  EXPECT_THROW(model.stream(0, 6), std::invalid_argument);
  EXPECT_THROW(model.stream(checkpoint.config.encoder.max_frames + 1, 6), std::invalid_argument);
  EXPECT_THROW(model.stream(6, 0), std::invalid_argument);
  EXPECT_THROW(model.stream(6, checkpoint.config.decoder.max_tokens + 1), std::invalid_argument);
}

TEST_P(MoonshineDecoder, RestartForgets) {
  DecoderModel model(folder_, all_in(Precision::kFloat32));
  const auto decoder = model.stream();
  for (const ReferenceRun& run : runs_) {
    decoder->restart();
    EXPECT_EQ(decoder->frames(), 0);
    decoder->append(model.rows(run, 0, run.frames));
    EXPECT_EQ(tokens_of(decoder->decode({}, 0, limit_of(run))), run.text_tokens()) << run.name;
  }
}

TEST_P(MoonshineDecoder, NarrowWeightsKeepTheTokensThatAreClear) {
  // Twice the largest differences of log-probability that were measured over all runs (0.006, 0.13,
  // 0.30 on AMX). A token is clear where its margin is larger than both it and the next best may
  // move.
  const std::pair<Precision, double> kNoise[] = {
      {Precision::kFloat16, 0.02}, {Precision::kBFloat16, 0.3}, {Precision::kInt8, 0.6}};
  for (const auto& [precision, noise] : kNoise) {
    DecoderModel model(folder_, all_in(precision));
    double largest = 0;
    for (const ReferenceRun& run : runs_) {
      SCOPED_TRACE(std::string(engine::name(precision)) + " " + run.name);
      const auto decoder = model.heard(run);
      const std::vector<int> right = run.text_tokens();
      // Forced along the reference, so that one flip doesn't hide what follows: as a batch, and
      // step by step.
      const Pass forced = decoder->decode(right, int(right.size()), int(right.size()));
      for (std::size_t i = 0; i < right.size(); ++i) {
        largest = std::max(largest, std::abs(double(forced.logprobs[i]) - run.logprobs[i]));
      }
      for (int i = 0; i < int(right.size()); ++i) {
        if (run.margins[std::size_t(i)] <= 2 * noise) continue;
        const Pass pass = decoder->decode({right.data(), std::size_t(i)}, i, i + 1);
        ASSERT_EQ(pass.tokens.size(), std::size_t(i) + 1);
        EXPECT_EQ(pass.tokens[std::size_t(i)], right[std::size_t(i)]) << "token " << i;
      }
    }
    RecordProperty(std::string(engine::name(precision)), std::to_string(largest));
    EXPECT_LE(largest, noise) << engine::name(precision);
  }
}

double sum_of(const Pass& pass) {
  return std::accumulate(pass.logprobs.begin(), pass.logprobs.end(), double(pass.end_logprob));
}

/// What a search finds is as likely as the same tokens one after the other, and not less likely
/// than the greedy ones. The goldens' weights are random: few runs end.
TEST_P(MoonshineDecoder, ASearchFindsWhatIsLikelier) {
  for (const engine::Isa isa : engine::supported_isas()) {
    DecoderModel model(folder_, all_in(Precision::kFloat32), isa);
    int better = 0;
    for (const ReferenceRun& run : runs_) {
      SCOPED_TRACE(std::string(engine::name(isa)) + " " + run.name);
      const int limit = limit_of(run);
      const auto greedy = model.heard(run);
      const double least = sum_of(greedy->decode({}, 0, limit));
      for (const int beams : {2, 4, 8}) {
        const auto decoder = model.heard(run, beams);
        const Pass found = decoder->decode({}, 0, limit);
        const std::vector<int> tokens = tokens_of(found);
        const std::vector<float> logprobs(found.logprobs.begin(), found.logprobs.end());
        const std::vector<float> frames(found.frames.begin(), found.frames.end());
        EXPECT_GE(sum_of(found), least - 1e-3);
        better += sum_of(found) > least + 1e-3;
        const Pass again = greedy->decode(tokens, int(tokens.size()), int(tokens.size()));
        ASSERT_EQ(again.logprobs.size(), logprobs.size());
        for (std::size_t i = 0; i < logprobs.size(); ++i) {
          EXPECT_NEAR(again.logprobs[i], logprobs[i], 1e-4) << "token " << i;
          EXPECT_NEAR(again.frames[i], frames[i], 1e-2) << "token " << i;
        }
      }
    }
    EXPECT_GT(better, 0);
  }
}

TEST_P(MoonshineDecoder, ASearchHeedsFixedTokensAndLimits) {
  DecoderModel model(folder_, all_in(Precision::kFloat32));
  const ReferenceRun& run = longest();
  const auto decoder = model.heard(run, 4);
  const Pass first = decoder->decode({}, 0, 20);
  const std::vector<int> whole = tokens_of(first);
  const double least = sum_of(first);
  ASSERT_GE(whole.size(), 5u);
  // With its own beginning, as a draft or fixed, it finds that or something likelier.
  for (const int fixed : {0, 1, 4}) {
    const std::vector<int> draft(whole.begin(), whole.begin() + 4);
    const Pass pass = decoder->decode(draft, fixed, 20);
    EXPECT_GE(sum_of(pass), least - 1e-3) << fixed;
    EXPECT_GE(pass.confirmed, fixed);
    const auto [same, _] =
        std::mismatch(draft.begin(), draft.end(), pass.tokens.begin(), pass.tokens.end());
    EXPECT_EQ(pass.confirmed, same - draft.begin());
  }
  const int strange[] = {11, 12, 13};
  const Pass pass = decoder->decode(strange, 3, 8);
  ASSERT_GE(pass.tokens.size(), 3u);
  EXPECT_LE(pass.tokens.size(), 8u);
  EXPECT_TRUE(std::equal(strange, strange + 3, pass.tokens.begin()));
  EXPECT_EQ(tokens_of(decoder->decode(strange, 3, 3)), (std::vector<int>{11, 12, 13}));
  EXPECT_EQ(decoder->decode({}, 0, 1).tokens.size(), 1u);
  // As many tokens as it holds, beyond a batch.
  const auto small = model.stream(400, 40, 4);
  small->append(model.rows(run, 0, run.frames));
  EXPECT_LE(small->decode(strange, 3, 1000).tokens.size(), 40u);
  EXPECT_THROW(model.stream(400, 64, 9), std::invalid_argument);
  EXPECT_THROW(model.stream(400, 64, 0), std::invalid_argument);
}

TEST_P(MoonshineDecoder, ABiasChangesWhatComesButNotHowLikelyItIs) {
  struct Favour final : TokenBias {
    void apply(std::span<const int> tokens, std::span<float> logits) const noexcept override {
      if (tokens.size() == 1) logits[77] += 1e4f;
    }
  };
  DecoderModel model(folder_, all_in(Precision::kFloat32));
  const ReferenceRun& run = longest();
  const auto decoder = model.heard(run);
  const Favour favour;
  for (const std::vector<int>& draft : {std::vector<int>{}, run.text_tokens()}) {
    const Pass pass = decoder->decode(draft, 0, 4, &favour);
    ASSERT_GE(pass.tokens.size(), 2u);
    EXPECT_EQ(pass.tokens[0], run.tokens[0]);
    EXPECT_EQ(pass.tokens[1], 77);
    EXPECT_LT(pass.logprobs[1], -1.0f);
    const float biased = pass.logprobs[1];
    const int forced[] = {run.tokens[0], 77};
    EXPECT_NEAR(decoder->decode(forced, 2, 2).logprobs[1], biased, 1e-4);
  }
}

TEST_P(MoonshineDecoder, AppendAndDecodeAllocateNothingFromTheFirstOn) {
  using rt::testing::RealtimeGuard;
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16, Precision::kInt8}) {
    // On one thread, since the guard sees its own thread only.
    DecoderModel model(folder_, all_in(precision, 1));
    const ReferenceRun& run = longest();
    const auto decoder = model.stream();
    const auto searching = model.stream(400, 64, 4);
    const std::vector<int> draft = run.text_tokens();
    const std::string report = rt::testing::guarded([&] {
      searching->append(model.rows(run, 0, run.frames));
      searching->decode({}, 0, 8);
      searching->decode(draft, 2, 40);
      decoder->append(model.rows(run, 0, 3));
      decoder->append(model.rows(run, 3, run.frames - 3));
      decoder->decode({}, 0, 8);
      decoder->decode(draft, 2, 40);
      decoder->restart();
      decoder->append(model.rows(run, 0, 20));
      decoder->decode(draft, 0, 8);
    });
    for (const char* forbidden : {"alloc", "free", "new", "mmap", "write", "sleep"}) {
      EXPECT_EQ(report.find(forbidden), std::string::npos)
          << engine::name(precision) << ": " << report;
    }
  }
}

/// Another source's tensors, with the embedding in the head's place.
class SharedHead final : public TensorSource {
 public:
  explicit SharedHead(const TensorSource& from) : from_(from) {}
  bool contains(std::string_view tensor) const override { return from_.contains(of(tensor)); }
  void expect(std::string_view tensor, const engine::Shape& shape) const override {
    from_.expect(of(tensor), shape);
  }
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override {
    from_.read(of(tensor), first, out);
  }

 private:
  static std::string_view of(std::string_view tensor) {
    return tensor == "proj_out.weight" ? "model.decoder.embed_tokens.weight" : tensor;
  }
  const TensorSource& from_;
};

TEST_P(MoonshineDecoder, AHeadThatIsTheEmbeddingIsKeptOnce) {
  const ComputeConfig compute = all_in(Precision::kFloat32);
  Checkpoint apart = testing::decoder_checkpoint(folder_);
  Checkpoint same = testing::decoder_checkpoint(folder_);
  same.tensors = std::make_unique<SharedHead>(*apart.tensors);
  Checkpoint tied = testing::decoder_checkpoint(folder_);
  tied.config.decoder.tied = true;
  const DecoderWeights two = pack_decoder(apart, compute), one = pack_decoder(same, compute);
  EXPECT_GT(two.embedding.weight.outputs(), 0);
  EXPECT_EQ(one.embedding.weight.outputs(), 0);
  EXPECT_EQ(pack_decoder(tied, compute).embedding.weight.outputs(), 0);
  EXPECT_EQ(bytes_of(two) - bytes_of(one), two.embedding.weight.bytes());
  std::vector<float> a(std::size_t(apart.config.decoder.dim)), b(a.size());
  two.embedding_rows().read_row(300, a.data());
  one.embedding_rows().read_row(300, b.data());
  EXPECT_EQ(a, b);
}

INSTANTIATE_TEST_SUITE_P(, MoonshineDecoder,
                         ::testing::Combine(::testing::ValuesIn(models::testing::golden_sets()),
                                            ::testing::Values("square", "nonsquare")),
                         [](const auto& info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) == "square" ? "Square" : "Nonsquare");
                         });

TEST(AttentionPeak, IsWhereTheWeightLies) {
  std::vector<float> weights(100, 0.0f);
  weights[40] = 0.4f;
  weights[41] = 0.4f;
  weights[90] = 0.2f;
  const AttentionPeak peak = attention_peak(weights);
  EXPECT_NEAR(peak.centre, 40.5f, 1e-5);
  EXPECT_NEAR(peak.share, 0.8f, 1e-6);
  const float one = 1;
  EXPECT_EQ(attention_peak({&one, 1}).centre, 0.0f);
  const std::vector<float> nothing(9, std::nanf(""));
  EXPECT_EQ(attention_peak(nothing).centre, 0.0f);
}

TEST(AttentionPeak, HeadsThatLookEverywhereHaveNoSay) {
  std::vector<AttentionPeak> peaks = {{0, 0.1f}, {3, 0.15f}, {70, 0.9f}, {71, 0.8f}, {95, 0.1f}};
  const float centre = agreed_centre(peaks);
  EXPECT_GE(centre, 70.0f);
  EXPECT_LE(centre, 71.0f);
}

}  // namespace
}  // namespace runnel::models::moonshine
