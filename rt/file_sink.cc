#include <sndfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "rt/byte_writer.h"
#include "rt/mpeg_frame.h"
#include "rt/replacing_file.h"
#include "rt/sink.h"
#include "rt/wav_header.h"

namespace runnel::rt {

/// A file that takes float frames and stays readable whatever happens. An error throws
/// std::system_error; the container is then closed and the file holds what came before.
class FileSink::Container {
 public:
  explicit Container(const std::string& path) : file_(path) {}
  virtual ~Container() = default;
  /// Returns how many samples were clipped.
  virtual std::int64_t write(std::span<const float> samples) = 0;
  virtual void finish() = 0;
  /// That are in the file, and not still in an encoder.
  virtual std::int64_t readable_frames() const noexcept = 0;
  /// Without it, what was there before stays.
  void keep() { file_.keep(); }

 protected:
  ReplacingFile file_;
};

namespace {

constexpr std::size_t kPageBytes = 4096;  // fewer are not worth a system call

/// Our own writer, because the header must be right at any moment, in place, and beyond 4 GiB.
class WavFile : public FileSink::Container {
 public:
  WavFile(const std::string& path, const FileSinkOptions& options)
      : Container(path),
        format_{.samples = options.format,
                .rate_hz = options.rate_hz,
                .channels = options.channels,
                .data_bytes = 0} {
    const std::vector<std::byte> header = make_wav_header(format_);
    header_bytes_ = std::int64_t(header.size());
    write_all(file_.descriptor(), header);
  }

  std::int64_t write(std::span<const float> samples) override {
    const std::size_t before = bytes_.size();
    bytes_.resize(before + samples.size() * std::size_t(bytes_per_sample(format_.samples)));
    const std::int64_t clipped = encode_samples(format_.samples, samples, bytes_.data() + before);
    if (bytes_.size() >= kPageBytes) write_bytes();
    const std::int64_t second = std::int64_t(format_.rate_hz) * format_.bytes_per_frame();
    if (format_.data_bytes - described_bytes_ >= second) update_header();
    return clipped;
  }

  void finish() override {
    write_bytes();
    update_header();  // first: there may be no room for more
    if (format_.data_bytes % 2 == 1) write_all(file_.descriptor(), std::vector(1, std::byte{0}));
  }

  std::int64_t readable_frames() const noexcept override {
    return format_.data_bytes / format_.bytes_per_frame();
  }

 private:
  void write_bytes() {
    try {
      write_all(file_.descriptor(), bytes_);
    } catch (const std::system_error&) {
      keep_what_was_written();
      throw;
    }
    format_.data_bytes += std::int64_t(bytes_.size());
    bytes_.clear();
  }

  void update_header() {
    write_all_at(file_.descriptor(), make_wav_header(format_), 0);
    described_bytes_ = format_.data_bytes;
  }

  /// The disk is full: cut off a partial frame and describe the rest, as far as it goes.
  void keep_what_was_written() {
    const off_t end = lseek(file_.descriptor(), 0, SEEK_END);
    const std::int64_t bytes = std::max<std::int64_t>(end - header_bytes_, 0);
    format_.data_bytes = bytes - bytes % format_.bytes_per_frame();
    const bool cut = ftruncate(file_.descriptor(), header_bytes_ + format_.data_bytes) == 0;
    try {
      update_header();
    } catch (const std::system_error&) {
      if (cut) return;  // the failure that led here says more than this one
    }
  }

