// `runnel bench`: the reports, not the speed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::run;

const std::string kTinyModel = "tests/goldens/whisper-turbo";

const std::string kHtdemucs = "tests/goldens/htdemucs";

const nlohmann::json& part(const nlohmann::json& report, const std::string& name) {
  for (const auto& part : report.at("parts")) {
    if (part.at("name").get<std::string>().starts_with(name)) return part;
  }
  throw std::runtime_error("no part " + name);
}

TEST(BenchCommand, MeasuresOneStreamInSeveralBlockSizes) {
  const Outcome outcome =
      run({"bench", "gtcrn", "--seconds", "0.5", "--json", "--block-frames", "64", "256"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  ASSERT_EQ(report.at("blocks").size(), 2);
  EXPECT_GT(report.at("blocks").at(0).at("rtf"), 0.0);
  EXPECT_GT(report.at("blocks").at(1).at("steps"), 0);
}

TEST(BenchCommand, RunsLiveStreams) {
  const Outcome outcome = run({"bench", "--streams", "2", "--seconds", "0.5", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report.at("reaction").at("count"), 2 * 31);
  EXPECT_TRUE(report.contains("rss_bytes_per_stream"));
}

TEST(BenchCommand, ComparesInstructionSets) {
  for (const std::vector<std::string>& name : {std::vector<std::string>{}, {"gtcrn"}}) {
    std::vector<std::string> arguments = {"bench"};
    arguments.insert(arguments.end(), name.begin(), name.end());
    arguments.insert(arguments.end(), {"--isa", "all", "--seconds", "0.2", "--json"});
    const Outcome outcome = run(arguments);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto report = nlohmann::json::parse(outcome.out);
    EXPECT_EQ(report.at("isas").size(), report.at("versions").at("supported_isas").size());
  }
}

TEST(BenchCommand, PutsAKernelBesideItsCeilingAndEigen) {
  const Outcome outcome = run({"bench", "ops", "--filter", "tiny decoder out float32 1 row",
                               "--seconds", "0", "--threads", "1", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report.at("threads"), 1);
  EXPECT_GT(report.at("ceilings").at("multiply_adds_gflops"), 0.0);
  EXPECT_GT(report.at("ceilings").at("memory_gbs"), 0.0);
  ASSERT_EQ(report.at("ops").size(), 1);
  const auto& op = report.at("ops").at(0);
  EXPECT_EQ(op.at("bound"), "memory");
  EXPECT_EQ(op.at("bytes"), 384 * 384 * 4);
  EXPECT_GT(op.at("share"), 0.0);
  EXPECT_GT(op.at("eigen").at("median_ms"), 0.0);
  EXPECT_LE(op.at("min_ms"), op.at("median_ms"));
}

TEST(BenchCommand, RunsOneLineOfEachKindOfKernel) {
  std::vector<std::string> arguments = {"bench", "ops", "--seconds", "0", "--json", "--filter"};
  const std::vector<std::string> lines = {"tiny encoder out float32",
                                          "tiny encoder layer norm int8",
                                          "tiny decoder cross-attention float16",
                                          "tiny decoder self-attention float16",
                                          "argmax",
                                          "GELU",
                                          "log-mel of 15 s, 80",
                                          "GTCRN"};
  arguments.insert(arguments.end(), lines.begin(), lines.end());
  const Outcome outcome = run(arguments);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto ops = nlohmann::json::parse(outcome.out).at("ops");
  EXPECT_EQ(ops.size(), lines.size());
  for (const auto& op : ops) EXPECT_GT(op.at("median_ms"), 0.0) << op;
  EXPECT_EQ(run({"bench", "ops", "--filter", "no such kernel"}).exit_code, 2);
}

TEST(BenchCommand, MeasuresAWhisperModelPartByPart) {
  const Outcome outcome =
      run({"bench", "whisper", "--model", kTinyModel, "--tokens", "3", "--rounds", "1", "--threads",
           "2", "--precision", "float32", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report.at("random_weights"), false);
  EXPECT_EQ(report.at("threads"), 2);
  EXPECT_EQ(report.at("decoder_precision"), "float32");
  EXPECT_EQ(part(report, "encoder").at("bound"), "multiply_adds");
  EXPECT_GT(part(report, "cross-attention keys").at("gflop"), 0.0);
  EXPECT_EQ(part(report, "one token").at("rounds"), 3);
  for (const char* name : {"log-mel of 15 s", "log-mel of 30 s", "prefill of 4", "prefill of 224",
                           "one step of 5 hypotheses", "30 s end to end, 3 tokens"}) {
    EXPECT_GT(part(report, name).at("median_ms"), 0.0) << name;
  }
  const auto& memory = report.at("memory");
  EXPECT_GT(memory.at("peak_bytes"), memory.at("weight_bytes"));
  EXPECT_GT(memory.at("session_bytes"), 0);
}

TEST(BenchCommand, MeasuresAMoonshineModelPartByPart) {
  const Outcome outcome = run({"bench", "moonshine", "--model", "tests/fixtures/moonshine",
                               "--rounds", "2", "--precision", "float32", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report.at("random_weights"), false);
  EXPECT_EQ(report.at("encoder_precision"), "float32");
  ASSERT_GE(report.at("runs").size(), 1u);
  const auto& run_1 = report.at("runs").at(0);
  EXPECT_EQ(run_1.at("threads"), 1);
  for (const char* name : {"80 ms of audio", "of which cross-K/V append", "1 s of audio",
                           "last pass of a 2 s line", "of which the draft's batch"}) {
    EXPECT_GT(part(run_1, name).at("median_ms"), 0.0) << name;
    EXPECT_GT(part(run_1, name).at("share"), 0.0) << name;
  }
  // The draft is what decoding the whole line says: all of it is confirmed.
  EXPECT_EQ(run_1.at("draft_confirmed"), run_1.at("draft_tokens"));
  // What the shapes say is what was counted, but for windows at their edges.
  const auto& work = run_1.at("operations");
  const double counted = work.at("encoder_multiply_adds_per_second");
  EXPECT_NEAR(counted / work.at("by_the_shapes").get<double>(), 1, 0.1);
  // 3 layers and 4 new frames: (48 + 4) / 4 of the layers' work, the front end as before.
  const auto& peer = work.at("peer_that_encodes_again_computed").at(0);
  EXPECT_EQ(peer.at("frames_run_per_update"), 52);
  EXPECT_GT(peer.at("times_ours"), 1.0);
  EXPECT_LT(peer.at("times_ours"), 13.0);
  EXPECT_GT(run_1.at("memory").at("stream_bytes"), 0);
}

TEST(BenchCommand, MeasuresAnHtdemucsModelLayerByLayer) {
  const Outcome outcome =
      run({"bench", "htdemucs", "--model", kHtdemucs + "/30918f64-b9e92a00.th", "--rounds", "2",
           "--precision", "float32", "--seconds", "5", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report.at("random_weights"), false);
  EXPECT_EQ(report.at("precision"), "float32");
  EXPECT_EQ(report.at("models"), 1);
  double parts_gflop = 0;
  for (const char* branch : {"spectral", "temporal"}) {
    for (const char* side : {"encoder", "decoder"}) {
      for (int i = 0; i < 4; ++i) {
        const auto& layer =
            part(report, std::string(branch) + " " + side + " " + std::to_string(i));
        EXPECT_GT(layer.at("median_ms"), 0.0) << layer;
        EXPECT_GT(layer.at("share"), 0.0) << layer;
        EXPECT_EQ(layer.at("bound"), "multiply_adds");
        parts_gflop += layer.at("gflop").get<double>();
      }
    }
  }
  EXPECT_GT(part(report, "analysis").at("median_ms"), 0.0);
  EXPECT_GT(part(report, "synthesis").at("median_ms"), 0.0);
  parts_gflop += part(report, "transformer").at("gflop").get<double>();
  const auto& segment = part(report, "one segment");
  EXPECT_EQ(segment.at("rounds"), 2);
  EXPECT_NEAR(parts_gflop / segment.at("gflop").get<double>(), 1, 1e-6);
  // Segments of 3 s, one every 2.25 s.
  const auto& track = report.at("track");
  EXPECT_EQ(track.at("seconds"), 5);
  EXPECT_EQ(track.at("segments"), 3);
  EXPECT_NEAR(track.at("rtf").get<double>(), 1e-3 * track.at("ms").get<double>() / 5, 1e-9);
  const auto& memory = report.at("memory");
  EXPECT_GT(memory.at("peak_bytes"), memory.at("scratch_bytes"));
  EXPECT_GE(memory.at("track_peak_bytes"), memory.at("peak_bytes"));
  EXPECT_GT(memory.at("weight_bytes"), 0);
}

TEST(BenchCommand, MeasuresABagOfHtdemucsModelsAndNoTrack) {
  const std::vector<std::string> arguments = {"bench",     "htdemucs", "--model",   kHtdemucs,
                                              "--rounds",  "1",        "--seconds", "0",
                                              "--threads", "1"};
  const Outcome text = run(arguments);
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("one segment"));
  EXPECT_THAT(text.out, Not(HasSubstr("track")));
  EXPECT_THAT(text.out, Not(HasSubstr("RANDOM WEIGHTS")));
  EXPECT_THAT(text.out, Not(HasSubstr("nan")));
}

TEST(BenchCommand, SaysThatWeightsAreRandom) {
  const char* isa = std::getenv("RUNNEL_ISA");
  if (isa && std::string(isa) == "generic") GTEST_SKIP() << "too slow in plain C++";
  const Outcome outcome = run(
      {"bench", "whisper", "--random-weights", "whisper-tiny", "--tokens", "2", "--rounds", "1"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("RANDOM WEIGHTS"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("nan")));
}

TEST(BenchCommand, AWrongCommandLineIsOneLineThatSaysWhatIsMissing) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"bench", "whisper"},
        {"bench", "moonshine", "--model", "a", "--random-weights", "tiny"},
        {"bench", "--seconds", "1", "live", "a.wav"},
        {"bench", "whisper", "--model", "a", "--random-weights", "tiny"},
        {"bench", "--seconds", "1", "ops"},
        {"bench", "ops", "--streams", "2"},
        {"bench", "htdemucs", "--model", "a", "--random-weights", "htdemucs"},
        {"bench", "htdemucs", "--random-weights", "mdx"},
        {"bench", "htdemucs", "--precision", "int8"},
        {"bench", "nothing"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.out;
    EXPECT_EQ(testing::count_lines(outcome.err), 1) << outcome.err;
  }
}

TEST(BenchCommand, TheBashCompletionKnowsWhatCanBeMeasured) {
  const testing::TempFolder folder;
  std::ofstream(folder.file("c")) << run({"completion", "bash"}).out;
  const auto first = [&](const std::string& words, int at) {
    const std::string script = ". " + folder.file("c") + "; COMP_WORDS=(runnel " + words +
                               ") COMP_CWORD=" + std::to_string(at) +
                               "; _runnel; echo \"${COMPREPLY[0]}\"";
    EXPECT_EQ(std::system(("bash -c '" + script + "' > " + folder.file("reply")).c_str()), 0);
    return testing::read_text(folder.file("reply"));
  };
  EXPECT_EQ(first("bench wh", 2), "whisper\n");
  EXPECT_EQ(first("bench ops --fil", 3), "--filter\n");
  EXPECT_EQ(first("bench whisper --rand", 3), "--random-weights\n");
  EXPECT_EQ(first("bench --str", 2), "--streams\n");
  EXPECT_EQ(first("bench li", 2), "live\n");
  EXPECT_EQ(first("bench live --acc", 3), "--accelerated\n");
  EXPECT_EQ(first("bench moonshine --rand", 3), "--random-weights\n");
  EXPECT_EQ(first("bench ht", 2), "htdemucs\n");
  EXPECT_EQ(first("bench htdemucs --sec", 3), "--seconds\n");
  EXPECT_EQ(first("ben", 1), "bench\n");
}

}  // namespace
}  // namespace runnel::apps
