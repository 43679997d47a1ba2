// `runnel models list, remove, verify, default`, and which model is used without -m.

#include "apps/model_upkeep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "apps/default_model.h"
#include "models/catalog.h"
#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::expect_one_line;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::run;
using testing::write_text;

class ModelsHere : public testing::FolderTest {
 protected:
  void SetUp() override {
    setenv("RUNNEL_MODELS", file("models").c_str(), 1);
    setenv("HF_HUB_CACHE", file("cache").c_str(), 1);
  }
  void TearDown() override {
    unsetenv("RUNNEL_MODELS");
    setenv("HF_HUB_CACHE", testing::kNowhere, 1);
  }
  void put(const std::string& path, const std::string& content = "{}") const {
    fs::create_directories(fs::path(file(path)).parent_path());
    write_text(file(path), content);
  }
  void put_model(const std::string& name) const {
    put("models/" + name + "/config.json");
    put("models/" + name + "/tokenizer.json");
    put("models/" + name + "/model.safetensors", "weights");
  }
  /// As huggingface_hub keeps it; returns the snapshot.
  std::string put_cached(const std::string& repository, const std::string& weights) const {
    const std::string folder = "cache/models--" + repository;
    put(folder + "/refs/main", "0a1b");
    put(folder + "/snapshots/0000/config.json");  // an older state
    put(folder + "/snapshots/0a1b/config.json");
    put(folder + "/snapshots/0a1b/tokenizer.json");
    put(folder + "/blobs/cafe", weights == "model.bin" ? ct2() : "weights");
    fs::create_symlink("../../blobs/cafe", file(folder + "/snapshots/0a1b/" + weights));
    return file(folder + "/snapshots/0a1b");
  }
  static std::string ct2() { return std::string("\6\0\0\0\14\0WhisperSpec\0", 18) + "rest"; }
  static std::string choice(const TranscriptionNeeds& needs) { return default_model(needs).name; }
};

TEST_F(ModelsHere, AreListedWithFormSizeAndPath) {
  EXPECT_THAT(run({"models", "list"}).out, HasSubstr("no models on the disk"));
  put_model("whisper-tiny");
  put("models/mine/model.bin", ct2());
  put("models/mine/vocabulary.txt");
  put("models/ggml-base.bin", "lmgg and more");
  put("models/notes.txt", "no model");
  put("models/whisper-small.partial/config.json");
  put("models/whisper-small.partial/tokenizer.json");
  put("models/whisper-small.partial/model.safetensors");
  put("models/half/config.json");
  const std::string cached = put_cached("openai--whisper-base", "model.safetensors");
  const std::string faster = put_cached("Systran--faster-whisper-small", "model.bin");
  put_cached("somebody--whisper-base", "model.safetensors");

  const Outcome outcome = run({"models", "list", "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto expected = nlohmann::json::array({{{"name", "ggml-base.bin"},
                                                {"form", "ggml"},
                                                {"bytes", 13},
                                                {"path", file("models/ggml-base.bin")},
                                                {"cached", false}},
                                               {{"name", "mine"},
                                                {"form", "CTranslate2"},
                                                {"bytes", 24},
                                                {"path", file("models/mine")},
                                                {"cached", false}},
                                               {{"name", "whisper-tiny"},
                                                {"form", "safetensors"},
                                                {"bytes", 11},
                                                {"path", file("models/whisper-tiny")},
                                                {"cached", false}},
                                               {{"name", "whisper-base"},
                                                {"form", "safetensors"},
                                                {"bytes", 11},
                                                {"path", cached},
                                                {"cached", true}},
                                               {{"name", "whisper-small"},
                                                {"form", "CTranslate2"},
                                                {"bytes", 26},
                                                {"path", faster},
                                                {"cached", true}}});
  EXPECT_EQ(nlohmann::json::parse(outcome.out), expected) << outcome.out;
  EXPECT_THAT(run({"models", "list"}).out, AllOf(HasSubstr("ggml-base.bin"), HasSubstr(cached)));
  EXPECT_THAT(run({"models"}).out, AllOf(HasSubstr("155 MB  yes"), HasSubstr(faster)));
}

