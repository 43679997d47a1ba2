#include "rt/mp3_source.h"

#include <mpg123.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>

#include "rt/mpeg_frame.h"

namespace runnel::rt {
namespace {

constexpr int kLookedThrough = 4096;  // bytes before the first frame: more than the longest frame
constexpr int kFramesInRow = 3;       // that show that it is MPEG audio and no accident
constexpr int kMaxErrorsInRow = 1000;
constexpr std::int64_t kForgivenFrames = 3 * 1152;  // encoders count their first frame or don't

/// As many bytes as there are.
std::size_t read_at(int file, std::int64_t position, std::span<unsigned char> bytes) {
  const ssize_t got = pread(file, bytes.data(), bytes.size(), off_t(position));
  return got < 0 ? 0 : std::size_t(got);
}

/// Frames that follow each other up to the end of the file, or enough of them.
bool frames_in_row(int file, std::int64_t position) {
  int kind = -1;
  for (int i = 0; i < kFramesInRow; ++i) {
    std::array<unsigned char, 4> bytes;
    const std::size_t got = read_at(file, position, bytes);
    // At the end of a short file; one frame must be whole.
    if (got < bytes.size()) return i > 1 || (i == 1 && read_at(file, position - 1, bytes) > 0);
    const auto header = parse_mpeg_frame(bytes);
    if (!header || (kind >= 0 && header->kind != kind)) return false;
    kind = header->kind;
    position += header->bytes;
  }
  return true;
}

/// What lies between the frames of healthy files.
bool is_tag(std::span<const unsigned char> bytes) {
  for (const char* name : {"ID3", "TAG", "APETAGEX", "LYRICSBEGIN"}) {
    const std::size_t length = std::strlen(name);
    if (bytes.size() >= length && std::memcmp(bytes.data(), name, length) == 0) return true;
  }
  return false;
}

/// Then the decoder doesn't guess a length from the size.
off_t cannot_seek(void*, off_t, int) { return -1; }

}  // namespace

std::int64_t after_id3_tags(int file) {
  std::int64_t position = 0;
  for (;;) {
    std::array<unsigned char, 10> tag;
    if (read_at(file, position, tag) < tag.size()) return position;
    if (std::memcmp(tag.data(), "ID3", 3) != 0) return position;
    const std::int64_t bytes = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9];
    position += 10 + bytes + ((tag[5] & 0x10) != 0 ? 10 : 0);  // perhaps a footer
  }
}

bool is_mpeg_audio(int file) {
  const std::int64_t start = after_id3_tags(file);
  std::vector<unsigned char> bytes(kLookedThrough);
  bytes.resize(read_at(file, start, bytes));
  for (std::size_t i = 0; i + 4 <= bytes.size(); ++i) {
    if (bytes[i] == 0xFF && frames_in_row(file, start + std::int64_t(i))) return true;
  }
  return false;
}

Mp3Source::Mp3Source(Descriptor file, const std::string& name, const Interrupt* stop)
    : AudioSource({.name = name}, stop), file_(std::move(file)) {
  static const int initialized = mpg123_init();
  int error = initialized;
  std::unique_ptr<mpg123_handle, void (*)(mpg123_handle*)> decoder(mpg123_new(nullptr, &error),
                                                                   mpg123_delete);
  const auto check = [&](int result) {
    if (result == MPG123_OK) return;
    if (was_cut()) throw Interrupted(name + ": interrupted before any audio came");
    throw std::runtime_error(
        name + ": expected MPEG audio, found: " +
        mpg123_plain_strerror(decoder ? mpg123_errcode(decoder.get()) : error));
  };
  mpg123_handle* const d = decoder.get();
  if (d == nullptr) check(MPG123_ERR);
  check(mpg123_param(d, MPG123_ADD_FLAGS,
                     MPG123_QUIET | MPG123_FORCE_FLOAT | MPG123_SKIP_ID3V2 | MPG123_GAPLESS, 0));
  check(mpg123_param(d, MPG123_RESYNC_LIMIT, -1, 0));  // on to the end of the file
  check(mpg123_replace_reader_handle(d, read_ahead, cannot_seek, nullptr));
  check(mpg123_open_handle(d, this));
  int channels = 0;
  int encoding = 0;
  check(mpg123_getformat(d, &native_rate_hz_, &channels, &encoding));
  // Whatever comes later in the file is brought to this.
  check(mpg123_param(d, MPG123_FORCE_RATE, native_rate_hz_, 0));
  check(mpg123_format_none(d));
  check(mpg123_format(d, native_rate_hz_, channels, MPG123_ENC_FLOAT_32));
  format_.rate_hz = int(native_rate_hz_);
  format_.channels = channels;
  const off_t length = mpg123_length(d);  // of a Xing or Info header, or an error
  format_.frames = length >= 0 ? std::int64_t(length) : -1;
  decoder_ = decoder.release();
}

