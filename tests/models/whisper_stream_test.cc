// The streaming encoder against the reference, and that it is the same however audio comes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "dsp/log_mel.h"
#include "models/config_json.h"
#include "models/safetensors_source.h"
#include "models/whisper/config_files.h"
#include "models/whisper/live_recogniser.h"
#include "models/whisper/stream_encoder.h"
#include "models/whisper/transcriber.h"
#include "tests/models/network_runs.h"
#include "tests/models/test_audio.h"
#include "tests/models/whisper_goldens.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models::whisper {
namespace {

using engine::Precision;

const std::string kFolder = "tests/goldens/whisper-streaming";

StreamingEncoder shape_of(const nlohmann::json& json) {
  return {
      .chunk = json["chunk"], .past = json["past"], .right = json["right"], .sinks = json["sinks"]};
}

/// The first of the golden's sinks, as the reference took them.
class FewerSinks : public TensorSource {
 public:
  FewerSinks(Config whole, int sinks)
      : file_(engine::Weights::open(kFolder + "/model.safetensors"), "model.encoder.conv1.weight"),
        whole_(std::move(whole)),
        sinks_(sinks) {}

  bool contains(std::string_view tensor) const override { return file_.contains(tensor); }
  void expect(std::string_view tensor, const engine::Shape& shape) const override {
    if (!is_sinks(tensor)) file_.expect(tensor, shape);
  }
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override {
    if (!is_sinks(tensor)) return file_.read(tensor, first, out);
    const std::size_t few = std::size_t(sinks_ * whole_.dim);
    ASSERT_EQ(first, 0);
    for (std::size_t i = 0; i < out.size() / few; ++i) {
      file_.read(tensor, std::int64_t(i) * whole_.stream.sinks * whole_.dim,
                 out.subspan(i * few, few));
    }
  }

 private:
  static bool is_sinks(std::string_view tensor) { return tensor == "model.encoder.sinks"; }

  const SafetensorsSource file_;
  const Config whole_;
  const int sinks_;
};

std::shared_ptr<const Model> golden_model(const StreamingEncoder& stream, Precision precision) {
  const std::string path = kFolder + "/config.json";
  Checkpoint checkpoint;
  checkpoint.label = "golden";
  checkpoint.config = parse_config(read_config_text(path), path);
  checkpoint.tensors = std::make_unique<FewerSinks>(checkpoint.config, stream.sinks);
  checkpoint.config.stream = stream;
  checkpoint.generation.alignment_heads = {{1, 0}};
  return std::make_shared<const Model>(
      std::move(checkpoint),
      engine::ComputeConfig{.encoder = precision, .decoder = precision, .threads = 2});
}

/// Scaled frames [n, 80].
std::vector<float> frames_of(std::vector<float> audio) {
  dsp::LogMel log_mel(80, int(audio.size()));
  log_mel.push({{audio.data(), 1, int(audio.size()), int(audio.size())}, {0, 16000}});
  std::vector<float> frames;
  const auto take = [&] {
    for (dsp::MelFrames out; log_mel.pop(out);) {
      for (int r = 0; r < out.log_mel.rows; ++r) {
        frames.insert(frames.end(), out.log_mel.row(r).begin(), out.log_mel.row(r).end());
      }
    }
  };
  take();
  log_mel.flush();
  take();
  const MatrixView<float> all{frames.data(), int(frames.size() / 80), 80, 80};
  scale_for_stream(all, all);
  return frames;
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  double most = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    most = std::max(most, std::abs(double(a[i]) - double(b[i])));
  }
  return most;
}

std::vector<float> all_of(MatrixView<const float> rows) {
  std::vector<float> values;
  for (int r = 0; r < rows.rows; ++r) {
    values.insert(values.end(), rows.row(r).begin(), rows.row(r).end());
  }
  return values;
}

