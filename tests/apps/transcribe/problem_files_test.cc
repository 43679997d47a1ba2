// `runnel transcribe` on files that other programs stumble over: each holds the sentence, and it is
// heard.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using ::testing::HasSubstr;
using testing::Outcome;
using testing::read_text;
using testing::read_wav;
using testing::run;
using testing::TempFolder;

constexpr const char* kWords = "open the window and let some fresh air into the room";
constexpr int kRateHz = 16'000;

const std::vector<float>& sentence() {
  static const auto samples = read_wav("tests/fixtures/speech/sentence.flac").samples;
  return samples;
}

/// The lowest byte first.
std::string bytes_of(std::uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes += char(value >> (8 * i) & 0xFF);
  return bytes;
}

std::string int16s() {
  std::string bytes;
  for (const float sample : sentence()) {
    bytes += bytes_of(std::uint64_t(std::lround(32767 * sample)), 2);
  }
  return bytes;
}

/// G.711.
std::string mu_laws() {
  std::string bytes;
  for (const float sample : sentence()) {
    const int value = int(std::lround(32767 * sample));
    const int size = std::min(std::abs(value), 32635) + 132;
    int exponent = 0;
    while (size >> (exponent + 8) != 0) ++exponent;
    const int code = (value < 0 ? 0x80 : 0) | exponent << 4 | (size >> (exponent + 3) & 15);
    bytes += char(~code);
  }
  return bytes;
}

std::string chunk(const std::string& name, const std::string& content) {
  return name + bytes_of(content.size(), 4) + content;
}

std::string fmt(int tag, int bits, int align) {
  return chunk("fmt ", bytes_of(std::uint64_t(tag), 2) + bytes_of(1, 2) + bytes_of(kRateHz, 4) +
                           bytes_of(std::uint64_t(kRateHz * align), 4) +
                           bytes_of(std::uint64_t(align), 2) + bytes_of(std::uint64_t(bits), 2));
}

std::string wav(const std::string& chunks) { return chunk("RIFF", "WAVE" + chunks); }

/// Of a variable bit rate.
std::string mp3() {
  const TempFolder folder;
  SF_INFO info{};
  info.samplerate = kRateHz;
  info.channels = 1;
  info.format = SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III;
  SNDFILE* file = sf_open(folder.file("a.mp3").c_str(), SFM_WRITE, &info);
  EXPECT_NE(file, nullptr) << sf_strerror(nullptr);
  int variable = SF_BITRATE_MODE_VARIABLE;
  sf_command(file, SFC_SET_BITRATE_MODE, &variable, sizeof variable);
  sf_writef_float(file, sentence().data(), sf_count_t(sentence().size()));
  sf_close(file);
  return read_text(folder.file("a.mp3"));
}

/// Without its first frame, which says how many follow.
std::string without_length(const std::string& mp3) {
  const std::size_t second = mp3.find(mp3.substr(0, 2), 2);
  EXPECT_NE(second, std::string::npos);
  return mp3.substr(second);
}

/// A tag that holds a picture, and is longer than a decoder looks for a frame.
std::string picture() {
  constexpr int kBytes = 300'000;
  std::string size, length;
  for (int shift = 21; shift >= 0; shift -= 7) size += char(kBytes >> shift & 0x7F);
  for (int shift = 24; shift >= 0; shift -= 8) length += char((kBytes - 10) >> shift & 0xFF);
  const std::string head =
      std::string("\0image/png\0\3\0", 13) + std::string(std::size_t(kBytes) - 10 - 13, '\0');
  return std::string("ID3\3\0\0", 6) + size + "APIC" + length + std::string(2, '\0') + head;
}

class ProblemFiles : public testing::FolderTest {
 protected:
  /// How often the sentence is heard in the file.
  static int times_heard(const Outcome& outcome) {
    int times = 0;
    for (auto at = outcome.out.find(kWords); at != std::string::npos;
         at = outcome.out.find(kWords, at + 1)) {
      ++times;
    }
    return times;
  }
};

TEST_F(ProblemFiles, HealthyOnesAreHeardWithoutAWarning) {
  const std::string pcm = fmt(1, 16, 2), data = int16s();
  const std::vector<std::string> files = {
      make("mu-law.wav", wav(fmt(7, 8, 1) + chunk("data", mu_laws()))),
      make("align-0.wav", wav(fmt(1, 16, 0) + chunk("data", data))), make("with-length.mp3", mp3()),
      make("without-length.mp3", without_length(mp3())),
      make("picture.mp3", picture() + without_length(mp3())),
      // Of recorders that died before they wrote the sizes.
      make("size-0.wav", "RIFF" + bytes_of(36, 4) + "WAVE" + pcm + "data" + bytes_of(0, 4) + data),
      make("size-0-list.wav", "RIFF" + bytes_of(0, 4) + "WAVE" + pcm +
                                  chunk("LIST", "INFOISFT" + bytes_of(4, 4) + "rec" + '\0') +
                                  "data" + bytes_of(0, 4) + data)};
  const Outcome outcome = run(testing::joined({"transcribe", "-q"}, files));
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(times_heard(outcome), int(files.size())) << outcome.out;
  for (const std::string& file : {files[3], files[4]}) {
    EXPECT_THAT(run({"transcribe", file}).err, ::testing::Not(HasSubstr("ends after"))) << file;
  }
}

TEST_F(ProblemFiles, JoinedOnesAreHeardToTheEnd) {
  const Outcome outcome = run({"transcribe", make("joined.mp3", mp3() + mp3())});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(times_heard(outcome), 2) << outcome.out;
}

TEST_F(ProblemFiles, DecodersKeepTheirOwnWords) {
  std::string bytes = without_length(mp3());
  bytes.replace(bytes.size() / 2, 900, std::string(900, '\0'));
  const Outcome outcome = run({"transcribe", make("hole.mp3", bytes), "-q"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(outcome.out, HasSubstr("open the window"));
}

TEST_F(ProblemFiles, TextIsNotTakenForAPipe) {
  std::string text = "\xFF\xFE";
  for (const char letter : std::string("1\r\n00:00:01,000 --> 00:00:02,000\r\nHello.\r\n")) {
    text += std::string(1, letter) + '\0';
  }
  const Outcome outcome = run({"transcribe", make("utf16.srt", text)});
  testing::expect_one_line(outcome, 1, "utf16.srt: expected");
  EXPECT_THAT(outcome.err, ::testing::Not(HasSubstr("pipe")));
}

TEST_F(ProblemFiles, StandardInputTakesTheWavThatAFileMayBe) {
  for (const std::string& file :
       {make("mu-law.wav", wav(fmt(7, 8, 1) + chunk("data", mu_laws()))),
        make("align-0.wav", wav(fmt(1, 16, 0) + chunk("data", int16s())))}) {
    const Outcome outcome = run({"transcribe", "-"}, file);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(times_heard(outcome), 1) << file;
  }
}

}  // namespace
}  // namespace runnel::apps