Mp3Source::~Mp3Source() { mpg123_delete(decoder_); }

ssize_t Mp3Source::read_ahead(void* self, void* out, std::size_t bytes) {
  auto& source = *static_cast<Mp3Source*>(self);
  if (source.ahead_.empty()) {
    if (source.cancelled()) return 0;  // it may look for a frame up to the end of the file
    ssize_t got = 0;
    do {
      got = ::read(source.file_.get(), source.buffer_.data(), source.buffer_.size());
    } while (got < 0 && errno == EINTR);
    if (got <= 0) return got;
    source.ahead_ = std::span(source.buffer_).first(std::size_t(got));
  }
  bytes = std::min(bytes, source.ahead_.size());
  std::memcpy(out, source.ahead_.data(), bytes);
  source.ahead_ = source.ahead_.subspan(bytes);
  return ssize_t(bytes);
}

std::string Mp3Source::time() const {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.1f s", double(decoded_frames_) / rate_hz());
  return text.data();
}

void Mp3Source::look_for_a_gap() {
  const std::int64_t start = mpg123_framepos(decoder_);
  std::array<unsigned char, 16> bytes;
  const auto header = parse_mpeg_frame(std::span(bytes).first(read_at(file_.get(), start, bytes)));
  if (!header) return;
  if (frame_end_ >= 0 && start > frame_end_ &&
      !is_tag(std::span(bytes).first(read_at(file_.get(), frame_end_, bytes)))) {
    add_damage("damaged at " + time() + ", where " + std::to_string(start - frame_end_) +
               " bytes were passed over");
  }
  frame_end_ = start + header->bytes;
  if (header->rate_hz != native_rate_hz_) {
    native_rate_hz_ = header->rate_hz;
    add_damage("goes on at " + std::to_string(header->rate_hz) + " Hz at " + time() +
               ", which was resampled roughly");
  }
}

void Mp3Source::finish() {
  if (was_cut()) return;
  at_end_ = true;
  if (frames() >= 0 && decoded_frames_ + kForgivenFrames < frames()) {
    add_damage("ends after " + std::to_string(decoded_frames_) + " of " + std::to_string(frames()) +
               " frames");
  }
}

void Mp3Source::decode_frame() {
  off_t number = 0;
  unsigned char* audio = nullptr;
  std::size_t bytes = 0;
  const int result = mpg123_decode_frame(decoder_, &number, &audio, &bytes);
  decoded_.clear();
  decoded_at_ = 0;
  if (result == MPG123_NEW_FORMAT) return;
  if (result == MPG123_DONE || result == MPG123_NEED_MORE) return finish();
  if (result != MPG123_OK) {
    if (was_cut()) return;
    if (errors_in_row_ == 0) {
      add_damage("damaged at " + time() + ": " + mpg123_plain_strerror(mpg123_errcode(decoder_)));
    }
    if (++errors_in_row_ > kMaxErrorsInRow) finish();
    return;
  }
  errors_in_row_ = 0;
  look_for_a_gap();
  if (audio == nullptr || bytes == 0) return;
  decoded_.resize(bytes / sizeof(float));
  std::memcpy(decoded_.data(), audio, decoded_.size() * sizeof(float));
  repair(decoded_.data(), std::int64_t(decoded_.size()));
  decoded_frames_ += std::int64_t(decoded_.size()) / channels();
}

int Mp3Source::read(float* interleaved, int max_frames) {
  const auto channel_count = std::size_t(channels());
  int got = 0;
  while (got < max_frames && !cancelled()) {
    if (decoded_at_ == decoded_.size()) {
      if (at_end_) break;
      decode_frame();
      continue;
    }
    const std::size_t samples =
        std::min(std::size_t(max_frames - got) * channel_count, decoded_.size() - decoded_at_);
    std::copy_n(decoded_.begin() + std::ptrdiff_t(decoded_at_), samples,
                interleaved + std::size_t(got) * channel_count);
    decoded_at_ += samples;
    got += int(samples / channel_count);
  }
  return got;
}

}  // namespace runnel::rt