TEST(WhisperStream, GivesTheReferencesRowsAndLogits) {
  const nlohmann::json expected = models::testing::expected_json(kFolder);
  std::vector<float> audio =
      models::testing::read_mono("tests/goldens/whisper-multilingual/input.wav");
  audio.resize(expected["samples"]);
  std::fill(audio.end() - 400, audio.end(), 0.0f);
  const std::vector<float> mel = frames_of(audio);
  const std::vector<int> tokens = expected["tokens"];
  for (std::size_t i = 0; i < expected["shapes"].size(); ++i) {
    SCOPED_TRACE(expected["shapes"][i].dump());
    const auto rows = models::testing::expected_tensor(kFolder, "rows." + std::to_string(i));
    const auto logits = models::testing::expected_tensor(kFolder, "logits." + std::to_string(i));
    for (const Precision precision :
         {Precision::kFloat32, Precision::kFloat16, Precision::kBFloat16, Precision::kInt8}) {
      const bool exact = precision == Precision::kFloat32;
      Session session(golden_model(shape_of(expected["shapes"][i]), precision));
      session.encode({mel.data(), int(mel.size() / 80), 80, 80});
      EXPECT_LT(largest_difference(rows.values, all_of(session.encoder_rows())), exact ? 1e-4 : 0.2)
          << engine::name(precision);
      const auto found = session.prefill(tokens, int(tokens.size()) - 1);
      std::vector<float> some;
      for (int t = 0; t < found.cols; t += 16) some.push_back(found.row(0)[std::size_t(t)]);
      EXPECT_LT(largest_difference(logits.values, some), exact ? 1e-4 : 0.2)
          << engine::name(precision);
    }
  }
}

Config small(const StreamingEncoder& stream, int dim = 64) {
  return {.vocab_size = 51864,
          .dim = dim,
          .encoder_layers = 2,
          .encoder_heads = 2,
          .encoder_ffn = 2 * dim,
          .decoder_layers = 1,
          .decoder_heads = 2,
          .decoder_ffn = 32,
          .stream = stream};
}

constexpr StreamingEncoder kShapes[] = {{.chunk = 8, .past = 32, .right = 20, .sinks = 10},
                                        {.chunk = 1, .past = 3, .right = 0, .sinks = 0},
                                        {.chunk = 3, .past = 0, .right = 5, .sinks = 7},
                                        {.chunk = 64, .past = 1472, .right = 100, .sinks = 256}};

/// Logits of some tokens on what was heard.
std::vector<float> logits_of(Session& session) {
  const std::vector<int> tokens = {50257, 50362, 400, 370};
  return all_of(session.prefill(tokens, 3));
}

TEST(WhisperStream, TheSameBitsHoweverTheFramesCome) {
  const int frames = 700;
  const std::vector<float> mel = models::testing::wave(std::size_t(frames) * 80);
  for (const StreamingEncoder& shape : kShapes) {
    for (const Precision precision :
         {Precision::kFloat32, Precision::kBFloat16, Precision::kInt8}) {
      Session session(models::testing::whisper_model(
          small(shape), {.encoder = precision, .decoder = precision, .threads = 2}));
      session.encode({mel.data(), frames, 80, 80});
      const std::vector<float> rows = all_of(session.encoder_rows()), logits = logits_of(session);
      EXPECT_EQ(rows.size(), std::size_t(350 * 64));
      EXPECT_TRUE(models::testing::all_finite(rows));
      for (const int piece : {1, 7, 16, 129}) {
        session.restart_audio();
        for (int at = 0; at < frames; at += piece) {
          session.encode_more({mel.data() + at * 80, std::min(piece, frames - at), 80, 80}, false);
        }
        session.encode_more({mel.data(), 0, 80, 80}, true);
        EXPECT_EQ(all_of(session.encoder_rows()), rows)
            << shape.chunk << ", " << engine::name(precision) << ", pieces of " << piece;
        EXPECT_EQ(logits_of(session), logits)
            << shape.chunk << ", " << engine::name(precision) << ", pieces of " << piece;
      }
    }
  }
}

TEST(WhisperStream, RowsComeWhenTheRowsAfterThemAreThereAndDoNotChange) {
  const std::vector<float> mel = models::testing::wave(200 * 80);
  Session session(models::testing::whisper_model(small(kShapes[0]), {.threads = 1}));
  session.restart_audio();
  std::vector<float> before;
  for (int frame = 0; frame < 200; ++frame) {
    session.encode_more({mel.data() + frame * 80, 1, 80, 80}, false);
    const MatrixView<const float> rows = session.encoder_rows();
    // Row r needs the frame 2r + 2; 28 rows make the first chunk.
    const int there = frame / 2, chunks = there < 28 ? 0 : (there - 20) / 8;
    ASSERT_EQ(rows.rows, chunks == 0 ? 0 : chunks * 8 + 20) << "frame " << frame;
    const std::vector<float> now = all_of(rows);
    const std::size_t settled = before.empty() ? 0 : before.size() - 20 * 64;
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + std::ptrdiff_t(settled), now.begin()));
    before = now;
  }
}

