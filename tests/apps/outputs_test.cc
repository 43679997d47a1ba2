// No output replaces what it must not; odd inputs and names don't end a batch.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/output_check.h"
#include "apps/report.h"
#include "apps/text.h"
#include "rt/wav_header.h"
#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
using testing::count_lines;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::noisy_speech;
using ::testing::Not;
using testing::Outcome;
using testing::read_text;
using testing::run;
using ::testing::StartsWith;
using testing::write_wav;

class Outputs : public testing::FolderTest {
 protected:
  std::string recording(const std::string& name, int rate_hz = 16'000) const {
    return make(name, noisy_speech(rate_hz, 1, rate_hz / 2));
  }
  std::string error_of(const std::vector<std::string>& inputs, const std::string& output,
                       OutputKind kind, bool force = false) const {
    try {
      OutputCheck(inputs, force).add(output, kind);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return {};
  }
  /// What an earlier run left for an input of that name.
  std::string older_stem(const std::string& track) const {
    const std::string path = file("out/gtcrn-runnel/" + track + "/speech.wav");
    fs::create_directories(fs::path(path).parent_path());
    write_wav(path, noisy_speech(8000, 2, 100));
    return path;
  }
  /// Every command that takes an output refuses this one, and leaves it as it was.
  void expect_refused(const std::string& output, const std::string& input, const char* why,
                      const std::vector<std::string>& more = {}) const {
    const std::string before = read_text(output);
    std::vector<std::vector<std::string>> commands = {
        {"separate", input, "-o", file("out"), "--stats", output},
        {"transcribe", input, "--stats", output},
        {"bench", "live", input, "--accelerated", "--json", output},
        {"bench", "live", input, "--accelerated", "--html", output}};
    for (auto& command : commands) {
      command.insert(command.end(), more.begin(), more.end());
      const Outcome outcome = run(command);
      EXPECT_EQ(outcome.exit_code, 1) << command[0];
      EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
      EXPECT_THAT(outcome.err, HasSubstr(output + ": "));
      EXPECT_THAT(outcome.err, HasSubstr(why));
      EXPECT_TRUE(read_text(output) == before) << command[0] << " " << command[4];
    }
    EXPECT_FALSE(fs::exists(file("out"))) << "there was work before the refusal";
  }
};

TEST_F(Outputs, AReportNeverReplacesARecording) {
  const std::string input = recording("say.wav"), victim = recording("victim.wav");
  expect_refused(victim, input, "--force");
  const Outcome page = run({"latency", "--pipeline", "--html", victim});
  EXPECT_EQ(page.exit_code, 1);
  EXPECT_THAT(page.err, HasSubstr("--force"));
}

TEST_F(Outputs, AnInputIsNeverReplacedUnderWhateverName) {
  const std::string input = recording("say.wav");
  fs::create_symlink("say.wav", file("link.json"));
  fs::create_hard_link(input, file("hard.json"));
  for (const std::string& name : {input, file("./say.wav"), file("link.json"), file("hard.json")}) {
    expect_refused(name, input, "is an input", {"--force"});
  }
}

TEST_F(Outputs, NoFileOfAModelIsReplaced) {
  const std::string input = recording("say.wav");
  for (const char* model : {"tests/goldens/htdemucs", "tests/fixtures/whisper"}) {
    fs::copy(model, file(fs::path(model).filename()));
  }
  const std::string whisper = file("whisper/config.json");
  const std::string demucs = file("htdemucs/config.json");
  const std::vector<std::vector<std::string>> commands = {
      {"transcribe", input, "-m", file("whisper"), "--stats", whisper},
      {"transcribe", input, "-m", file("whisper/model.safetensors"), "--stats", whisper},
      {"transcribe", input, "-m", "whisper", "--model-dir", folder_.path(), "--stats", whisper},
      {"bench", "live", input, "-m", file("whisper"), "--accelerated", "--json", whisper},
      {"separate", input, "-n", file("htdemucs"), "-o", file("out"), "--stats", demucs}};
  for (const auto& command : commands) {
    const std::string before = read_text(command.back());
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.exit_code, 1) << command[0];
    EXPECT_THAT(outcome.err, HasSubstr(command.back() + ": is an input"));
    EXPECT_EQ(read_text(command.back()), before);
  }
}

