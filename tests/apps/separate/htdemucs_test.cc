// `runnel separate -n htdemucs` on files and pipes, with a small model of random weights.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
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
using testing::TempFolder;
using testing::write_wav;

constexpr const char* kFolder = "tests/goldens/htdemucs";
constexpr const char* kPackage = "tests/goldens/htdemucs/30918f64-b9e92a00.th";
constexpr const char* kBag = "tests/goldens/htdemucs/htdemucs_golden.yaml";
constexpr const char* kStems[] = {"drums", "bass", "other", "vocals"};
constexpr int kRateHz = 44'100;

double worst_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double(a[i]) - b[i]));
  return worst;
}

class SeparateHtdemucs : public testing::FolderTest {
 protected:
  std::vector<std::string> words(std::vector<std::string> arguments,
                                 const std::string& out = "out") const {
    arguments.insert(arguments.begin(), {"separate", "-n", kFolder, "-o", folder_.file(out)});
    return arguments;
  }
  Outcome separate(const std::vector<std::string>& arguments,
                   const std::string& out = "out") const {
    return run(words(arguments, out));
  }
  std::string stem(const std::string& track, const std::string& name,
                   const std::string& out = "out") const {
    return folder_.file(out + "/htdemucs/" + track + "/" + name);
  }
};

