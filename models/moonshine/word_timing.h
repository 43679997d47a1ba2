// Words of a decoding pass, with their times.
#pragma once

#include <vector>

#include "models/live_transcriber.h"
#include "models/moonshine/network.h"
#include "models/moonshine/tokenizer.h"

namespace runnel::models::moonshine {

/// The pass's tokens as words: a piece that begins with a space begins one. Times follow from where
/// the tokens' cross-attention is centred, as far as it is to be believed: words rise, each lasts,
/// and they lie in [start + earliest, start + audio], where `start` is the utterance's first sample
/// in the stream, `earliest` where the word before them ends and `audio` what has been heard of the
/// utterance, in seconds. A word that a pause follows ends when its letters would have been spoken.
std::vector<LiveWord> words_of(const Tokenizer& tokenizer, const Pass& pass, double start,
                               double audio, double earliest = 0);

}  // namespace runnel::models::moonshine