TEST_F(Outputs, AnInputOnStandardInputIsNeverReplaced) {
  const std::string input = recording("say.wav");
  const std::string before = read_text(input);
  for (const char* name : {"-", "/dev/stdin"}) {
    for (const char* command : {"separate", "transcribe"}) {
      const Outcome outcome = run({command, name, "--stats", input, "--force"}, input);
      EXPECT_EQ(outcome.exit_code, 1);
      EXPECT_EQ(outcome.err, "runnel: " + input + ": is an input, so it is not overwritten\n");
      EXPECT_EQ(read_text(input), before);
    }
  }
}

TEST_F(Outputs, TranscriptsAndStemsAreOutputsToo) {
  const std::string input = file("say.json"), other = recording("b.wav");
  fs::copy_file(other, input);
  const std::string before = read_text(input);
  EXPECT_EQ(
      run({"transcribe", other, "--stats", file("s.json"), "-o", folder_.path(), "--force", input})
          .exit_code,
      1);
  fs::create_directories(file("gtcrn-runnel/b"));
  fs::create_hard_link(input, file("gtcrn-runnel/b/speech.wav"));
  const Outcome stems = run({"separate", input, other, "-o", folder_.path(), "--force"});
  EXPECT_EQ(stems.exit_code, 1);
  EXPECT_THAT(stems.err, HasSubstr("is an input"));
  EXPECT_EQ(read_text(input), before);
}

TEST_F(Outputs, TwoOutputsNeverMeetInOneFile) {
  const std::string input = recording("say.wav");
  fs::create_symlink("speech.json", file("link"));
  OutputCheck outputs({input}, false);
  outputs.add(file("speech.json"), OutputKind::kJson);
  for (const std::string& name : {file("speech.json"), file("./speech.json"), file("link")}) {
    EXPECT_THROW(outputs.add(name, OutputKind::kJson), std::runtime_error) << name;
  }
  outputs.add(file("new/folder/a.json"), OutputKind::kJson);
  outputs.add(file("new/folder/b.json"), OutputKind::kJson);
  EXPECT_THROW(outputs.add(file("new/./folder/a.json"), OutputKind::kJson), std::runtime_error);
  outputs.add("-", OutputKind::kJson);
  outputs.add("/dev/null", OutputKind::kJson);
  outputs.add("/dev/null", OutputKind::kJson);
}

TEST_F(Outputs, OlderOutputsAreReplacedAndStrangersOnlyWithForce) {
  const std::string audio = read_text(recording("a.wav"));
  struct Case {
    OutputKind kind;
    std::string ours;
    std::string stranger;
  };
  const std::vector<Case> cases = {
      {OutputKind::kAudio, audio, "To do: buy milk\n"},
      {OutputKind::kAudio, "fLaC\0\0\0\x22", "{}"},
      {OutputKind::kAudio, "\xFF\xFB\x90\x64", std::string("\x89PNG\r\n\x1A\n", 8)},
      {OutputKind::kHtml, "<!doctype html><html>", "{\"a\": 1}"},
      {OutputKind::kJson, "{\n  \"versions\": 1", "To do: buy milk\n"},
      {OutputKind::kJson, "{\"event\": \"begin\"}\n", std::string("PK\x03\x04\0\0", 6)},
      {OutputKind::kSrt, "1\n00:00:00,000 --> 00:00:01,000\nHello.\n", "1\n2\n3\n"},
      {OutputKind::kVtt, "WEBVTT\n\n", "1\n00:00:00,000 --> 00:00:01,000\n"},
      {OutputKind::kTsv, "start\tend\ttext\n0\t100\tHello.\n", "name\ttext\n"},
      {OutputKind::kLrc, "[00:01.00]Hello.\n", "Hello.\n"},
      {OutputKind::kText, "Grüße.\n", audio},
  };
  for (const auto& [kind, ours, stranger] : cases) {
    const std::string path = file("output");
    EXPECT_EQ(error_of({}, make("output", ours), kind), "") << ours;
    EXPECT_EQ(error_of({}, make("output", ""), kind), "");
    make("output", stranger);
    EXPECT_THAT(error_of({}, path, kind), StartsWith(path + ": expected nothing, or an older"));
    EXPECT_EQ(error_of({}, path, kind, true), "") << stranger;
  }
}