TEST_F(ModelsHere, OfTheHubsCacheAreUsedInPlace) {
  const std::string cached = put_cached("openai--whisper-base", "model.safetensors");
  EXPECT_EQ(resolve_model("base"), cached);
  EXPECT_EQ(resolve_model(cached), cached);
  EXPECT_EQ(resolve_model(file("cache/models--openai--whisper-base")), cached);
  EXPECT_EQ(resolve_model(file("cache")), file("cache"));
  // The own one first.
  put_model("whisper-base");
  EXPECT_EQ(resolve_model("base"), file("models/whisper-base"));
  // Without a name of the newest state, and half a state.
  const std::string moonshine =
      put_cached("UsefulSensors--moonshine-streaming-tiny", "model.safetensors");
  fs::remove(file("cache/models--UsefulSensors--moonshine-streaming-tiny/refs/main"));
  fs::remove_all(fs::path(moonshine).parent_path() / "0000");
  EXPECT_EQ(resolve_model("moonshine-streaming-tiny"), moonshine);
  fs::remove(fs::path(moonshine) / "model.safetensors");
  EXPECT_THROW(resolve_model("moonshine-streaming-tiny"), std::runtime_error);
}

TEST_F(ModelsHere, TheHubsCacheIsFoundAsItsOwnProgramsFindIt) {
  const fs::path cached = put_cached("openai--whisper-base", "model.safetensors");
  const std::string home = std::getenv("HOME") ? std::getenv("HOME") : "";
  unsetenv("HF_HUB_CACHE");
  for (const auto& [variable, folder] : {std::pair{"HF_HOME", "hub"},
                                         {"XDG_CACHE_HOME", "huggingface/hub"},
                                         {"HOME", ".cache/huggingface/hub"}}) {
    const fs::path root = file("by-" + std::string(variable));
    fs::create_directories((root / folder).parent_path());
    fs::create_directory_symlink(file("cache"), root / folder);
    setenv(variable, root.c_str(), 1);
    EXPECT_EQ(resolve_model("base"), root / folder / fs::relative(cached, file("cache")));
    unsetenv(variable);
  }
  if (!home.empty()) setenv("HOME", home.c_str(), 1);
}

