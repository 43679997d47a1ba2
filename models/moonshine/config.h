// What a Moonshine Streaming checkpoint says about itself.
#pragma once

#include <string>
#include <vector>

namespace runnel::models::moonshine {

/// How a layer's window [left, right] is read. The Hugging Face implementation counts strictly
/// (left − 1 past frames, the frame itself, right − 1 future ones); the original exporter counts
/// both bounds (left, itself, right). [16, 0] is causal in both.
enum class WindowSemantics { kStrict, kInclusive };

/// config.json; names in it stand beside the members.
struct Config {
  struct Window {
    int left = 16, right = 4;  // as in the file
  };

  struct Encoder {                // encoder_config
    int dim = 0;                  // hidden_size
    int heads = 0;                // num_attention_heads
    int head_dim = 0;             // head_dim; heads · head_dim need not be dim
    int ffn = 0;                  // intermediate_size
    std::vector<Window> windows;  // sliding_windows: one a layer
    int frame_samples = 80;       // sample_rate · frame_ms
    // Rows of the adapter's position table: max_position_embeddings of the file itself, as
    // decoder.max_tokens; encoder_config's says nothing.
    int max_frames = 4096;
  };

  struct Decoder {
    int dim = 0;              // hidden_size
    int layers = 0;           // num_hidden_layers
    int heads = 0;            // num_attention_heads
    int head_dim = 0;         // head_dim
    int ffn = 0;              // intermediate_size
    int max_tokens = 0;       // max_position_embeddings
    double rope_theta = 1e4;  // rope_parameters.rope_theta
    double rotary_part = .8;  // rope_parameters.partial_rotary_factor
    bool tied = false;        // tie_word_embeddings
  };

  static constexpr int kSampleRate = 16000;
  static constexpr double kFramesPerSecond = 50;  // encoder frames

  Encoder encoder;
  Decoder decoder;
  int vocab_size = 0;
  int start_token = 1;  // decoder_start_token_id
  int end_token = 2;    // eos_token_id
  int beams = 1;        // num_beams of generation_config.json; 1: greedy
};

}  // namespace runnel::models::moonshine