TEST_F(SeparateHtdemucs, KeepsRateChannelsAndLength) {
  for (const int channels : {1, 2}) {
    for (const int rate_hz : {44'100, 48'000, 8'000}) {
      const Audio input = noisy_speech(rate_hz, channels, rate_hz + 321);
      const Outcome outcome = separate({make("song.wav", input)});
      ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
      EXPECT_EQ(outcome.err, "");
      EXPECT_THAT(outcome.out, HasSubstr("song/{drums,bass,other,vocals}.wav"));
      for (const char* name : kStems) {
        const Audio audio = read_wav(stem("song", name + std::string(".wav")));
        EXPECT_EQ(audio.rate_hz, rate_hz);
        EXPECT_EQ(audio.channels, channels);
        EXPECT_EQ(audio.frames(), input.frames());
      }
    }
  }
}

TEST_F(SeparateHtdemucs, EveryFormOfTheCheckpointGivesTheSame) {
  const std::string song = make("song.wav", noisy_speech(kRateHz, 2, 2 * kRateHz));
  const std::string safetensors = std::string(kFolder) + "/model.safetensors";
  std::vector<float> expected;
  for (const std::string& model :
       {std::string(kFolder), std::string(kPackage), std::string(kBag), safetensors}) {
    const Outcome outcome =
        run({"separate", song, "-n", model, "--float32", "--stem", "vocals", "--precision",
             "float32", "-o", folder_.file("out"), "--filename", "vocals.wav"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const std::string name = fs::path(model).stem().string();
    const Audio audio = read_wav(folder_.file("out/" + name + "/vocals.wav"));
    if (expected.empty()) expected = audio.samples;
    EXPECT_LT(worst_difference(audio.samples, expected), 1e-6) << model;
  }
}

TEST_F(SeparateHtdemucs, TwoStemsAddUpInAnyWay) {
  const Audio input = noisy_speech(kRateHz, 2, 4 * kRateHz);
  const std::string song = make("song.wav", input);
  const std::vector<std::string> exact = {song,   "--float32",   "--clip-mode",
                                          "none", "--precision", "float32"};
  const auto with = [&](std::initializer_list<std::string> more) {
    auto all = exact;
    all.insert(all.end(), more);
    return all;
  };
  ASSERT_EQ(separate(exact, "all").exit_code, 0);
  ASSERT_EQ(separate(with({"--two-stems", "vocals"}), "add").exit_code, 0);
  ASSERT_EQ(separate(with({"--two-stems", "vocals", "--other-method", "minus"}), "minus").exit_code,
            0);
  ASSERT_EQ(separate(with({"--two-stems", "vocals", "--other-method", "none"}), "none").exit_code,
            0);
  std::vector<float> others(input.samples.size());
  for (const char* name : {"drums.wav", "bass.wav", "other.wav"}) {
    const Audio audio = read_wav(stem("song", name, "all"));
    for (std::size_t i = 0; i < others.size(); ++i) others[i] += audio.samples[i];
  }
  const std::vector<float> vocals = read_wav(stem("song", "vocals.wav", "all")).samples;
  for (const char* way : {"add", "minus", "none"}) {
    EXPECT_LT(worst_difference(read_wav(stem("song", "vocals.wav", way)).samples, vocals), 1e-5);
  }
  EXPECT_LT(worst_difference(read_wav(stem("song", "no_vocals.wav", "add")).samples, others), 1e-5);
  std::vector<float> rest = input.samples;
  for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= vocals[i];
  EXPECT_LT(worst_difference(read_wav(stem("song", "minus_vocals.wav", "minus")).samples, rest),
            1e-5);
  EXPECT_FALSE(fs::exists(stem("song", "no_vocals.wav", "none")));
  EXPECT_FALSE(fs::exists(stem("song", "drums.wav", "add")));
}

TEST_F(SeparateHtdemucs, WritesTheStemsAndFormatsThatWereAskedFor) {
  const std::string song = make("song.wav", noisy_speech(kRateHz, 2, kRateHz));
  ASSERT_EQ(separate({song, "--stems", "vocals,bass", "--mp3", "--mp3-bitrate", "128"}).exit_code,
            0);
  EXPECT_EQ(read_wav(stem("song", "bass.mp3")).frames(), kRateHz);
  EXPECT_TRUE(fs::exists(stem("song", "vocals.mp3")));
  EXPECT_FALSE(fs::exists(stem("song", "drums.mp3")));
  ASSERT_EQ(separate({song, "--stem", "drums", "--flac", "--int24"}).exit_code, 0);
  EXPECT_EQ(read_wav(stem("song", "drums.flac")).frames(), kRateHz);
}

TEST_F(SeparateHtdemucs, RescalesLoudStemsByDefault) {
  Audio input = noisy_speech(kRateHz, 2, 2 * kRateHz);
  for (float& sample : input.samples) sample *= 40;
  const std::string song = make("song.wav", input);
  ASSERT_EQ(separate({song, "--float32", "--clip-mode", "none", "--precision", "float32"}, "none")
                .exit_code,
            0);
  ASSERT_EQ(separate({song, "--int24", "--precision", "float32"}).exit_code, 0);
  int loud = 0;
  for (const char* name : kStems) {
    const std::string file = name + std::string(".wav");
    const std::vector<float> exact = read_wav(stem("song", file, "none")).samples;
    const std::vector<float> scaled = read_wav(stem("song", file)).samples;
    ASSERT_EQ(exact.size(), scaled.size());
    float peak = 0;
    for (const float sample : exact) peak = std::max(peak, std::abs(sample));
    loud += peak > 1 ? 1 : 0;
    const double divisor = std::max(1.01 * peak, 1.0);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      ASSERT_NEAR(scaled[i], exact[i] / divisor, 1e-5) << name;
    }
  }
  EXPECT_GT(loud, 0) << "nothing was rescaled";
}

TEST_F(SeparateHtdemucs, ShiftsAreSeededAndOverlapAndSegmentsCount) {
  const std::string song = make("song.wav", noisy_speech(kRateHz, 2, 5 * kRateHz));
  const auto vocals = [&](std::initializer_list<std::string> more, const std::string& out) {
    std::vector<std::string> arguments = {song,        "--stem",      "vocals",
                                          "--float32", "--precision", "float32"};
    arguments.insert(arguments.end(), more);
    const Outcome outcome = separate(arguments, out);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return read_wav(stem("song", "vocals.wav", out)).samples;
  };
  const auto plain = vocals({}, "a");
  EXPECT_EQ(worst_difference(vocals({}, "b"), plain), 0) << "nothing is random";
  const auto shifted = vocals({"--shifts", "2", "--seed", "5"}, "c");
  EXPECT_EQ(worst_difference(vocals({"--shifts", "2", "--seed", "5"}, "d"), shifted), 0);
  EXPECT_GT(worst_difference(vocals({"--shifts", "2", "--seed", "6"}, "e"), shifted), 0);
  EXPECT_GT(worst_difference(shifted, plain), 0);
  EXPECT_GT(worst_difference(vocals({"--overlap", "0.5"}, "f"), plain), 0);
  EXPECT_GT(worst_difference(vocals({"--segment", "1.5"}, "g"), plain), 0);
  EXPECT_GT(worst_difference(vocals({"--normalize", "running"}, "h"), plain), 0);
  // Threads share the work of a segment in another order of sums at most.
  EXPECT_LT(worst_difference(vocals({"-j", "1"}, "i"), vocals({"-t", "2"}, "j")), 1e-4);
}

TEST_F(SeparateHtdemucs, APipeHasRunningLevelsAndSaysSo) {
  const std::string song = make("song.wav", noisy_speech(kRateHz, 2, kRateHz));
  const Outcome outcome = run({"separate", "-", "-n", kFolder, "-o", "-", "--stem", "bass"}, song);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("cannot be read twice"));
  make("bass.wav", outcome.out);
  EXPECT_EQ(read_wav(folder_.file("bass.wav")).frames(), kRateHz);
  const Outcome quiet = run(
      {"separate", "-", "-n", kFolder, "-o", folder_.file("out"), "--normalize", "running"}, song);
  EXPECT_EQ(quiet.exit_code, 0);
  EXPECT_EQ(quiet.err, "");
}

TEST_F(SeparateHtdemucs, OneBadFileDoesNotStopTheOthers) {
  make("bad.wav", "this is no audio");
  const std::string good = make("good.wav", noisy_speech(kRateHz, 2, 3000));
  const std::string none = make("none.wav", Audio{kRateHz, 2, {}});
  const Outcome outcome =
      separate({folder_.file("bad.wav"), good, none, "--stats", folder_.file("stats")});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_EQ(read_wav(stem("good", "vocals.wav")).frames(), 3000);
  EXPECT_EQ(read_wav(stem("none", "vocals.wav")).frames(), 0);
  const auto stats = nlohmann::json::parse(testing::read_text(folder_.file("stats")));
  EXPECT_EQ(stats.at("files").size(), 3U);
  EXPECT_EQ(stats.at("files").at(1).at("written_frames"), 3000);
  EXPECT_EQ(stats.at("files").at(1).at("whole_track_levels"), true);
  EXPECT_EQ(stats.at("random_weights"), false);
  EXPECT_GT(stats.at("run").at("segment_seconds"), 2.9);
  EXPECT_GT(stats.at("peak_resident_bytes"), 0);
}

TEST_F(SeparateHtdemucs, CtrlCLeavesValidFilesOfOneLength) {
  const int seconds = 400;
  const std::string song = make("song.wav", noisy_speech(8000, 2, 8000 * seconds));
  testing::Program program(words({song}));
  program.wait_until([&] { return testing::size_of(stem("song", "drums.wav")) >= 1000; });
  program.signal(SIGINT);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("interrupted"));
  const std::int64_t frames = read_wav(stem("song", "drums.wav")).frames();
  EXPECT_GT(frames, 0);
  EXPECT_LT(frames, 8000 * seconds);
  for (const char* name : kStems) {
    EXPECT_EQ(read_wav(stem("song", name + std::string(".wav"))).frames(), frames);
  }
}

