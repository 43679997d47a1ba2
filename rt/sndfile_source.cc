#include "rt/sndfile_source.h"

#include <sndfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "rt/mp3_source.h"

namespace runnel::rt {
namespace {

constexpr int kMaxErrorsInRow = 200;

/// libsndfile's messages may end in a full stop and a line break.
std::string one_line(std::string text) {
  text = text.substr(0, text.find('\n'));
  while (!text.empty() && (text.back() == '.' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

/// libsndfile on a file, or on one link of it.
struct SndfileSource::Handle {
  /// `part.end` < 0: the whole file, by its name, which says what some of them are; a stop then
  /// ends no read.
  Handle(SndfileSource& owner, OggLink part) : source(owner), link(part) {
    const std::string& path = source.name();
    SF_VIRTUAL_IO access = {&Handle::size, &Handle::seek, &Handle::read, &Handle::write,
                            &Handle::tell};
    sound = link.end < 0 ? sf_open(path.c_str(), SFM_READ, &info)
                         : sf_open_virtual(&access, SFM_READ, &info, this);
    if (sound == nullptr) {
      if (source.was_cut()) throw Interrupted(path + ": interrupted before any audio came");
      throw std::runtime_error(path + ": expected an audio file, found something else: " +
                               one_line(sf_strerror(nullptr)));
    }
    if (info.channels < 1 || info.samplerate < 1) {
      const std::string found =
          std::to_string(info.channels) + " channels at " + std::to_string(info.samplerate) + " Hz";
      sf_close(sound);
      throw std::runtime_error(path + ": expected at least one channel and 1 Hz, found " + found);
    }
  }
  ~Handle() { sf_close(sound); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  static sf_count_t size(void* self) {
    const auto& h = *static_cast<Handle*>(self);
    return h.link.end - h.link.begin;
  }
  static sf_count_t seek(sf_count_t offset, int whence, void* self) {
    auto& h = *static_cast<Handle*>(self);
    const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? h.at : size(self);
    return h.at = std::clamp<sf_count_t>(from + offset, 0, size(self));
  }
  static sf_count_t read(void* out, sf_count_t count, void* self) {
    auto& h = *static_cast<Handle*>(self);
    if (h.source.cancelled()) return 0;  // it may look for a frame up to the end of the file
    count = std::clamp<sf_count_t>(count, 0, size(self) - h.at);
    const ssize_t got =
        pread(h.source.file_.get(), out, std::size_t(count), off_t(h.link.begin + h.at));
    h.at += std::max<ssize_t>(got, 0);
    return std::max<ssize_t>(got, 0);
  }
  static sf_count_t write(const void*, sf_count_t, void*) { return 0; }
  static sf_count_t tell(void* self) { return static_cast<Handle*>(self)->at; }

  SndfileSource& source;
  const OggLink link;
  sf_count_t at = 0;
  SF_INFO info{};
  SNDFILE* sound = nullptr;
};

SndfileSource::SndfileSource(Descriptor file, const std::string& path, const Interrupt* stop)
    : AudioSource({.name = path}, stop), file_(std::move(file)) {
  std::array<char, 4> first{};
  const ssize_t got = pread(file_.get(), first.data(), first.size(), 0);
  const auto starts_with = [&](const char* letters) {
    return got == ssize_t(first.size()) &&
           std::memcmp(first.data(), letters, std::strlen(letters)) == 0;
  };
  const bool is_ogg = starts_with("OggS");
  if (is_ogg) look_at_ogg_pages();
  const bool has_links = links_.size() > 1;
  if (is_ogg || starts_with("fLaC") || starts_with("ID3"))
    whole_.end = lseek(file_.get(), 0, SEEK_END);
  handle_ = std::make_unique<Handle>(*this, has_links ? links_[0] : whole_);
  const SF_INFO& info = handle_->info;
  format_.rate_hz = info.samplerate;
  format_.channels = info.channels;
  const int samples = info.format & SF_FORMAT_SUBMASK;
  format_.is_float = samples == SF_FORMAT_FLOAT || samples == SF_FORMAT_DOUBLE;
  if (!has_links && info.frames < SF_COUNT_MAX) format_.frames = info.frames;
}

SndfileSource::~SndfileSource() = default;

void SndfileSource::look_at_ogg_pages() {
  OggPages pages = find_ogg_pages(file_.get(), [this] { return cancelled(); });
  if (was_cut()) throw Interrupted(name() + ": interrupted before any audio came");
  links_ = std::move(pages.links);
  if (pages.missing_pages > 0 || pages.passed_bytes > 0) {
    add_damage("damaged: " + std::to_string(pages.missing_pages) + " pages are missing and " +
               std::to_string(pages.passed_bytes) + " bytes were passed over");
  }
  if (!pages.has_end) add_damage("ends before its last page: it was cut off");
}

bool SndfileSource::open_next_link() {
  if (link_ + 1 >= links_.size()) return false;
  ++link_;
  const auto where = [&] {
    return "part " + std::to_string(link_ + 1) + " of " + std::to_string(links_.size()) +
           ", and what follows, was left out: ";
  };
  try {
    handle_ = std::make_unique<Handle>(*this, links_[link_]);
  } catch (const Interrupted&) {
    throw;
  } catch (const std::exception& error) {
    add_damage(where() + one_line(sf_strerror(nullptr)));
    return false;
  }
  if (handle_->info.samplerate == rate_hz() && handle_->info.channels == channels()) return true;
  add_damage(where() + "it has " + std::to_string(handle_->info.channels) + " channels at " +
             std::to_string(handle_->info.samplerate) + " Hz");
  return false;
}

bool SndfileSource::is_flac() const {
  return (handle_->info.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_FLAC;
}

bool SndfileSource::find_next_flac(bool is_lost) {
  if (links_.empty()) links_ = {{.begin = after_id3_tags(file_.get()), .end = whole_.end}};
  std::int64_t at = links_[link_].begin + 1;
  constexpr std::int64_t kReadAhead = 65'536;  // more than the decoder's
  if (!is_lost) at = std::max(at, handle_->link.begin + handle_->at - kReadAhead);
  // The head of a FLAC and of its first block, which has 34 bytes (RFC 9639, 8.2).
  constexpr std::array<char, 8> kHead = {'f', 'L', 'a', 'C', 0, 0, 0, 34};
  std::array<char, 65'536> bytes;
  while (at < whole_.end && !cancelled()) {
    const ssize_t got = pread(file_.get(), bytes.data(), bytes.size(), off_t(at));
    if (got < ssize_t(kHead.size())) return false;
    const auto* found = std::search(bytes.data(), bytes.data() + got, kHead.begin(), kHead.end());
    if (found != bytes.data() + got) {
      links_.push_back({.begin = at + (found - bytes.data()), .end = whole_.end});
      return true;
    }
    at += got - ssize_t(kHead.size()) + 1;
  }
  return false;
}

bool SndfileSource::open_next_flac() {
  try {
    if (!open_next_link()) return false;
  } catch (const Interrupted&) {
    return false;
  }
  link_start_ = read_frames_;
  format_.frames += handle_->info.frames;
  return true;
}

bool SndfileSource::pass_over_damage() {
  if (!is_flac()) {
    // Ogg moves on by itself, a little each time.
    return sf_error(handle_->sound) != SF_ERR_NO_ERROR && ++errors_in_row_ <= kMaxErrorsInRow;
  }
  // A decoder that lost its way stays lost; a new one finds what lies behind.
  constexpr std::int64_t kStep = 1024;  // frames: blocks are a few times as long
  // Each try may read up to the end of the file, so they lie further and further apart.
  for (std::int64_t ahead = kStep; read_frames_ + ahead < frames() && !cancelled();
       ahead += std::max(kStep, ahead / 4)) {
    const std::int64_t target = read_frames_ + ahead - link_start_;
    handle_ = std::make_unique<Handle>(*this, links_.empty() ? whole_ : links_[link_]);
    if (sf_seek(handle_->sound, target, SEEK_SET) != target) continue;
    silent_frames_ = ahead;
    return true;
  }
  return false;
}

int SndfileSource::read(float* interleaved, int max_frames) {
  while (max_frames > 0 && !at_end_ && !cancelled()) {
    if (silent_frames_ > 0) {  // in place of what was passed over
      const auto silence = int(std::min<std::int64_t>(silent_frames_, max_frames));
      std::fill_n(interleaved, std::size_t(silence * channels()), 0.0F);
      silent_frames_ -= silence;
      read_frames_ += silence;
      return silence;
    }
    const auto got = int(sf_readf_float(handle_->sound, interleaved, max_frames));
    const int error = sf_error(handle_->sound);
    repair(interleaved, std::int64_t(got) * channels());
    read_frames_ += got;
    const bool failed = error != SF_ERR_NO_ERROR;
    // The decoder that finds another FLAC has lost its way, or looks no further than it was told.
    const bool joined = is_flac() && read_frames_ == frames() && (failed || got == 0) &&
                        (link_ + 1 < links_.size() || find_next_flac(failed));
    if (failed && !joined && !was_cut()) {
      add_damage("damaged after " + std::to_string(read_frames_) +
                 " frames: " + one_line(sf_error_number(error)));
    }
    if (got > 0) {
      errors_in_row_ = 0;
      return got;
    }
    if (joined) {
      if (open_next_flac()) continue;
      at_end_ = true;
      return 0;
    }
    try {
      if (pass_over_damage() || open_next_link()) continue;
    } catch (const Interrupted&) {
    }
    if (cancelled()) return 0;
    at_end_ = true;
    if (frames() > read_frames_) {
      add_damage("ends after " + std::to_string(read_frames_) + " of " + std::to_string(frames()) +
                 " frames");
    }
  }
  return 0;
}

}  // namespace runnel::rt
