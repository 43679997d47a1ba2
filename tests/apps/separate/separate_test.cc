// `runnel separate` on files and pipes, as fast as possible.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
using testing::Audio;
using testing::count_lines;
using ::testing::HasSubstr;
using testing::noisy_speech;
using testing::Outcome;
using testing::read_wav;
using testing::run;

constexpr const char* kModel = "gtcrn-runnel";

class Separate : public testing::FolderTest {
 protected:
  std::string stem(const std::string& track, const std::string& name) const {
    return folder_.file("out/" + std::string(kModel) + "/" + track + "/" + name);
  }
  Outcome separate(std::vector<std::string> arguments,
                   const std::string& stdin_file = "/dev/null") const {
    arguments.insert(arguments.begin(), "separate");
    return run(testing::joined(arguments, {"-o", folder_.file("out")}), stdin_file);
  }
};

struct Format {
  int rate_hz;
  int channels;
  std::int64_t frames;
};
class SeparateFormats : public Separate, public ::testing::WithParamInterface<Format> {};

TEST_P(SeparateFormats, KeepsRateChannelsLengthAndTheSumOfTheStems) {
  const Format format = GetParam();
  const Audio input = noisy_speech(format.rate_hz, format.channels, format.frames);
  const Outcome outcome = separate({make("talk.wav", input), "--float32"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("RTF"));
  EXPECT_EQ(outcome.err, "");
  const Audio speech = read_wav(stem("talk", "speech.wav"));
  const Audio background = read_wav(stem("talk", "background.wav"));
  for (const Audio* audio : {&speech, &background}) {
    EXPECT_EQ(audio->rate_hz, format.rate_hz);
    EXPECT_EQ(audio->channels, format.channels);
    ASSERT_EQ(audio->samples.size(), input.samples.size());
  }
  double worst = 0;
  for (std::size_t i = 0; i < input.samples.size(); ++i) {
    const double sum = double(speech.samples[i]) + background.samples[i];
    worst = std::max(worst, std::abs(sum - input.samples[i]));
  }
  EXPECT_LT(worst, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(All, SeparateFormats,
                         ::testing::Values(Format{16000, 1, 16001}, Format{48000, 2, 48123},
                                           Format{44100, 1, 30000}, Format{8000, 1, 5000},
                                           Format{16000, 1, 1}),
                         [](const auto& info) {
                           return std::to_string(info.param.frames) + "FramesOf" +
                                  std::to_string(info.param.channels) + "ChannelsAt" +
                                  std::to_string(info.param.rate_hz) + "Hz";
                         });

TEST_F(Separate, WritesTheAskedForFormatsAndNames) {
  const std::string input = make("a.wav", noisy_speech(16000, 1, 4000));
  EXPECT_EQ(separate({input, "--flac", "--int24", "--stem", "speech"}).exit_code, 0);
  EXPECT_EQ(read_wav(stem("a", "speech.flac")).frames(), 4000);
  EXPECT_FALSE(fs::exists(stem("a", "background.flac")));
  EXPECT_EQ(separate({input, "--filename", "{stem}/{track}_{trackext}.{ext}"}).exit_code, 0);
  EXPECT_TRUE(fs::exists(stem("background", "a_wav.wav")));
  EXPECT_EQ(separate({input, "--filename", "{track}.{ext}"}).exit_code, 2);
}

TEST_F(Separate, AnInputOfDotsStaysInTheOutputsFolder) {
  write_wav(file("...wav"), noisy_speech(16'000, 1, 1000));
  ASSERT_EQ(run({"separate", file("...wav"), "-o", file("out")}).exit_code, 0);
  EXPECT_TRUE(fs::exists(file("out/gtcrn-runnel/track/speech.wav")));
  EXPECT_FALSE(fs::exists(file("out/speech.wav")));
}

TEST_F(Separate, NeverOverwritesAnotherTrackOfTheSameName) {
  fs::create_directories(folder_.file("x"));
  const std::string first = make("a.wav", noisy_speech(16000, 1, 1000));
  const std::string second = make("x/a.wav", noisy_speech(16000, 1, 2000));
  const Outcome outcome = separate({first, second, "-j", "2"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("a-2"));
  EXPECT_EQ(read_wav(stem("a", "speech.wav")).frames(), 1000);
  EXPECT_EQ(read_wav(stem("a-2", "speech.wav")).frames(), 2000);
}

TEST_F(Separate, OneBadFileDoesNotStopTheOthers) {
  make("bad.wav", "this is no audio");
  const std::string good = make("good.wav", noisy_speech(16000, 1, 3000));
  const Outcome outcome = separate({folder_.file("bad.wav"), good});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("bad.wav"));
  EXPECT_EQ(read_wav(stem("good", "speech.wav")).frames(), 3000);
}

TEST_F(Separate, BadInputsAreOneLine) {
  make("empty.wav", "");
  for (const std::string& input :
       {folder_.file("missing.wav"), folder_.file("empty.wav"), folder_.path()}) {
    const Outcome outcome = separate({input});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(input));
  }
  const Outcome model = separate({make("a.wav", noisy_speech(16000, 1, 10)), "-n", "no-such"});
  EXPECT_EQ(model.exit_code, 1);
  EXPECT_EQ(count_lines(model.err), 1) << model.err;
}

TEST_F(Separate, SilenceNaNAndNothing) {
  Audio silence{16000, 1, std::vector<float>(8000)};
  EXPECT_EQ(separate({make("silence.wav", silence)}).exit_code, 0);
  for (const float sample : read_wav(stem("silence", "speech.wav")).samples) {
    ASSERT_NEAR(sample, 0, 1e-3);
  }
  silence.samples[100] = NAN;
  EXPECT_EQ(separate({make("nan.wav", silence), "--float32"}).exit_code, 0);
  for (const float sample : read_wav(stem("nan", "speech.wav")).samples) {
    ASSERT_TRUE(std::isfinite(sample));
  }
  EXPECT_EQ(separate({make("none.wav", Audio{16000, 1, {}})}).exit_code, 0);
  EXPECT_EQ(read_wav(stem("none", "speech.wav")).frames(), 0);
}

TEST_F(Separate, ReadsRawAndWavFromStdin) {
  const Audio input = noisy_speech(16000, 2, 5000);
  const std::string wav = make("in.wav", input);
  EXPECT_EQ(separate({"-", "--float32"}, wav).exit_code, 0);
  const Audio expected = read_wav(stem("stdin", "speech.wav"));
  EXPECT_EQ(expected.frames(), 5000);
  make("in.raw",
       {reinterpret_cast<const char*>(input.samples.data()), input.samples.size() * sizeof(float)});
  const Outcome raw =
      separate({"-", "--raw", "f32le", "--rate", "16000", "--channels", "2", "--float32"},
               folder_.file("in.raw"));
  EXPECT_EQ(raw.exit_code, 0) << raw.err;
  EXPECT_EQ(read_wav(stem("stdin", "speech.wav")).samples, expected.samples);
}

TEST_F(Separate, WritesSpeechToStdout) {
  const Audio input = noisy_speech(16000, 1, 5000);
  const std::string wav = make("in.wav", input);
  const Outcome outcome = run({"separate", "-", "-o", "-"}, wav);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  make("out.wav", outcome.out);
  EXPECT_EQ(read_wav(folder_.file("out.wav")).frames(), 5000);

  make("in.raw",
       {reinterpret_cast<const char*>(input.samples.data()), input.samples.size() * sizeof(float)});
  const Outcome raw =
      run({"separate", "-", "-o", "-", "--raw", "f32le", "--rate", "16000", "--channels", "1"},
          folder_.file("in.raw"));
  EXPECT_EQ(raw.exit_code, 0) << raw.err;
  EXPECT_EQ(raw.out.size(), 5000 * sizeof(float));
}

TEST_F(Separate, StatsTellEverythingAboutEachFile) {
  const Outcome outcome = separate({make("a.wav", noisy_speech(48000, 1, 48000)), "--stats", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto stats = nlohmann::json::parse(outcome.out);
  const auto& file = stats.at("files").at(0);
  EXPECT_EQ(file.at("frames"), 48000);
  EXPECT_GT(file.at("compute").at("count"), 0);
  EXPECT_GT(file.at("algorithmic_latency").at("samples"), 0);
  EXPECT_GT(file.at("rtf"), 0.0);
  EXPECT_TRUE(stats.at("versions").contains("isa"));
}

TEST_F(Separate, KeepsWhatFitsOnAFullDisk) {
  const std::string input = make("a.wav", noisy_speech(16000, 1, 200'000));
  testing::Program program({"separate", input, "-o", folder_.file("out")},
                           {.file_limit_bytes = 100'000});
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 2) << outcome.err;  // a line for each stem
  EXPECT_GT(read_wav(stem("a", "speech.wav")).frames(), 10'000);
}

TEST_F(Separate, WrongUsageIsExitCodeTwoAndOneLine) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"separate"},
      {"separate", "--no-such-flag", "a.wav"},
      {"separate", "a.wav", "--stem", "drums"},
      {"separate", "a.wav", "mic"},
      {"separate", "-", "--raw", "f32le"},
      {"separate", "a.wav", "--flac", "--float32"},
      {"separate", "mic", "--play", "none"},
      {"separate", "a.wav", "-o", "-", "--stats", "-"}};
  for (const auto& arguments : wrong) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  }
}

}  // namespace
}  // namespace runnel::apps
