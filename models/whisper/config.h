// What a Whisper checkpoint says of itself.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace runnel::models::whisper {

inline constexpr int kSampleRateHz = 16000;
inline constexpr int kHop = 160;              // samples: 10 ms
inline constexpr int kWindowFrames = 3000;    // mel frames of a 30 s window
inline constexpr int kFramesPerPosition = 2;  // mel frames an encoder row: 20 ms

/// An encoder that runs on a stream, in rows; see MODEL.md. chunk 0: plain Whisper.
struct StreamingEncoder {
  int chunk = 0;  // rows that become final at once
  int past = 0;   // final rows before a chunk that it sees; a multiple of chunk
  int right = 0;  // rows after it that it sees, made anew for each chunk
  int sinks = 0;  // learned keys and values that stand for the silence after the audio
};

/// Shapes; names as in Hugging Face's config.json (in brackets).
struct Config {
  int vocab_size = 0;
  int mel_bins = 80;     // num_mel_bins
  int audio_ctx = 1500;  // max_source_positions
  int text_ctx = 448;    // max_target_positions
  int dim = 0;           // d_model
  int encoder_layers = 0;
  int encoder_heads = 0;  // encoder_attention_heads
  int encoder_ffn = 0;    // encoder_ffn_dim
  int decoder_layers = 0;
  int decoder_heads = 0;         // decoder_attention_heads
  int decoder_ffn = 0;           // decoder_ffn_dim
  StreamingEncoder stream = {};  // streaming_encoder; ours

  bool streaming() const noexcept { return stream.chunk > 0; }
  bool multilingual() const noexcept { return vocab_size >= 51865; }
  /// 99, or 100 with Cantonese; 0 of an English-only model's use, though its vocabulary has them.
  int languages() const noexcept { return vocab_size - 51765 - (multilingual() ? 1 : 0); }
};

/// generation_config.json, or OpenAI's defaults where a checkpoint has none (ggml).
struct GenerationConfig {
  std::vector<int> suppress_tokens;        // at every step; empty list in the file: none
  std::vector<int> begin_suppress_tokens;  // at the first step
  /// {layer, head} pairs whose cross-attention follows the audio; never empty after loading: where
  /// the checkpoint has none, all heads of the second half of the decoder's layers.
  std::vector<std::pair<int, int>> alignment_heads;
  int max_initial_timestamp_index = 50;  // 1 s
};

}  // namespace runnel::models::whisper
