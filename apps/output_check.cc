#include "apps/output_check.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "apps/text.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHeadBytes = 512;
constexpr int kMostLinks = 40;  // as Linux

std::string_view without_space(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

bool is_text(std::string_view head) {
  return std::none_of(head.begin(), head.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == 0x7F || (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t');
  });
}

/// By its name. The names of text files are the hub's.
bool is_of_a_checkpoint(const fs::path& path) {
  constexpr std::array kEndings = {".safetensors", ".bin", ".pt", ".th", ".yaml", ".yml"};
  constexpr std::array kNames = {"config.json",
                                 "generation_config.json",
                                 "preprocessor_config.json",
                                 "tokenizer.json",
                                 "tokenizer_config.json",
                                 "special_tokens_map.json",
                                 "added_tokens.json",
                                 "vocab.json",
                                 "vocabulary.json",
                                 "vocabulary.txt",
                                 "runnel-pull.json",
                                 "normalizer.json",
                                 "merges.txt",
                                 "model.safetensors.index.json",
                                 "pytorch_model.bin.index.json"};
  const auto is_one_of = [](const auto& all, const std::string& text) {
    return std::find(all.begin(), all.end(), text) != all.end();
  };
  return is_one_of(kEndings, path.extension().string()) ||
         is_one_of(kNames, path.filename().string());
}

bool is_audio(std::string_view head) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(head[i]); };
  for (const std::string_view magic : {"RIFF", "RF64", "fLaC", "ID3"}) {
    if (head.starts_with(magic)) return true;
  }
  return head.size() > 1 && byte(0) == 0xFF && byte(1) >= 0xE0;  // an MPEG frame
}

/// "1", then "00:00:00,000 --> …".
bool is_srt(std::string_view head) {
  const auto line_end = head.find('\n');
  if (line_end == std::string_view::npos || line_end == 0) return false;
  const std::string_view number = head.substr(0, line_end);
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || c == '\r'; };
  const std::string_view times = head.substr(line_end + 1);
  return std::all_of(number.begin(), number.end(), is_digit) &&
         times.substr(0, times.find('\n')).find(" --> ") != std::string_view::npos;
}

std::string_view name(OutputKind kind) {
  switch (kind) {
    case OutputKind::kAudio:
      return "audio (wav, flac, mp3)";
    case OutputKind::kHtml:
      return "an HTML page";
    case OutputKind::kJson:
      return "JSON";
    case OutputKind::kLrc:
      return "lyrics (lrc)";
    case OutputKind::kSrt:
      return "subtitles (srt)";
    case OutputKind::kText:
      return "text";
    case OutputKind::kTsv:
      return "tsv";
    case OutputKind::kVtt:
      return "subtitles (vtt)";
  }
  return "";
}

std::string beginning(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(kHeadBytes, '\0');
  file.read(bytes.data(), std::streamsize(bytes.size()));
  bytes.resize(std::size_t(std::max<std::streamsize>(file.gcount(), 0)));
  return bytes;
}

}  // namespace

bool begins_like(OutputKind kind, std::string_view head) {
  if (kind == OutputKind::kAudio) return is_audio(head);
  if (!is_text(head)) return false;
  const std::string_view text = without_space(head);
  std::string start(text.substr(0, 16));
  std::transform(start.begin(), start.end(), start.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  switch (kind) {
    case OutputKind::kHtml:
      return start.starts_with("<!doctype html") || start.starts_with("<html");
    case OutputKind::kJson:
      return start.starts_with('{') || start.starts_with('[');
    case OutputKind::kLrc:
      return start.starts_with('[');
    case OutputKind::kSrt:
      return is_srt(text);
    case OutputKind::kTsv:
      return start.starts_with("start\tend\t");  // then perhaps the channel
    case OutputKind::kVtt:
      return start.starts_with("webvtt");
    default:
      return true;
  }
}

bool OutputCheck::find(int descriptor, Identity& identity) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  identity = {status.st_dev, status.st_ino, {}};
  return true;
}

bool OutputCheck::find(std::string path, Identity& identity) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (!S_ISREG(status.st_mode)) return false;  // a device or a pipe loses nothing
    identity = {status.st_dev, status.st_ino, {}};
    return true;
  }
  // It will be made where a link without an end leads to.
  std::error_code failure;
  for (int links = 0; links < kMostLinks; ++links) {
    const fs::path next = fs::read_symlink(path, failure);
    if (failure) break;
    path = (fs::path(path).parent_path() / next).string();
  }
  const fs::path whole = fs::weakly_canonical(fs::absolute(path, failure), failure);
  if (failure) return false;  // opening it tells why
  fs::path folder = whole.parent_path();
  fs::path rest = whole.filename();
  while (::stat(folder.c_str(), &status) != 0 && folder.has_relative_path()) {  // not made yet
    rest = folder.filename() / rest;
    folder = folder.parent_path();
  }
  identity = {status.st_dev, status.st_ino, rest.string()};
  return true;
}

OutputCheck::OutputCheck(const std::vector<std::string>& inputs, bool force) : force_(force) {
  const auto add_input = [this](const std::string& path) {
    Identity identity;
    if (path == "-" ? find(STDIN_FILENO, identity) : find(path, identity)) {
      if (identity.name.empty()) inputs_[identity] = path == "-" ? "standard input" : path;
    }
  };
  for (const std::string& input : inputs) {
    add_input(input);
    std::error_code none;
    const bool in_folder = !fs::is_directory(input, none) && is_of_a_checkpoint(input);
    const fs::path folder = in_folder ? fs::absolute(input, none).parent_path() : fs::path(input);
    for (fs::directory_iterator file(folder, none), end; file != end; file.increment(none)) {
      if (is_of_a_checkpoint(file->path())) add_input(file->path().string());
    }
  }
  Identity identity;
  if (!find(STDOUT_FILENO, identity)) return;
  if (const auto input = inputs_.find(identity); input != inputs_.end()) {
    throw std::runtime_error("standard output: is the input " + input->second +
                             ", which is not overwritten");
  }
  outputs_[identity] = "standard output";
}

void OutputCheck::add(const std::string& path, OutputKind kind) {
  Identity identity;
  if (path.empty() || path == "-" || !find(path, identity)) return;
  if (inputs_.contains(identity)) {
    throw std::runtime_error(path + ": is an input, so it is not overwritten");
  }
  const auto [other, is_new] = outputs_.try_emplace(identity, path);
  if (!is_new) {
    throw std::runtime_error(path + ": would be written twice" +
                             (other->second == path ? "" : ", as " + other->second + " too"));
  }
  if (force_ || !identity.name.empty()) return;
  const std::string head = beginning(path);
  if (head.empty() || begins_like(kind, head)) return;
  throw std::runtime_error(path + ": expected nothing, or an older output (" +
                           std::string(name(kind)) +
                           "), found something else, which is only replaced with --force");
}

}  // namespace runnel::apps
