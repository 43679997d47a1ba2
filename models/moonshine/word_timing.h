// Words of a decoding pass, with their times.
#pragma once

#include <vector>

#include "models/live_transcriber.h"
#include "models/moonshine/network.h"
#include "models/moonshine/tokenizer.h"

namespace runnel::models::moonshine {

/// The pass's tokens as words: a piece that begins with a space begins one. Times follow from where
/// the tokens' cross-attention is centred: they rise from word to word and lie in
/// [start, start + audio], where `start` is the utterance's first sample in the stream and `audio`
/// what has been heard of it, in seconds. A word that a pause follows ends when its letters would
/// have been spoken.
std::vector<LiveWord> words_of(const Tokenizer& tokenizer, const Pass& pass, double start,
                               double audio);

}  // namespace runnel::models::moonshine