TEST(WhisperStream, ThirtySecondsAreTheMost) {
  const std::vector<float> mel = models::testing::wave(3300 * 80);
  for (const StreamingEncoder& shape : kShapes) {
    Session session(models::testing::whisper_model(small(shape, 16), {.threads = 2}));
    for (const int frames : {2999, 3000, 3300}) {
      session.restart_audio();
      session.encode_more({mel.data(), frames, 80, 80}, false);
      session.encode_more({mel.data(), 0, 80, 80}, true);
      ASSERT_EQ(session.encoder_rows().rows, 1500);
      EXPECT_TRUE(models::testing::all_finite(all_of(session.encoder_rows())));
    }
  }
}

TEST(WhisperStream, NothingIsLeftOfTheUtteranceBefore) {
  const std::vector<float> mel = models::testing::wave(2 * 300 * 80);
  Session session(models::testing::whisper_model(small(kShapes[0]), {.threads = 1}));
  const MatrixView<const float> first{mel.data(), 300, 80, 80};
  const MatrixView<const float> second{mel.data() + 300 * 80, 300, 80, 80};
  session.encode(second);
  const std::vector<float> alone = all_of(session.encoder_rows());
  session.encode(first);
  session.encode(second);
  EXPECT_EQ(all_of(session.encoder_rows()), alone);
}

TEST(WhisperStream, ChunksAllocateNothing) {
  using rt::testing::RealtimeGuard;
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  const std::vector<float> mel = models::testing::wave(400 * 80);
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16, Precision::kInt8}) {
    Session session(models::testing::whisper_model(
        small(kShapes[0]), {.encoder = precision, .decoder = precision, .threads = 1}));
    session.keep_alignment(true);
    const std::vector<int> tokens = {50257, 50362};
    const std::string report = rt::testing::guarded([&] {
      for (int round = 0; round < 2; ++round) {
        session.restart_audio();
        session.encode_more({mel.data(), 100, 80, 80}, false);
        session.prefill(tokens, 1);
        session.encode_more({mel.data() + 100 * 80, 300, 80, 80}, true);
        session.prefill(tokens, 1);
      }
    });
    for (const char* forbidden : {"alloc", "free", "new", "mmap", "write", "sleep"}) {
      EXPECT_EQ(report.find(forbidden), std::string::npos)
          << engine::name(precision) << ": " << report;
    }
  }
}

/// The small model of the fixtures, as if it had been trained to hear a stream.
std::shared_ptr<const Model> streaming_fixture() {
  Checkpoint checkpoint = load_checkpoint("tests/fixtures/whisper");
  checkpoint.config.stream = {.chunk = 8, .past = 64, .right = 20, .sinks = 0};
  return std::make_shared<const Model>(std::move(checkpoint), engine::ComputeConfig{.threads = 2});
}

LiveRequest window(std::int64_t begin, std::int64_t end, bool last = false) {
  LiveRequest request;
  request.begin = begin;
  request.end = end;
  request.committed_until = double(begin) / kSampleRateHz;
  request.last = last;
  return request;
}

std::string heard_by(LiveRecogniser& recogniser, const LiveRequest& request) {
  std::string text;
  for (const LiveWord& word : recogniser.recognise(request).words) {
    text += word.text + "@" + std::to_string(word.start) + "-" + std::to_string(word.end);
  }
  return text;
}

