#include "models/whisper/alignment_heads.h"

namespace runnel::models::whisper {
namespace {

struct Published {
  int dim, encoder_layers, decoder_layers, vocab_size;
  std::vector<std::pair<int, int>> heads;
};

// Source: _ALIGNMENT_HEADS of openai-whisper. large and large-v2 have the same sizes and other
// heads; the file can't tell, so these are those of large-v2, which is what people have.
const std::vector<Published>& published() {
  static const std::vector<Published> kModels = {
      {384, 4, 4, 51864, {{1, 0}, {2, 0}, {2, 5}, {3, 0}, {3, 1}, {3, 2}, {3, 3}, {3, 4}}},
      {384, 4, 4, 51865, {{2, 2}, {3, 0}, {3, 2}, {3, 3}, {3, 4}, {3, 5}}},
      {512, 6, 6, 51864, {{3, 3}, {4, 7}, {5, 1}, {5, 5}, {5, 7}}},
      {512, 6, 6, 51865, {{3, 1}, {4, 2}, {4, 3}, {4, 7}, {5, 1}, {5, 2}, {5, 4}, {5, 6}}},
      {768,
       12,
       12,
       51864,
       {{6, 6},
        {7, 0},
        {7, 3},
        {7, 8},
        {8, 2},
        {8, 5},
        {8, 7},
        {9, 0},
        {9, 4},
        {9, 8},
        {9, 10},
        {10, 0},
        {10, 1},
        {10, 2},
        {10, 3},
        {10, 6},
        {10, 11},
        {11, 2},
        {11, 4}}},
      {768,
       12,
       12,
       51865,
       {{5, 3}, {5, 9}, {8, 0}, {8, 4}, {8, 7}, {8, 8}, {9, 0}, {9, 7}, {9, 9}, {10, 5}}},
      {1024,
       24,
       24,
       51864,
       {{11, 4},
        {14, 1},
        {14, 12},
        {14, 14},
        {15, 4},
        {16, 0},
        {16, 4},
        {16, 9},
        {17, 12},
        {17, 14},
        {18, 7},
        {18, 10},
        {18, 15},
        {20, 0},
        {20, 3},
        {20, 9},
        {20, 14},
        {21, 12}}},
      {1024, 24, 24, 51865, {{13, 15}, {15, 4}, {15, 15}, {16, 1}, {20, 0}, {23, 4}}},
      {1280, 32, 32, 51865, {{10, 12}, {13, 17}, {16, 11}, {16, 12}, {16, 13}, {17, 15},
                             {17, 16}, {18, 4},  {18, 11}, {18, 19}, {19, 11}, {21, 2},
                             {21, 3},  {22, 3},  {22, 9},  {22, 12}, {23, 5},  {23, 7},
                             {23, 13}, {25, 5},  {26, 1},  {26, 12}, {27, 15}}},
      {1280,
       32,
       32,
       51866,
       {{7, 0},
        {10, 17},
        {12, 18},
        {13, 12},
        {16, 1},
        {17, 14},
        {19, 11},
        {21, 4},
        {24, 1},
        {25, 6}}},
      {1280, 32, 4, 51866, {{2, 4}, {2, 11}, {3, 3}, {3, 6}, {3, 11}, {3, 14}}},
  };
  return kModels;
}

}  // namespace

std::vector<std::pair<int, int>> default_alignment_heads(const Config& config) {
  for (const Published& model : published()) {
    // All of these have heads of 64.
    if (model.dim == config.dim && model.encoder_layers == config.encoder_layers &&
        model.decoder_layers == config.decoder_layers && model.vocab_size == config.vocab_size &&
        config.decoder_heads == config.dim / 64) {
      return model.heads;
    }
  }
  std::vector<std::pair<int, int>> heads;
  for (int layer = config.decoder_layers / 2; layer < config.decoder_layers; ++layer) {
    for (int head = 0; head < config.decoder_heads; ++head) heads.emplace_back(layer, head);
  }
  return heads;
}

}  // namespace runnel::models::whisper