TEST_F(ModelsHere, AreRemovedFromTheStoreOnly) {
  put_model("whisper-tiny");
  put("models/whisper-tiny.partial/model.safetensors.part");
  put("models/notes/a.txt", "no model");
  const std::string cached = put_cached("openai--whisper-base", "model.safetensors");
  EXPECT_EQ(run({"models", "remove", "tiny"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(file("models/whisper-tiny")));
  EXPECT_FALSE(fs::exists(file("models/whisper-tiny.partial")));
  expect_one_line(run({"models", "remove", "tiny"}), 1, "whisper-tiny: expected one of the models");
  expect_one_line(run({"models", "remove", "base"}), 1, cached);
  EXPECT_TRUE(fs::exists(cached + "/model.safetensors"));
  for (const char* name : {"notes", "..", "../models", "/tmp", ""}) {
    EXPECT_EQ(run({"models", "remove", name}).exit_code, 1) << name;
  }
  EXPECT_TRUE(fs::exists(file("models/notes/a.txt")));
  // A link goes, what it leads to stays.
  put("elsewhere/config.json");
  put("elsewhere/tokenizer.json");
  put("elsewhere/model.safetensors");
  fs::create_directory_symlink(file("elsewhere"), file("models/linked"));
  EXPECT_EQ(run({"models", "remove", "-q", "linked"}).out, "");
  EXPECT_FALSE(fs::exists(fs::symlink_status(file("models/linked"))));
  EXPECT_TRUE(fs::exists(file("elsewhere/config.json")));
}

TEST_F(ModelsHere, HalfAModelIsNone) {
  const std::string cached = put_cached("openai--whisper-tiny", "model.safetensors");
  EXPECT_EQ(choice({}), "whisper-tiny");
  fs::remove(cached + "/tokenizer.json");  // a program wanted the weights alone
  EXPECT_EQ(choice({}), models::kDefaultTranscriber);
  put_model("whisper-base");
  fs::remove(file("models/whisper-base/model.safetensors"));
  put("models/whisper-base/model.safetensors.index.json",
      R"({"weight_map": {"a": "1", "b": "2"}})");
  put("models/whisper-base/1");
  EXPECT_EQ(choice({}), models::kDefaultTranscriber);
  put("models/whisper-base/2");
  EXPECT_EQ(choice({}), "whisper-base");
}

TEST_F(ModelsHere, OnlyTheOneThatIsNamedIsRemoved) {
  put_model("whisper-tiny");
  put_model("tiny");
  put("models/video.partial/a.txt", "somebody's");
  put("models/tiny.partial", "somebody's");
  EXPECT_EQ(run({"models", "remove", "tiny"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(file("models/tiny")));
  EXPECT_TRUE(fs::exists(file("models/whisper-tiny")));
  EXPECT_EQ(run({"models", "remove", "video"}).exit_code, 1);
  EXPECT_TRUE(fs::exists(file("models/video.partial/a.txt")));
  EXPECT_TRUE(fs::exists(file("models/tiny.partial")));
  // And what is no model is not there already.
  put("models/whisper-base/notes.txt");
  expect_one_line(run({"models", "pull", "base"}), 1, "expected whisper-base or nothing, found");
  // What nobody pulled has no checksums: it is passed over, unless it is named.
  EXPECT_THAT(run({"models", "verify"}).out, HasSubstr("no pulled models"));
}

TEST_F(ModelsHere, AreVerifiedAgainstWhatWasPulled) {
  put_model("whisper-tiny");
  expect_one_line(run({"models", "verify", "tiny"}), 1, "found none (models pull --force");
  write_manifest(file("models/whisper-tiny"), "whisper-tiny", "a test");
  const Outcome good = run({"models", "verify"});
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_THAT(good.out, HasSubstr("whisper-tiny: 3 files, 0.0 MB, checksums match"));
  put("models/whisper-tiny/model.safetensors", "Weights");
  expect_one_line(run({"models", "verify"}), 1, "model.safetensors: expected sha256 ");
  put("models/whisper-tiny/model.safetensors", "weight");
  expect_one_line(run({"models", "verify"}), 1, "model.safetensors: expected 7 bytes, found 6");
  fs::remove(file("models/whisper-tiny/model.safetensors"));
  put("models/whisper-tiny/pytorch_model.bin");
  expect_one_line(run({"models", "verify"}), 1, "model.safetensors: expected it, found none");
  for (const char* manifest :
       {"", "[]", "{\"source\": 1}", R"({"source": "", "files": [{"name": "../x"}]})",
        R"({"source": "", "files": [{"name": "../x", "bytes": 1, "sha256": ""}]})"}) {
    put("models/whisper-tiny/runnel-pull.json", manifest);
    expect_one_line(run({"models", "verify"}), 1, "runnel-pull.json: ");
  }
  expect_one_line(run({"models", "verify", "base"}), 1, "whisper-base: expected one of the models");
}

TEST_F(ModelsHere, TheBestForTheTaskIsTheDefault) {
  const std::string embedded(models::kDefaultTranscriber);
  EXPECT_EQ(choice({}), embedded);
  EXPECT_THAT(default_model({}).reason, HasSubstr("runnel models pull default"));
  EXPECT_THAT(default_model({.language = "de"}).reason, HasSubstr("pull whisper-base"));
  put_model("whisper-tiny.en");
  put_model("mine");  // never by itself
  EXPECT_EQ(choice({}), "whisper-tiny.en");
  EXPECT_EQ(choice({.live = true}), "whisper-tiny.en");
  EXPECT_EQ(choice({.language = "en"}), "whisper-tiny.en");
  EXPECT_EQ(choice({.language = "de"}), embedded);
  EXPECT_EQ(choice({.translates = true}), embedded);
  EXPECT_THAT(default_model({}).reason, HasSubstr("a better one: runnel models pull whisper-base"));
  put_model("whisper-tiny");
  EXPECT_EQ(choice({}), "whisper-tiny.en");
  EXPECT_EQ(choice({.language = "de"}), "whisper-tiny");
  put_model("whisper-large-v3-turbo");
  EXPECT_EQ(choice({}), "whisper-large-v3-turbo");
  EXPECT_EQ(choice({.live = true}), "whisper-tiny.en");
  EXPECT_EQ(choice({.translates = true}), "whisper-tiny");
  EXPECT_EQ(default_model({}).reason, "the best one here");
  put_cached("Systran--faster-whisper-small", "model.bin");
  EXPECT_EQ(choice({.translates = true}), "whisper-small");
  put_cached("UsefulSensors--moonshine-streaming-small", "model.safetensors");
  EXPECT_EQ(choice({.live = true}), "moonshine-streaming-small");
  EXPECT_EQ(choice({.live = true, .language = "de"}), "whisper-tiny");
  // As faster-whisper keeps them.
  put_cached("Systran--faster-whisper-base", "model.bin");
  EXPECT_EQ(choice({.live = true, .language = "de"}), "whisper-base");
}

TEST_F(ModelsHere, EveryRankedModelCanBePulled) {
  for (const bool live : {false, true}) {
    for (const HubModel* model : ranking({.live = live})) ASSERT_NE(model, nullptr);
  }
  EXPECT_EQ(ranking({}).size(), 15U);  // all transcribers that can be pulled
}

TEST_F(ModelsHere, TheDefaultCanBeFixed) {
  put_model("whisper-tiny.en");
  put_model("whisper-base");
  EXPECT_THAT(run({"models", "default"}).out, AllOf(HasSubstr("files: whisper-base (the best"),
                                                    HasSubstr("live:  whisper-base (the best")));
  EXPECT_THAT(run({"models", "default", "tiny.en"}).out,
              HasSubstr("files: whisper-tiny.en (fixed"));
  EXPECT_EQ(default_model({.language = "de"}).path, file("models/whisper-tiny.en"));
  expect_one_line(run({"models", "default", "small"}), 1, "runnel models pull whisper-small");
  expect_one_line(run({"models", "default", file("models")}), 1, "expected a transcriber's folder");
  EXPECT_EQ(choice({}), "whisper-tiny.en");
  EXPECT_EQ(run({"models", "default", "moonshine-runnel-en"}).exit_code, 0);
  EXPECT_EQ(default_model({}).path, "");
  put_model("my own");
  EXPECT_EQ(run({"models", "default", file("models/my own")}).exit_code, 0);
  EXPECT_EQ(default_model({}).path, file("models/my own"));
  // Gone: told, not replaced by another.
  fs::remove_all(file("models/my own"));
  write_text(file("a.wav"), "");
  expect_one_line(run({"transcribe", file("a.wav")}), 1, "models default --clear");
  EXPECT_THAT(run({"models", "default", "--clear"}).out, HasSubstr("files: whisper-base"));
  EXPECT_EQ(run({"models", "default", "--clear", "base"}).exit_code, 2);
}

TEST_F(ModelsHere, WhichOneTranscribesIsTold) {
  put_model("whisper-tiny.en");  // which isn't a real one
  const std::string audio = make("a.wav", testing::noisy_speech(16000, 1, 1600));
  const Outcome outcome = run({"transcribe", audio});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("runnel: model whisper-tiny.en (the best one here; a better"));
  expect_one_line(run({"transcribe", "-q", audio}), 1,
                  "whisper-tiny.en/config.json: key 'model_type': expected \"whisper\"");
  // An option of the other kind of model says which one it is.
  expect_one_line(run({"transcribe", audio, "--max-line", "5", "--stream"}), 2,
                  "without -m it is whisper-tiny.en");
  // Nothing pulled is no news in a log.
  fs::remove_all(file("models"));
  EXPECT_THAT(run({"transcribe", audio}).err, Not(HasSubstr("inside the program")));
}

}  // namespace
}  // namespace runnel::apps