TEST_F(SeparateHtdemucs, KeepsWhatFitsOnAFullDisk) {
  const std::string song = make("song.wav", noisy_speech(kRateHz, 2, 20 * kRateHz));
  testing::Program program(words({song}), {.file_limit_bytes = 1'000'000});
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), std::size(kStems)) << outcome.err;  // each is told
  EXPECT_THAT(outcome.err, HasSubstr("cannot be written further"));
  for (const char* name : kStems) {
    EXPECT_GT(read_wav(stem("song", name + std::string(".wav"))).frames(), kRateHz) << name;
  }
}

TEST_F(SeparateHtdemucs, WrongUsageIsExitCodeTwoAndOneLine) {
  const std::string song = make("song.wav", noisy_speech(kRateHz, 2, 1000));
  const std::vector<std::vector<std::string>> wrong = {
      {song, "--stem", "speech"},
      {song, "--two-stems", "guitar"},
      {song, "--other-method", "minus"},
      {song, "--segment", "60"},
      {song, "--segment", "0.01"},
      {song, "--segment", "0"},
      {song, "--mix", "0.5"},
      {song, "--attenuation-limit", "3", "--channels-mode", "mid"},
      {song, "--live-hop", "1"},
      {song, "--precision", "int8"},
      {song, "--mp3", "--float32"},
      {song, "--mp3-bitrate", "128"},
      {song, "--realtime", "--shifts", "1"},
      {song, "--realtime", "--live-context", "0.5", "--live-hop", "1"},
      {song, "--realtime", "--live-hop", "2", "--live-lookahead", "2"},
      {"-", "--normalize", "track"},
      {"mic", "--play", "speech"}};
  for (const auto& arguments : wrong) {
    const Outcome outcome = separate(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments[1] << ": " << outcome.err;
    EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
    EXPECT_LT(outcome.err.size(), 200U) << outcome.err;
  }
  const Outcome many = run({"separate", song, "-n", kFolder, "-o", "-"});
  EXPECT_EQ(many.exit_code, 2);
  EXPECT_THAT(many.err, HasSubstr("--stem"));
}

TEST_F(SeparateHtdemucs, LiveSaysWhatItCostsAndLosesNothing) {
  const Audio input = noisy_speech(48'000, 2, 96'000);
  const std::string song = make("song.wav", input);
  const Outcome outcome = separate({song, "--realtime", "--live-hop", "0.25", "--live-lookahead",
                                    "0.1", "--stats", folder_.file("stats")});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("algorithmic delay 0.3"));
  EXPECT_THAT(outcome.out, HasSubstr("a model run"));
  const auto stats = nlohmann::json::parse(testing::read_text(folder_.file("stats")));
  EXPECT_EQ(stats.at("counters").at("dropped_frames"), 0);
  EXPECT_EQ(stats.at("counters").at("written_frames"), 96'000);
  EXPECT_GE(stats.at("stages").at("compute").at("count"), 1);  // a busy machine takes more at once
  EXPECT_GE(stats.at("algorithmic_latency").at("ms"), 349);
  EXPECT_GE(stats.at("end_to_end").at("p50_ms"), 349);
  for (const char* name : kStems) {
    EXPECT_EQ(read_wav(stem("song", name + std::string(".wav"))).frames(), 96'000);
  }
}

TEST(SeparateModels, AModelThatIsNotHereSaysHowToGetIt) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(kRateHz, 2, 100));
  setenv("RUNNEL_MODELS", folder.file("models").c_str(), 1);
  for (const std::string name : {"htdemucs", "htdemucs_ft", "htdemucs_6s"}) {
    const Outcome outcome = run({"separate", folder.file("a.wav"), "-n", name});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("runnel models pull " + name + "\n"));
  }
  unsetenv("RUNNEL_MODELS");
}