TEST_F(Outputs, WhatTheFormatRefusesTruncatesNothing) {
  const std::string input = recording("hi.wav", 96'000);
  const std::string older = file("out/gtcrn-runnel/hi/speech.mp3");
  fs::create_directories(fs::path(older).parent_path());
  fs::copy_file(recording("older.wav"), older);
  const std::string before = read_text(older);
  const Outcome outcome = run({"separate", input, "-o", file("out"), "--mp3", "--force"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("MP3 does not take 1 channels at 96000 Hz"));
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_EQ(read_text(older), before);
  const auto files = std::distance(fs::directory_iterator(file("out/gtcrn-runnel/hi")), {});
  EXPECT_EQ(files, 1) << "something was left behind";
}

TEST_F(Outputs, AFullDiskKeepsWhatFittedUnderItsName) {
  write_wav(file("long.wav"), noisy_speech(16'000, 1, 200'000));
  const std::string speech = older_stem("long");
  testing::Program program({"separate", file("long.wav"), "-o", file("out")},
                           {.file_limit_bytes = 100'000});
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("of audio, which can be read: File too large"));
  EXPECT_GT(testing::read_wav(speech).frames(), 10'000);
  EXPECT_EQ(std::distance(fs::directory_iterator(fs::path(speech).parent_path()), {}), 2);
}

TEST_F(Outputs, CtrlCKeepsWhatWasMadeUnderItsName) {
  const std::string bytes = read_text(recording("say.wav"));
  ASSERT_EQ(mkfifo(file("fifo").c_str(), 0600), 0);
  const std::string speech = older_stem("fifo"), older = read_text(speech);
  testing::Program program({"separate", file("fifo"), "-o", file("out")});
  const int writer = open(file("fifo").c_str(), O_WRONLY);
  ASSERT_EQ(::write(writer, bytes.data(), bytes.size() - 1000), ssize_t(bytes.size() - 1000));
  const auto beside = fs::path(speech).parent_path() / "speech.part.wav";
  program.wait_until([&] { return fs::exists(beside); });
  EXPECT_EQ(read_text(speech), older);
  program.signal(SIGINT);
  const Outcome outcome = program.wait();
  close(writer);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(read_text(speech), older);
  EXPECT_GE(testing::read_wav(speech).frames(), 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(beside.parent_path()), {}), 2);
}

TEST_F(Outputs, AReportOnAFullDiskLeavesTheOlderOneAndNothingElse) {
  const std::string input = recording("say.wav");
  const std::string older = make("s.json", "{\"older\": true}\n");
  testing::Program program({"transcribe", input, "--stats", older}, {.file_limit_bytes = 300});
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("statistics cannot be written: File too large"));
  EXPECT_EQ(read_text(older), "{\"older\": true}\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 2);
}

TEST_F(Outputs, OneOddPathDoesNotEndABatch) {
  const std::string input = recording("say.wav");
  fs::create_symlink("loop-b", file("loop-a"));
  fs::create_symlink("loop-a", file("loop-b"));
  const std::vector<std::string> odd = {file("loop-a"), file(std::string(300, 'y') + ".wav"),
                                        file("say.wav/inside.wav"), file("missing.wav"),
                                        folder_.path()};
  std::vector<std::string> inputs = odd;
  inputs.push_back(input);
  for (const char* command : {"separate", "transcribe"}) {
    std::vector<std::string> arguments = {command, "-o", file(command)};
    if (arguments[0] == "transcribe") arguments.insert(arguments.end(), {"-f", "txt"});
    arguments.insert(arguments.end(), inputs.begin(), inputs.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.err, Not(HasSubstr("filesystem error")));
    for (const std::string& path : odd)
      EXPECT_THAT(outcome.err, HasSubstr("runnel: " + path + ": "));
    EXPECT_EQ(count_lines(outcome.err), int(odd.size())) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("0.50 s of audio"));
  }
}

TEST_F(Outputs, OddPathsOfModelsAreOneLine) {
  const std::string input = recording("say.wav");
  fs::create_symlink("loop-b", file("loop-a"));
  fs::create_symlink("loop-a", file("loop-b"));
  for (const std::string& odd : {file("loop-a"), file(std::string(300, 'y')), file("say.wav/in")}) {
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"separate", input, "-n", odd},
          std::vector<std::string>{"transcribe", input, "-m", odd},
          std::vector<std::string>{"transcribe", input, "--vad-model", odd}}) {
      const Outcome outcome = run(command);
      EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
      EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
      EXPECT_THAT(outcome.err, Not(HasSubstr("filesystem error")));
    }
  }
}

