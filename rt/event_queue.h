// Small events (tokens, marks, state changes) from real-time threads to one that may block.
#pragma once

#include <concurrentqueue/concurrentqueue.h>

#include <atomic>
#include <cassert>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace runnel::rt {

/// Throws std::invalid_argument unless both are positive; returns `producers`.
int check_event_queue(int capacity, int producers);

/// Lock-free queue of fixed room for a fixed number of producer threads. Each producer's memory is
/// allocated by the constructor, so pushing never allocates, and none can take another's room.
/// Events of one producer stay in order.
template <class T>
class EventQueue {
  static_assert(std::is_trivially_copyable_v<T>, "events are copied between threads as bytes");
  using Queue = moodycamel::ConcurrentQueue<T>;

 public:
  /// One producer thread's door; must not outlive the queue.
  class Producer {
   public:
    /// False, and counted, if there is no room. Real-time safe; one thread.
    bool try_push(const T& event) noexcept {
      if (queue_->queue_.try_enqueue(*token_, event)) return true;
      queue_->dropped_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }

   private:
    friend class EventQueue;
    Producer(EventQueue* queue, const moodycamel::ProducerToken* token)
        : queue_(queue), token_(token) {}

    EventQueue* queue_;
    const moodycamel::ProducerToken* token_;
  };

  /// Room for at least `capacity` events of each of `producers`. Throws std::invalid_argument.
  explicit EventQueue(int capacity, int producers = 1)
      : queue_(0, std::size_t(check_event_queue(capacity, producers)), 0) {
    constexpr int kBlock = int(Queue::BLOCK_SIZE);
    // One block more, because the oldest and the newest may both be half used.
    const int prefill = ((capacity + kBlock - 1) / kBlock + 1) * kBlock;
    tokens_.reserve(std::size_t(producers));
    for (int i = 0; i < producers; ++i) {
      // A producer keeps every block that it has once filled; what the pool has left over is
      // little.
      tokens_.emplace_back(queue_);
      for (int k = 0; k < prefill; ++k) queue_.enqueue(tokens_.back(), T{});
    }
    for (T event; queue_.try_dequeue(event);) {
    }
  }

  /// The door of producer `index`, 0 to producers − 1. Any thread.
  Producer producer(int index = 0) noexcept {
    assert(index >= 0 && index < int(tokens_.size()));
    return {this, &tokens_[std::size_t(index)]};
  }

  /// False if there is nothing. Any thread, real-time safe.
  bool try_pop(T& event) noexcept { return queue_.try_dequeue(event); }

  /// Events lost for want of room. Any thread.
  std::int64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  Queue queue_;
  std::vector<moodycamel::ProducerToken> tokens_;
  std::atomic<std::int64_t> dropped_{0};
};

}  // namespace runnel::rt
