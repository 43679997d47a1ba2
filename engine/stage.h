// The streaming contract that every stage of the pipeline keeps.
#pragma once

#include <concepts>
#include <cstdint>

namespace runnel {

/// A stage turns a stream of `In` into a stream of `Out`, one step at a time.
///
/// - `push` consumes all of its input, up to the `max_chunk` fixed at construction. Call `pop`
/// until
///   it returns false before the next `push`.
/// - `pop` makes the next output, or returns false if more input is needed. The view lives until
///   the next `push` or `pop`.
/// - `flush` says that the audio has ended: `pop` then hands out what is left.
/// - `reset` returns to the state after construction.
/// - `latency_samples`: output sample i is there at the latest when input sample
///   i + latency_samples() has been pushed (at the input's rate). Algorithmic, not computed, delay.
///
/// None of them allocates, locks, logs, throws or calls the system. Offline is one big `push` and a
/// `flush`; chunks of any sizes give the same output.
template <class S, class In, class Out>
concept Stage = requires(S stage, const S& constant, const In& in, Out& out) {
  { stage.push(in) }
  noexcept->std::same_as<void>;
  { stage.pop(out) }
  noexcept->std::same_as<bool>;
  { stage.flush() }
  noexcept->std::same_as<void>;
  { stage.reset() }
  noexcept->std::same_as<void>;
  { constant.latency_samples() }
  noexcept->std::convertible_to<std::int64_t>;
};

}  // namespace runnel
