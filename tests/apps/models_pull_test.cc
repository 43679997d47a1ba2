// `runnel models pull` against a hub on this machine.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "apps/models_pull.h"
#include "engine/sha256.h"
#include "models/htdemucs/checkpoint.h"
#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
using testing::count_lines;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::read_text;
using testing::run;
using testing::TempFolder;
using namespace std::string_literals;

class ModelsPull : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v python3 curl sha1sum > /dev/null") != 0) {
      GTEST_SKIP() << "no python3, curl or sha1sum";
    }
    for (unsigned i = 0; i < 200'000; ++i) weights_ += char(i * i / 7);
    put("openai/whisper-tiny/config.json", "{\"d_model\": 1}");
    put("openai/whisper-tiny/tokenizer.json", "{}");
    put("openai/whisper-tiny/README.md", "not for us");
    put("openai/whisper-tiny/model.safetensors", weights_);
    start_server();
    setenv("RUNNEL_MODELS", folder_.file("models").c_str(), 1);
    setenv("NO_PROXY", "127.0.0.1", 1);
    setenv("no_proxy", "127.0.0.1", 1);
  }
  void TearDown() override {
    unsetenv("RUNNEL_MODELS");
    unsetenv("RUNNEL_HUB");
    if (server_ > 0) {
      kill(server_, SIGKILL);
      waitpid(server_, nullptr, 0);
    }
  }

  void start_server() {
    const std::string port_file = folder_.file("port");
    std::vector<std::string> words = {"python3", "tests/apps/hub_server.py", folder_.file("hub"),
                                      port_file, folder_.file("log")};
    server_ = fork();
    if (server_ == 0) {
      std::vector<char*> argv;
      for (std::string& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      execvp(argv[0], argv.data());
      _exit(127);
    }
    for (int i = 0; i < 300 && !fs::exists(port_file); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    ASSERT_TRUE(fs::exists(port_file)) << "the server didn't start";
    setenv("RUNNEL_HUB", ("http://127.0.0.1:" + read_text(port_file)).c_str(), 1);
  }
  void put(const std::string& path, const std::string& content) const {
    const fs::path file = folder_.file("hub/" + path);
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
  }
  std::string pulled(const std::string& path) const {
    return read_text(folder_.file("models/" + path));
  }
  void expect_one_line(const Outcome& outcome, const std::string& part) const {
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_FALSE(fs::exists(folder_.file("models/whisper-tiny")));
  }

  const TempFolder folder_;
  std::string weights_;
  pid_t server_ = -1;
};

TEST_F(ModelsPull, BringsWhatAModelNeedsAndOnlyThat) {
  const Outcome outcome = run({"models", "pull", "tiny"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(outcome.out, HasSubstr("whisper-tiny: 3 files"));
  EXPECT_EQ(pulled("whisper-tiny/model.safetensors"), weights_);
  EXPECT_EQ(pulled("whisper-tiny/config.json"), "{\"d_model\": 1}");
  EXPECT_FALSE(fs::exists(folder_.file("models/whisper-tiny/README.md")));
  EXPECT_FALSE(fs::exists(folder_.file("models/whisper-tiny.partial")));
  EXPECT_THAT(run({"models"}).out, HasSubstr("155 MB  yes"));
  // Again: nothing to do.
  fs::remove(folder_.file("log"));
  EXPECT_EQ(run({"models", "pull", "whisper-tiny"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(folder_.file("log")));
  EXPECT_EQ(run({"models", "pull", "whisper-tiny", "--force"}).exit_code, 0);
  EXPECT_EQ(pulled("whisper-tiny/model.safetensors"), weights_);
}

TEST_F(ModelsPull, GoesOnWhereItBrokeOff) {
  put("openai/whisper-tiny/model.safetensors.cut70000", "");
  expect_one_line(run({"models", "pull", "tiny"}), "model.safetensors");
  EXPECT_EQ(fs::file_size(folder_.file("models/whisper-tiny.partial/model.safetensors.part")),
            70'000U);
  fs::remove(folder_.file("log"));
  const Outcome second = run({"models", "pull", "tiny"});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(pulled("whisper-tiny/model.safetensors"), weights_);
  EXPECT_THAT(read_text(folder_.file("log")), HasSubstr("model.safetensors bytes=70000-"));
  EXPECT_THAT(read_text(folder_.file("log")), Not(HasSubstr("config.json")));
}

TEST_F(ModelsPull, StartsAgainWhereTheHubCannotGoOn) {
  put("no-ranges", "");
  put("openai/whisper-tiny/model.safetensors.cut70000", "");
  EXPECT_EQ(run({"models", "pull", "tiny"}).exit_code, 1);
  const Outcome second = run({"models", "pull", "tiny"});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(pulled("whisper-tiny/model.safetensors"), weights_);
}

TEST_F(ModelsPull, RefusesWhatIsNotWhatTheHubPromised) {
  put("openai/whisper-tiny/model.safetensors.lie", "");
  expect_one_line(run({"models", "pull", "tiny"}), "expected sha256 0000");
  EXPECT_FALSE(fs::exists(folder_.file("models/whisper-tiny.partial/model.safetensors.part")));
  fs::remove(folder_.file("hub/openai/whisper-tiny/model.safetensors.lie"));
  put("openai/whisper-tiny/config.json.lie", "");
  fs::remove_all(folder_.file("models"));
  expect_one_line(run({"models", "pull", "tiny"}), "expected git's sha1 0000");
}

TEST_F(ModelsPull, AWrongPartIsFoundByItsChecksum) {
  fs::create_directories(folder_.file("models/whisper-tiny.partial"));
  std::ofstream(folder_.file("models/whisper-tiny.partial/model.safetensors.part"))
      << std::string(1000, 'x');
  expect_one_line(run({"models", "pull", "tiny"}), "expected sha256");
  EXPECT_EQ(run({"models", "pull", "tiny"}).exit_code, 0);
}

TEST_F(ModelsPull, MissingThingsAreOneLine) {
  expect_one_line(run({"models", "pull", "small"}), "found HTTP status 404");
  fs::remove(folder_.file("hub/openai/whisper-tiny/model.safetensors"));
  expect_one_line(run({"models", "pull", "tiny"}), "model.safetensors");
  setenv("RUNNEL_HUB", "http://127.0.0.1:1", 1);
  expect_one_line(run({"models", "pull", "tiny"}), "127.0.0.1:1");
  const Outcome unknown = run({"models", "pull", "huge"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("whisper-large-v3-turbo"));
  EXPECT_EQ(run({"models", "pull"}).exit_code, 2);
}

TEST_F(ModelsPull, OneThatFailsDoesNotStopTheOthers) {
  const Outcome outcome = run({"models", "pull", "small", "tiny"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_EQ(pulled("whisper-tiny/model.safetensors"), weights_);
}

TEST_F(ModelsPull, BringsTheShardsThatAnIndexNames) {
  fs::remove(folder_.file("hub/openai/whisper-tiny/model.safetensors"));
  put("openai/whisper-tiny/model-00001-of-00002.safetensors", "one");
  put("openai/whisper-tiny/model-00002-of-00002.safetensors", "two");
  put("openai/whisper-tiny/model.safetensors.index.json",
      R"({"weight_map": {"a": "model-00001-of-00002.safetensors",
                         "b": "model-00002-of-00002.safetensors"}})");
  const Outcome outcome = run({"models", "pull", "tiny"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(pulled("whisper-tiny/model-00002-of-00002.safetensors"), "two");
  // Names are checked before they become paths.
  fs::remove_all(folder_.file("models"));
  put("openai/whisper-tiny/model.safetensors.index.json", R"({"weight_map": {"a": "../../evil"}})");
  expect_one_line(run({"models", "pull", "tiny"}), "../../evil");
}

TEST_F(ModelsPull, AListThatIsNoneIsOneLine) {
  put("openai/whisper-tiny/config.json", "");
  fs::remove(folder_.file("hub/openai/whisper-tiny/config.json"));
  expect_one_line(run({"models", "pull", "tiny"}), "config.json");
}

/// A bag of Demucs packages that a server without lists has: the fixture's, each with another value
/// where nobody looks.
class DemucsPull : public ModelsPull {
 protected:
  void SetUp() override {
    ModelsPull::SetUp();
    if (IsSkipped()) return;
    const std::string fixture = read_text("tests/fixtures/htdemucs/0a1b2c3d-65f5d38f.th");
    const auto seed = fixture.find("seedr");  // of training_args: nobody reads its value
    for (char i = 0; i < 4; ++i) {
      std::string content = fixture;
      const auto value = content.find("K*", seed);
      ASSERT_LT(value, seed + 16);
      content[value + 1] = i;
      engine::Sha256 hash;
      hash.add(std::as_bytes(std::span(content)));
      names_.push_back("aaaa000"s + char('0' + i) + "-" + hash.finish().substr(0, 8));
      put("demucs/tests/" + names_.back() + ".th", content);
      contents_.push_back(content);
    }
  }
  HubModel model(std::size_t packages) {
    packages_.assign(names_.begin(), names_.begin() + std::ptrdiff_t(packages));
    return {"htdemucs_ft", "demucs/tests", 1, "", packages_};
  }
  static void pull(const HubModel& model) {
    pull_model(model, {.names = {}, .force = false, .quiet = true});
  }
  std::string error(const HubModel& model) {
    try {
      pull(model);
    } catch (const std::exception& error) {
      return error.what();
    }
    return {};
  }
  fs::path folder() const { return folder_.file("models/htdemucs_ft"); }

  std::vector<std::string> names_, contents_;
  std::vector<std::string_view> packages_;
};

TEST_F(DemucsPull, BringsABagThatOpens) {
  pull(model(4));
  const models::htdemucs::Bag bag = models::htdemucs::open_bag(folder());
  ASSERT_EQ(bag.models.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_THAT(bag.models[i].label, HasSubstr(names_[i]));
    for (std::size_t k = 0; k < 4; ++k) EXPECT_EQ(bag.weights[i][k], i == k ? 1 : 0);
  }
  EXPECT_FALSE(fs::exists(folder_.file("models/htdemucs_ft.partial")));
  EXPECT_THAT(run({"models"}).out, HasSubstr("336 MB  yes"));
  EXPECT_EQ(resolve_model("htdemucs_ft"), folder());
  // Again: nothing to do.
  fs::remove(folder_.file("log"));
  pull(model(4));
  EXPECT_FALSE(fs::exists(folder_.file("log")));
}

TEST_F(DemucsPull, ABagOfOneNeedsNoWeights) {
  pull(model(1));
  EXPECT_EQ(read_text((folder() / "htdemucs_ft.yaml").string()), "models: ['aaaa0000']\n");
  EXPECT_EQ(models::htdemucs::open_bag(folder()).models.size(), 1U);
}

TEST_F(DemucsPull, GoesOnWhereItBrokeOff) {
  put("demucs/tests/" + names_[1] + ".th.cut30000", "");
  EXPECT_THAT(error(model(4)), HasSubstr(names_[1] + ".th: not all of "));
  const fs::path part = folder_.file("models/htdemucs_ft.partial/" + names_[1] + ".th.part");
  EXPECT_EQ(fs::file_size(part), 30'000U);
  fs::remove(folder_.file("log"));
  pull(model(4));
  EXPECT_EQ(read_text((folder() / (names_[1] + ".th")).string()), contents_[1]);
  const std::string log = read_text(folder_.file("log"));
  EXPECT_THAT(log, HasSubstr(names_[1] + ".th bytes=30000-"));
  EXPECT_THAT(log, Not(HasSubstr(names_[0])));
}

TEST_F(DemucsPull, AWholePartIsTakenAndATooLongOneReplaced) {
  const fs::path partial = folder_.file("models/htdemucs_ft.partial");
  fs::create_directories(partial);
  std::ofstream(partial / (names_[0] + ".th.part"), std::ios::binary) << contents_[0];
  std::ofstream(partial / (names_[1] + ".th.part"), std::ios::binary) << contents_[1] << "more";
  pull(model(2));
  EXPECT_EQ(read_text((folder() / (names_[1] + ".th")).string()), contents_[1]);
  EXPECT_THAT(read_text(folder_.file("log")), Not(HasSubstr(names_[0])));
}

TEST_F(DemucsPull, RefusesWhatIsNotWhatTheNamePromises) {
  put("demucs/hybrid_transformer/955717e8-8726e21a.th", contents_[0]);
  const Outcome outcome = run({"models", "pull", "htdemucs"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("955717e8-8726e21a.th: expected sha256 8726e21a"));
  EXPECT_FALSE(fs::exists(folder_.file("models/htdemucs")));
  EXPECT_THAT(run({"models", "pull", "htdemucs_6s"}).err,
              HasSubstr("/demucs/hybrid_transformer/5c90dfd2-34c22ccb.th, found HTTP status 404"));
}

TEST_F(ModelsPull, WithoutCurlItSaysSo) {
  const std::string path = std::getenv("PATH");
  setenv("PATH", folder_.path().c_str(), 1);
  const Outcome outcome = run({"models", "pull", "tiny"});
  setenv("PATH", path.c_str(), 1);
  expect_one_line(outcome, "curl: expected this program to be installed");
}

TEST_F(ModelsPull, AMissingModelSaysHowToGetIt) {
  setenv("XDG_DATA_HOME", folder_.path().c_str(), 1);
  const Outcome outcome = run({"transcribe", "a.wav", "--model", "base"});
  setenv("XDG_DATA_HOME", testing::kNowhere, 1);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("runnel models pull whisper-base"));
}

}  // namespace
}  // namespace runnel::apps