// Both architectures have .th packages: what is inside tells them apart.
TEST(SeparateModels, APackageOfGtcrnIsNotDemucs) {
  const std::string package = "tests/goldens/gtcrn-runnel/gtcrn.tar";
  const TempFolder folder;
  fs::copy_file(package, folder.file("model.th"));
  write_wav(folder.file("a.wav"), noisy_speech(16'000, 1, 1000));
  const Outcome outcome = run(
      {"separate", folder.file("a.wav"), "-n", folder.file("model.th"), "-o", folder.file("out")});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(read_wav(folder.file("out/model/a/speech.wav")).frames(), 1000);
}

TEST(SeparateModels, ACheckpointThatIsNoneIsOneLine) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(16'000, 1, 1000));
  std::ofstream(folder.file("bad.yaml")) << "models: ['12345678']\n";
  std::ofstream(folder.file("bad.th")) << "cdemucs.htdemucs\nHTDemucs\n";
  std::ofstream(folder.file("bad.safetensors")) << "nothing";
  std::ofstream(folder.file("text.th")) << "nothing";
  ASSERT_EQ(mkfifo(folder.file("pipe.th").c_str(), 0600), 0);  // nobody writes
  for (const char* name :
       {"bad.yaml", "bad.th", "bad.safetensors", "none.th", "text.th", "pipe.th"}) {
    const Outcome outcome = run({"separate", folder.file("a.wav"), "-n", folder.file(name)});
    EXPECT_EQ(outcome.exit_code, 1) << name;
    EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(folder.path()));
  }
}

TEST(SeparateModels, GtcrnRefusesWhatOnlyHtdemucsHeeds) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(16'000, 1, 100));
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{"--shifts", "1"},
        {"--segment", "2"},
        {"--precision", "float32"},
        {"--realtime", "--live-hop", "0.5"},
        {"--two-stems", "speech", "--other-method", "minus"}}) {
    std::vector<std::string> words = {"separate", folder.file("a.wav"), "-o", folder.file("out")};
    words.insert(words.end(), flags.begin(), flags.end());
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 2) << flags[0];
    EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("not heeded by GTCRN"));
  }
}

// The real shape, so it takes a while: half a second of segment.
TEST(SeparateModels, RandomWeightsAreCalledRandom) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(kRateHz, 2, 10'000));
  const Outcome outcome =
      run({"separate", folder.file("a.wav"), "--random-weights", "htdemucs", "--segment", "0.5",
           "-o", folder.file("out"), "--stats", folder.file("stats")});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("random weights of htdemucs"));
  EXPECT_EQ(count_lines(outcome.err), 1);
  EXPECT_THAT(outcome.out, HasSubstr("htdemucs-random/a/{drums,bass,other,vocals}.wav"));
  const auto stats = nlohmann::json::parse(testing::read_text(folder.file("stats")));
  EXPECT_EQ(stats.at("random_weights"), true);
  EXPECT_EQ(run({"separate", folder.file("a.wav"), "--random-weights", "no-such"}).exit_code, 2);
}

}  // namespace
}  // namespace runnel::apps
