// What an HTDemucs segment costs, against the known totals of the public shapes.
#include "apps/bench/htdemucs_cost.h"

#include <gtest/gtest.h>

namespace runnel::apps {
namespace {

using models::htdemucs::Config;

constexpr double kGiga = 1e9;

Config four_stems() { return {.sources = {"drums", "bass", "other", "vocals"}}; }

TEST(HtdemucsCost, OfFourStemsIsWhatIsKnown) {
  const Config config = four_stems();
  const HtdemucsCost cost(config, config.segment_samples());
  EXPECT_NEAR(cost.transformer() / kGiga, 215, 0.5);
  EXPECT_NEAR(cost.segment() / kGiga, 335, 0.5);
  // Three minutes with a quarter of overlap are 31 segments.
  EXPECT_NEAR(31 * cost.segment() / kGiga, 10'400, 50);
}

TEST(HtdemucsCost, OfALayerIsItsProductsByHand) {
  const Config config = four_stems();
  const HtdemucsCost cost(config, config.segment_samples());
  // 512 × 336 positions: 8 taps of 4 to 48; two branches of 3 × 48 × 6 and 6 × 96; 48 to 96.
  EXPECT_DOUBLE_EQ(cost.spectral_encoder(0),
                   2.0 * 512 * 336 * (8 * 4 * 48 + 2 * (3 * 48 * 6 + 6 * 96) + 48 * 96));
  EXPECT_DOUBLE_EQ(cost.temporal_encoder(3),
                   2.0 * 1344 * (8 * 192 * 384 + 2 * (3 * 384 * 48 + 48 * 768) + 384 * 768));
  // The first decoder layers are the deepest; the last ones end in all stems.
  EXPECT_DOUBLE_EQ(cost.spectral_decoder(0),
                   2.0 * 8 * 336 * (9 * 384 * 768 + 2 * (3 * 384 * 48 + 48 * 768) + 8 * 384 * 192));
  EXPECT_DOUBLE_EQ(cost.temporal_decoder(3),
                   2.0 * 85'995 * (3 * 48 * 96 + 2 * (3 * 48 * 6 + 6 * 96) + 8 * 48 * 4 * 2));
}

TEST(HtdemucsCost, OfSixStemsHasANarrowerTransformerWithoutSamplers) {
  Config config = four_stems();
  config.sources.insert(config.sources.end(), {"guitar", "piano"});
  config.bottom_channels = 0;
  const HtdemucsCost cost(config, config.segment_samples());
  const double tokens = 2688 + 1344;
  const double pairs = 3 * (2688.0 * 2688 + 1344.0 * 1344) + 2 * 2 * 2688.0 * 1344;
  EXPECT_DOUBLE_EQ(cost.transformer(), 2 * (tokens * 5 * 12 * 384 * 384 + 2 * 384 * pairs));
  EXPECT_GT(cost.spectral_decoder(3), HtdemucsCost(four_stems(), 343'980).spectral_decoder(3));
}

TEST(HtdemucsCost, OfAShorterSegmentIsLess) {
  const HtdemucsCost cost(four_stems(), 171'990);
  const HtdemucsCost whole(four_stems(), 343'980);
  EXPECT_NEAR(cost.spectral_encoder(1) / whole.spectral_encoder(1), 0.5, 0.01);
  EXPECT_NEAR(cost.temporal_decoder(1) / whole.temporal_decoder(1), 0.5, 0.01);
  EXPECT_LT(cost.transformer(), 0.5 * whole.transformer());  // attention grows with the square
}

}  // namespace
}  // namespace runnel::apps
