#include "rt/event_queue.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>
#include <vector>

namespace runnel::rt {
namespace {

struct Event {
  int producer = 0;
  int number = 0;
};

TEST(EventQueue, KeepsTheOrderOfOneProducer) {
  EventQueue<Event> queue(100);
  auto producer = queue.producer();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(producer.try_push({0, i}));
  Event event;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(queue.try_pop(event));
    EXPECT_EQ(event.number, i);
  }
  EXPECT_FALSE(queue.try_pop(event));
}

TEST(EventQueue, HoldsItsCapacityOfEveryProducer) {
  for (const int capacity : {1, 10, 100, 5000}) {
    EventQueue<Event> queue(capacity, 2);
    auto first = queue.producer(0);
    auto second = queue.producer(1);
    for (int i = 0; i < capacity; ++i) ASSERT_TRUE(first.try_push({1, i})) << capacity << " " << i;
    for (int i = 0; i < capacity; ++i) ASSERT_TRUE(second.try_push({2, i})) << capacity << " " << i;
    EXPECT_EQ(queue.dropped(), 0);
  }
}

TEST(EventQueue, RefusesSizesThatMakeNoSense) {
  EXPECT_THROW(EventQueue<Event>(0), std::invalid_argument);
  EXPECT_THROW(EventQueue<Event>(10, 0), std::invalid_argument);
}

TEST(EventQueue, RefusesAndCountsWhatIsTooMuchAndRecovers) {
  EventQueue<Event> queue(50);
  auto producer = queue.producer();
  int accepted = 0;
  for (int i = 0; i < 10'000; ++i) accepted += producer.try_push({0, i});
  EXPECT_LT(accepted, 10'000);
  EXPECT_EQ(queue.dropped(), 10'000 - accepted);
  Event event;
  for (int round = 0; round < 10; ++round) {
    int popped = 0;
    while (queue.try_pop(event)) ++popped;
    EXPECT_GE(popped, 50);
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(producer.try_push({0, i}));
  }
}

TEST(EventQueue, CarriesEventsBetweenThreads) {
  constexpr int kEvents = 20'000;
  EventQueue<Event> queue(64, 2);
  std::vector<std::thread> threads;
  for (int id = 0; id < 2; ++id) {
    threads.emplace_back([&queue, id] {
      auto producer = queue.producer(id);
      for (int i = 0; i < kEvents; ++i) {
        while (!producer.try_push({id, i})) std::this_thread::yield();
      }
    });
  }
  std::vector<int> next(2, 0);
  Event event;
  while (next[0] + next[1] < 2 * kEvents) {
    if (!queue.try_pop(event)) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(event.number, next[std::size_t(event.producer)]++);
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace runnel::rt