TEST_F(Outputs, ANamedPipeIsAnInput) {
  const std::string input = recording("say.wav"), fifo = file("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const std::string plain = file("plain"), piped = file("piped");
  ASSERT_EQ(run({"separate", input, "-o", plain}).exit_code, 0);
  testing::Program program({"separate", fifo, "-o", piped});
  {
    const std::string bytes = read_text(input);
    const int writer = open(fifo.c_str(), O_WRONLY);
    ASSERT_EQ(::write(writer, bytes.data(), bytes.size()), ssize_t(bytes.size()));
    close(writer);
  }
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(read_text(piped + "/gtcrn-runnel/fifo/speech.wav"),
            read_text(plain + "/gtcrn-runnel/say/speech.wav"));
}

TEST_F(Outputs, DevStdinOfAPipeIsAnInput) {
  const std::string line = "cat " + recording("say.wav") + " | " + RUNNEL_PROGRAM +
                           " separate /dev/stdin -o " + file("out") + " > /dev/null";
  EXPECT_EQ(std::system(line.c_str()), 0);
  EXPECT_EQ(testing::read_wav(file("out/gtcrn-runnel/stdin/speech.wav")).frames(), 8000);
}

TEST_F(Outputs, NamesThatAreNotUtf8StillMakeJson) {
  const std::string input = recording("caf\xE9.wav");
  const std::string stats = file("s.json");
  ASSERT_EQ(run({"separate", input, "-o", file("out"), "--stats", stats}).exit_code, 0);
  const auto separated = nlohmann::json::parse(read_text(stats));
  EXPECT_THAT(separated["files"][0]["input"].get<std::string>(), HasSubstr("caf\xEF\xBF\xBD.wav"));
  ASSERT_EQ(run({"separate", input, "-o", file("out"), "--realtime", "--stats", stats}).exit_code,
            0);
  EXPECT_TRUE(nlohmann::json::accept(read_text(stats)));
  ASSERT_EQ(run({"transcribe", input, "-o", file("text"), "--stats", stats}).exit_code, 0);
  EXPECT_TRUE(nlohmann::json::accept(read_text(stats)));
  EXPECT_TRUE(nlohmann::json::accept(read_text(file("text/caf\xE9.json"))));
  ASSERT_EQ(
      run({"bench", "live", input, "--accelerated", "--json", stats, "--html", file("p.html")})
          .exit_code,
      0);
  EXPECT_TRUE(nlohmann::json::accept(read_text(stats)));
  const std::string page = read_text(file("p.html"));
  EXPECT_EQ(valid_utf8(page), page);
}

TEST_F(Outputs, ControlsInNamesStayOffTheTerminal) {
  const std::string input = recording("a\x1b[31m\nb\x07.wav");
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"separate", input, file("x\x1b[31m.wav"), "-o", file("out")},
        std::vector<std::string>{"separate", input, "-o", file("out"), "-v", "--realtime"},
        std::vector<std::string>{"transcribe", input, file("x\x1b[31m.wav"), "-v", "-o", file("t")},
        std::vector<std::string>{"transcribe", input, "-m", file("x\x1b[31m")}}) {
    const Outcome outcome = run(command);
    EXPECT_THAT(outcome.out + outcome.err, Not(HasSubstr("\x1b")));
    EXPECT_THAT(outcome.out + outcome.err, Not(HasSubstr("\x07")));
  }
}