TEST(WhisperStream, APassHearsTheSameHoweverManyWereBeforeIt) {
  const auto model = streaming_fixture();
  const std::vector<float> audio =
      models::testing::read_mono("tests/goldens/whisper-multilingual/input.wav");
  DecodeOptions options;
  options.language = "en";
  options.max_tokens = 12;
  const auto make = [&] { return make_live_recogniser(model, options, LivePolicy::kAlignAtt); };
  const std::int64_t begin = 3200, end = 3200 + 48000;
  auto often = make(), once = make(), moved = make();
  once->push(std::span(audio).first(std::size_t(end)));
  const std::string alone = heard_by(*once, window(begin, end));
  const std::string last = heard_by(*once, window(begin, end, true));
  EXPECT_FALSE(last.empty());

  int passes = 0, at_first = 0;
  for (std::int64_t at = 0; at < end; at += 512) {
    const std::int64_t until = std::min(end, at + 512);
    often->push(std::span(audio).subspan(std::size_t(at), std::size_t(until - at)));
    if (until <= begin + 512) continue;
    const bool news = often->has_news(begin, until);
    if (passes == 1 && news && at_first == 0) at_first = int(until - begin);
    if (!news) continue;
    ++passes;
    heard_by(*often, window(begin, until));
  }
  // The first pass looks; then there is one a chunk, from 28 rows and the frame after them on.
  EXPECT_NEAR(at_first, 28 * 320 + 360, 512);
  EXPECT_EQ(passes, 1 + (150 - 1 - 20) / 8);
  EXPECT_EQ(heard_by(*often, window(begin, end)), alone);
  EXPECT_EQ(heard_by(*often, window(begin, end, true)), last);
  EXPECT_EQ(heard_by(*often, window(begin, end, true)), last) << "asked again";

  moved->push(std::span(audio).first(std::size_t(end)));
  heard_by(*moved, window(0, 40000));
  EXPECT_EQ(heard_by(*moved, window(begin, end)), alone);
}

TEST(WhisperStream, AMomentIsNoWindowYet) {
  DecodeOptions options;
  options.language = "en";
  auto recogniser = make_live_recogniser(streaming_fixture(), options, LivePolicy::kAlignAtt);
  const std::vector<float> audio = models::testing::noise(4000, 1);
  recogniser->push(audio);
  EXPECT_TRUE(recogniser->recognise(window(0, 4000)).words.empty());
  EXPECT_FALSE(recogniser->has_news(0, 4000));
  recogniser->recognise(window(0, 4000, true));
}

TEST(WhisperStream, FilesOfAnyLengthGoThroughIt) {
  const auto model = streaming_fixture();
  for (const int samples : {1, 400, 16000, 31 * 16000}) {
    DecodeOptions options;
    options.language = "en";
    options.beam_size = 2;
    options.temperatures = {0.0};
    options.max_tokens = 4;
    Transcriber transcriber(model, options, nullptr);
    transcriber.push(models::testing::noise(samples, 2), [](const Segment&) {});
    transcriber.finish([](const Segment&) {});
    EXPECT_NEAR(transcriber.done_seconds(), samples / 16000.0, 1e-3);
  }
}

TEST(WhisperStream, ItsConfigurationIsChecked) {
  const std::string text = read_config_text(kFolder + "/config.json");
  const auto error_with = [&](const char* key, const nlohmann::json& value) -> std::string {
    nlohmann::json json = nlohmann::json::parse(text);
    json["streaming_encoder"][key] = value;
    if (value.is_null()) json["streaming_encoder"].erase(key);
    try {
      parse_config(json.dump(), "config.json");
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(error_with("chunk", 4), "");
  EXPECT_EQ(error_with("chunk", 0),
            "config.json: key 'streaming_encoder.chunk': expected 1 to 64, found 0");
  EXPECT_EQ(error_with("chunk", nullptr),
            "config.json: key 'streaming_encoder.chunk': expected a whole number, found none");
  EXPECT_EQ(error_with("past", 18),
            "config.json: key 'streaming_encoder.past': expected a multiple of chunk, 4, found 18");
  EXPECT_THAT(error_with("past", 1504), ::testing::HasSubstr("expected 0 to 1500, found 1504"));
  EXPECT_THAT(error_with("right", 101), ::testing::HasSubstr("expected 0 to 100, found 101"));
  EXPECT_THAT(error_with("sinks", -1), ::testing::HasSubstr("expected 0 to 256, found -1"));
  EXPECT_THAT(error_with("sinks", "x"), ::testing::HasSubstr("streaming_encoder.sinks"));
  nlohmann::json json = nlohmann::json::parse(text);
  json["streaming_encoder"] = 3;
  EXPECT_THROW(parse_config(json.dump(), "config.json"), std::runtime_error);
}

}  // namespace
}  // namespace runnel::models::whisper
