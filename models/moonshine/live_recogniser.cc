#include "models/moonshine/live_recogniser.h"

#include <utility>

#include "models/moonshine/word_timing.h"

namespace runnel::models::moonshine {
namespace {

class StreamRecogniser final : public LiveRecogniser {
 public:
  StreamRecogniser(std::shared_ptr<const Model> model, const StreamOptions& options,
                   std::shared_ptr<const TokenBias> bias)
      : options_(options), stream_(std::move(model), options), bias_(std::move(bias)) {}

  void restart() noexcept override { stream_.restart(); }
  int push(std::span<const float> samples) noexcept override { return stream_.push(samples); }
  void flush() noexcept override { stream_.flush(); }
  int frames() const noexcept override { return stream_.frames(); }
  Pass decode(std::span<const int> draft, int fixed, int limit) noexcept override {
    return stream_.decode(draft, fixed, limit, bias_.get());
  }

  bool begins_word(int token) const noexcept override {
    return stream_.model().tokenizer().begins_word(token);
  }
  std::vector<LiveWord> words(const Pass& pass, int first, double earliest) const override {
    const auto from = std::size_t(first);
    Pass rest = pass;
    rest.tokens = pass.tokens.subspan(from);
    rest.logprobs = pass.logprobs.subspan(from);
    rest.frames = pass.frames.subspan(from);
    return words_of(stream_.model().tokenizer(), rest, 0, frames() / Config::kFramesPerSecond,
                    earliest);
  }

  double max_seconds() const noexcept override { return options_.max_seconds; }
  int max_tokens() const noexcept override { return options_.max_tokens; }
  int vocab_size() const noexcept override { return stream_.model().config().vocab_size; }
  int latency_samples() const noexcept override { return stream_.model().latency_samples(); }

 private:
  const StreamOptions options_;
  Stream stream_;
  const std::shared_ptr<const TokenBias> bias_;
};

}  // namespace

std::unique_ptr<LiveRecogniser> make_live_recogniser(std::shared_ptr<const Model> model,
                                                     const StreamOptions& options,
                                                     std::shared_ptr<const TokenBias> bias) {
  return std::make_unique<StreamRecogniser>(std::move(model), options, std::move(bias));
}

}  // namespace runnel::models::moonshine