TEST_F(Outputs, AFullStandardOutputIsAFailureInOneLine) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "this system has no full device";
  const std::string input = recording("say.wav");
  for (const std::string& command :
       {std::string("models"), std::string("models --json"), std::string("--version"),
        std::string("--help"), std::string("completion bash"),
        "separate " + input + " -o " + file("out") + " --stats -",
        "transcribe " + input + " -f txt -o " + file("t") + " --stats -"}) {
    const std::string line =
        std::string(RUNNEL_PROGRAM) + " " + command + " > /dev/full 2> " + file("err");
    const int status = std::system(line.c_str());
    EXPECT_EQ(WEXITSTATUS(status), 1) << command;
    const std::string err = read_text(file("err"));
    EXPECT_THAT(err, EndsWith("runnel: standard output: cannot be written: No space left on "
                              "device\n"));
    EXPECT_EQ(count_lines(err), command.find("say.wav") == command.npos ? 1 : 2) << err;
  }
}

TEST_F(Outputs, ARedirectedStreamGetsItsSizes) {
  const std::string input = recording("say.wav");
  const auto separate = [&](const std::string& redirection) {
    const std::string line =
        std::string(RUNNEL_PROGRAM) + " separate - -o - 2> /dev/null < " + input + redirection;
    return WEXITSTATUS(std::system(line.c_str()));
  };
  ASSERT_EQ(separate(" > " + file("plain.wav")), 0);
  const std::string wav = read_text(file("plain.wav"));
  const std::size_t header = rt::make_wav_header({.rate_hz = 16'000, .channels = 1}).size();
  ASSERT_EQ(wav.size(), header + 2 * 8000);
  std::uint32_t riff = 0;
  std::memcpy(&riff, wav.data() + 4, 4);
  EXPECT_EQ(riff, wav.size() - 8);
  EXPECT_EQ(testing::read_wav(file("plain.wav")).frames(), 8000);
  // Behind what is there already, which isn't touched; a pipe has no sizes, as ever.
  const std::string head = "what was there before";
  ASSERT_EQ(separate(" >> " + make("appended", head)), 0);
  EXPECT_EQ(read_text(file("appended")), head + wav);
  ASSERT_EQ(separate(" | cat > " + file("piped.wav")), 0);
  EXPECT_EQ(read_text(file("piped.wav")).substr(header), wav.substr(header));
  EXPECT_EQ(testing::read_wav(file("piped.wav")).frames(), 8000);
}

TEST(Text, NoEscapesWithoutATerminalThatTakesThem) {
  setenv("TERM", "xterm", 1);
  unsetenv("NO_COLOR");
  EXPECT_TRUE(may_escape());
  setenv("NO_COLOR", "", 1);
  EXPECT_TRUE(may_escape());
  setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(may_escape());
  unsetenv("NO_COLOR");
  setenv("TERM", "dumb", 1);
  EXPECT_FALSE(may_escape());
}

TEST(Text, BytesThatAreNoUtf8AreReplacedOneByOne) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(valid_utf8("Grüße, 日本, \xF0\x9F\x98\x80"), "Grüße, 日本, \xF0\x9F\x98\x80");
  EXPECT_EQ(valid_utf8("caf\xE9.wav"), "caf" + bad + ".wav");
  EXPECT_EQ(valid_utf8("\xC0\x80"), bad + bad) << "longer than needed";
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), bad + bad + bad) << "a surrogate";
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), bad + bad + bad + bad) << "beyond U+10FFFF";
  EXPECT_EQ(valid_utf8("a\xE6\x97"), "a" + bad + bad) << "cut";
  EXPECT_EQ(one_line("a\x9b"
                     "31mb"),
            "a" + bad + "31mb")
      << "a control of 8 bits";
}

}  // namespace
}  // namespace runnel::apps
