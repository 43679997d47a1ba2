#include "rt/rescaling_sink.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <stdexcept>

#include "rt/reason.h"
#include "rt/replacing_file.h"
#include "rt/source.h"

namespace runnel::rt {
namespace {

namespace fs = std::filesystem;

constexpr float kHeadroom = 1.01F;
constexpr int kPieceFrames = 8192;

bool is_lossy(const std::string& path) {
  std::string extension = fs::path(path).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  return extension == ".mp3";
}

void remove(const std::string& path) {
  std::error_code ignored;
  fs::remove(path, ignored);
}

/// Up to `frames` frames of `from` divided by `divisor`.
void copy_scaled(AudioSource& from, std::int64_t frames, double divisor, FileSink& to) {
  std::vector<float> piece(std::size_t(kPieceFrames) * std::size_t(from.channels()));
  while (frames > 0) {
    const int n = from.read(piece.data(), int(std::min<std::int64_t>(frames, kPieceFrames)));
    if (n == 0) return;
    for (float& sample : piece) sample = float(sample / divisor);
    to.write(piece.data(), n);
    frames -= n;
  }
}

}  // namespace

RescalingSink::RescalingSink(const std::string& path, const FileSinkOptions& options)
    : path_(path), options_(options), file_(std::make_unique<FileSink>(path, options)) {
  if (is_lossy(path)) open_exact();
}

RescalingSink::~RescalingSink() {
  try {
    if (file_->written_frames() > 0) finish();  // otherwise what was there before stays
  } catch (const std::exception&) {             // a destructor has nobody to tell
  }
}

void RescalingSink::open_exact() {
  exact_path_ = unused_path_beside(path_, ".wav");
  exact_ =
      std::make_unique<FileSink>(exact_path_, FileSinkOptions{.rate_hz = options_.rate_hz,
                                                              .channels = options_.channels,
                                                              .format = SampleFormat::kFloat32});
  exact_start_ = file_->written_frames();
}

void RescalingSink::write(const float* interleaved, int frames) {
  const auto samples = std::ptrdiff_t(frames) * options_.channels;
  for (std::ptrdiff_t i = 0; i < samples; ++i) {
    const float level = std::abs(interleaved[i]);
    if (level > peak_) peak_ = level;  // false for what is not a number
  }
  try {
    if (exact_failure_.empty() && !exact_ && kHeadroom * peak_ > 1) open_exact();
    if (exact_) exact_->write(interleaved, frames);
  } catch (const std::exception& error) {
    exact_failure_ = reason(error);
    drop_exact();  // the file may need the room
  }
  file_->write(interleaved, frames);
}

void RescalingSink::finish() {
  if (finished_) return;
  finished_ = true;
  try {
    file_->finish();
    if (exact_) exact_->finish();
    if (kHeadroom * peak_ > 1 && !exact_failure_.empty()) stay_limited(exact_failure_);
    if (exact_ && kHeadroom * peak_ > 1) rescale();
  } catch (...) {
    drop_exact();
    throw;
  }
  drop_exact();
}

void RescalingSink::stay_limited(const std::string& why) const {
  throw std::runtime_error(path_ + ": stays limited to full scale, not rescaled: " + why);
}

void RescalingSink::drop_exact() {
  exact_.reset();
  if (!exact_path_.empty()) remove(exact_path_);
}

void RescalingSink::rescale() {
  // Not yet the file's name: the clamped one stays if this fails.
  const std::string scaled_path = unused_path_beside(path_, fs::path(path_).extension().string());
  const double divisor = double(kHeadroom) * double(peak_);
  try {
    FileSink scaled(scaled_path, options_);
    if (exact_start_ > 0) {
      copy_scaled(*open_source(path_), exact_start_, divisor, scaled);
    }
    copy_scaled(*open_source(exact_path_), exact_->written_frames(), divisor, scaled);
    scaled.finish();
    if (scaled.written_frames() != exact_start_ + exact_->written_frames()) {
      throw std::runtime_error(
          path_ + ": expected " + std::to_string(exact_start_ + exact_->written_frames()) +
          " frames to rescale, found " + std::to_string(scaled.written_frames()));
    }
    std::error_code failure;
    const fs::path real = fs::canonical(path_, failure);  // a link stays one
    if (!failure) fs::rename(scaled_path, real, failure);
    if (failure) throw std::runtime_error(path_ + ": cannot be replaced: " + failure.message());
  } catch (const std::exception& error) {
    remove(scaled_path);
    stay_limited(reason(error));
  }
  divisor_ = divisor;
  rescaled_ = true;
}

std::int64_t RescalingSink::clipped_samples() const noexcept {
  return rescaled_ ? 0 : file_->clipped_samples();
}

}  // namespace runnel::rt