  WavFormat format_;  // data_bytes: written so far
  std::int64_t header_bytes_ = 0;
  std::int64_t described_bytes_ = 0;  // in the header on disk
  std::vector<std::byte> bytes_;      // to be written
};

/// libsndfile's setting for a constant bit rate: from 0, the most, to 1.
double compression_level(int rate_hz, int kbps) {
  const double most = rate_hz >= 32'000 ? 320 : rate_hz >= 16'000 ? 160 : 64;
  const double least = rate_hz >= 32'000 ? 32 : 8;
  return std::clamp((most - kbps) / (most - least), 0.0, 1.0);
}

/// MPEG 1, 2 and 2.5 (ISO/IEC 11172-3, 13818-3).
bool mp3_takes(int rate_hz, int channels) {
  constexpr std::array kRates = {8000,   11'025, 12'000, 16'000, 22'050,
                                 24'000, 32'000, 44'100, 48'000};
  return channels <= 2 && std::find(kRates.begin(), kRates.end(), rate_hz) != kRates.end();
}

/// Of a block of FLAC (RFC 9639, 9.1) with blocks of one size; 0 if no such block begins here.
int flac_block_frames(std::span<const unsigned char> b) {
  if (b.size() < 4 || b[0] != 0xFF || b[1] != 0xF8) return 0;
  const int code = b[2] >> 4;
  if (code == 0) return 0;
  if (code >= 8) return 256 << (code - 8);
  constexpr int kLongest = 4096;  // of ours; of the last one, which is shorter, the total tells it
  return code == 1 ? 192 : code < 6 ? 576 << (code - 2) : kLongest;
}

/// Of so many bytes of MP3 of a constant bit rate that begin like this.
std::int64_t mp3_frames(std::span<const unsigned char> start, std::int64_t bytes) {
  const auto header = parse_mpeg_frame(start);
  if (!header) return 0;
  const std::int64_t samples = 8 * bytes * header->rate_hz / header->bit_rate;
  const std::int64_t whole = samples / header->samples - 1;  // the first one holds no audio
  return std::max<std::int64_t>(whole * header->samples, 0);
}

/// What libFLAC encodes.
bool flac_takes(int rate_hz, int channels) { return channels <= 8 && rate_hz <= 655'350; }

/// FLAC or MP3 through libsndfile, over our own I/O so that a full disk is told from a broken
/// encoder. FLAC's header says "length unknown" until the end, which readers take as it is; MP3 is
/// a row of frames.
class EncodedFile : public FileSink::Container {
 public:
  enum class Codec { kFlac, kMp3 };

  /// Throws for what the codec does not have, before there is a file. libsndfile 1.2.0 also leaks
  /// its encoder when that refuses a rate.
  static void check(Codec codec, const FileSinkOptions& options) {
    const auto takes = codec == Codec::kMp3 ? mp3_takes : flac_takes;
    if (!takes(options.rate_hz, options.channels)) refuse(codec, options);
  }

  EncodedFile(Codec codec, const std::string& path, const FileSinkOptions& options)
      : Container(path),
        codec_(codec),
        channels_(options.channels),
        bits_(codec == Codec::kFlac && options.format == SampleFormat::kInt16 ? 16 : 24) {
    SF_INFO info{};
    info.samplerate = options.rate_hz;
    info.channels = options.channels;
    info.format = codec == Codec::kMp3
                      ? SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III
                      : SF_FORMAT_FLAC | (bits_ == 16 ? SF_FORMAT_PCM_16 : SF_FORMAT_PCM_24);
    SF_VIRTUAL_IO io{on_length, on_seek, on_read, on_write, on_tell};
    handle_ = sf_open_virtual(&io, SFM_WRITE, &info, this);
    if (handle_ == nullptr) refuse(codec, options);
    if (codec != Codec::kMp3) return;
    int constant = SF_BITRATE_MODE_CONSTANT;
    double level = compression_level(options.rate_hz, options.mp3_kbps);
    sf_command(handle_, SFC_SET_BITRATE_MODE, &constant, sizeof constant);
    sf_command(handle_, SFC_SET_COMPRESSION_LEVEL, &level, sizeof level);
  }
  ~EncodedFile() override {
    sf_close(handle_);
    // Cut off a partial frame, so that the rest can be read; nothing more to be done if that fails.
    if (error_ != 0 && ftruncate(file_.descriptor(), whole_bytes_) != 0) return;
  }

  std::int64_t write(std::span<const float> samples) override {
    integers_.resize(samples.size());
    const std::int64_t clipped = quantize_samples(bits_, samples, integers_.data());
    for (std::int32_t& integer : integers_) {
      integer =
          std::int32_t(std::uint32_t(integer) << (32 - bits_));  // libsndfile's are left-aligned
    }
    const auto size = sf_count_t(integers_.size());
    taken_frames_ += size / channels_;
    if (sf_write_int(handle_, integers_.data(), size) != size && error_ == 0) error_ = EIO;
    check_written();
    return clipped;
  }

  void finish() override {
    sf_close(std::exchange(handle_, nullptr));
    check_written();
  }

  std::int64_t readable_frames() const noexcept override {
    const std::int64_t frames =
        codec_ == Codec::kMp3 ? mp3_frames(start_, whole_bytes_) : blocks_frames_;
    return std::min(frames, taken_frames_);
  }

 private:
  [[noreturn]] static void refuse(Codec codec, const FileSinkOptions& options) {
    throw std::runtime_error((codec == Codec::kMp3 ? "MP3 does not take " : "FLAC does not take ") +
                             std::to_string(options.channels) + " channels at " +
                             std::to_string(options.rate_hz) + " Hz");
  }
  void check_written() const {
    if (error_ != 0) throw std::system_error(error_, std::generic_category());
  }
  static int descriptor(void* self) { return static_cast<EncodedFile*>(self)->file_.descriptor(); }
  static sf_count_t on_length(void* self) {
    struct stat status {};
    return fstat(descriptor(self), &status) == 0 ? status.st_size : -1;
  }
  static sf_count_t on_seek(sf_count_t offset, int whence, void* self) {
    return lseek(descriptor(self), offset, whence);
  }
  static sf_count_t on_read(void* bytes, sf_count_t count, void* self) {
    return ::read(descriptor(self), bytes, std::size_t(count));
  }
  /// The FLAC encoder writes a whole frame at a time.
  static sf_count_t on_write(const void* bytes, sf_count_t count, void* self) {
    auto& file = *static_cast<EncodedFile*>(self);
    if (file.error_ != 0) return 0;  // leave the header at "length unknown"
    try {
      write_all(descriptor(self), {static_cast<const std::byte*>(bytes), std::size_t(count)});
    } catch (const std::system_error& error) {
      file.error_ = error.code().value();
      return 0;
    }
    const std::span written(static_cast<const unsigned char*>(bytes), std::size_t(count));
    if (file.whole_bytes_ == 0) {
      const std::size_t known = std::min(written.size(), file.start_.size());
      std::copy_n(written.begin(), known, file.start_.begin());
    }
    file.blocks_frames_ += flac_block_frames(written);
    file.whole_bytes_ = std::max<off_t>(file.whole_bytes_, on_tell(self));
    return count;
  }
  static sf_count_t on_tell(void* self) { return lseek(descriptor(self), 0, SEEK_CUR); }

  const Codec codec_;
  const int channels_;
  const int bits_;
  int error_ = 0;                         // errno of the first write that failed
  off_t whole_bytes_ = 0;                 // end of the last write that did not
  std::array<unsigned char, 4> start_{};  // of the file
  std::int64_t blocks_frames_ = 0;        // of the blocks of FLAC that were written
  std::int64_t taken_frames_ = 0;
  std::vector<std::int32_t> integers_;
  SNDFILE* handle_ = nullptr;
};

std::unique_ptr<FileSink::Container> open_container(const std::string& path,
                                                    const FileSinkOptions& options) {
  std::string extension = std::filesystem::path(path).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  if (extension != ".wav" && extension != ".flac" && extension != ".mp3") {
    throw std::runtime_error("expected a file name that ends in .wav, .flac or .mp3, found '" +
                             extension + "'");
  }
  if (options.rate_hz < 1 || options.channels < 1) {
    throw std::runtime_error("expected at least one channel and 1 Hz, found " +
                             std::to_string(options.channels) + " channels at " +
                             std::to_string(options.rate_hz) + " Hz");
  }
  const bool integer =
      options.format == SampleFormat::kInt16 || options.format == SampleFormat::kInt24;
  if (!integer && options.format != SampleFormat::kFloat32) {
    throw std::runtime_error("expected 16-bit, 24-bit or float32 samples");
  }
  if (extension == ".flac" && !integer) {
    throw std::runtime_error("FLAC does not hold float samples; write 24-bit ones, or .wav");
  }
  if (extension == ".wav") return std::make_unique<WavFile>(path, options);
  const auto codec = extension == ".mp3" ? EncodedFile::Codec::kMp3 : EncodedFile::Codec::kFlac;
  EncodedFile::check(codec, options);
  return std::make_unique<EncodedFile>(codec, path, options);
}

}  // namespace

FileSink::FileSink(const std::string& path, const FileSinkOptions& options)
    : path_(path), options_(options) {
  try {
    container_ = open_container(path, options);
  } catch (const std::system_error& error) {
    throw std::runtime_error(path + ": cannot be written: " + error.code().message());
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path + ": " + error.what());
  }
}

FileSink::~FileSink() {
  try {
    // Nothing came, and nobody finished it: what was there before stays.
    if (written_frames_ == 0) container_.reset();
    finish();
  } catch (const std::exception&) {  // a destructor has nobody to tell
  }
}

void FileSink::write(const float* interleaved, int frames) {
  if (!container_) throw std::logic_error(path_ + ": written to after its end");
  if (frames <= 0) return;
  try {
    clipped_samples_ +=
        container_->write({interleaved, std::size_t(frames) * std::size_t(options_.channels)});
  } catch (const std::system_error& error) {
    fail(error);
  }
  written_frames_ += frames;
}

void FileSink::finish() {
  if (!container_) return;
  try {
    container_->finish();
    container_->keep();
  } catch (const std::system_error& error) {
    fail(error);
  }
  container_.reset();
}

void FileSink::fail(const std::system_error& error) {
  const std::string why = error.what();
  const std::int64_t kept_frames = container_->readable_frames();
  try {
    if (kept_frames > 0) container_->keep();
  } catch (const std::system_error& failure) {
    container_.reset();
    throw std::runtime_error(path_ + ": cannot be written further: " + why + "; what came before " +
                             failure.what());
  }
  container_.reset();
  if (kept_frames == 0) throw std::runtime_error(path_ + ": cannot be written: " + why);
  throw std::runtime_error(path_ + ": cannot be written further after " +
                           format_seconds(kept_frames, options_.rate_hz) +
                           " of audio, which can be read: " + why);
}

}  // namespace runnel::rt
