#include "tests/rt/refusal.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

namespace runnel::rt::testing {
namespace {

std::atomic<bool> refuses{false};
std::atomic<Resource> refused_resource{Resource::kMemory};
std::atomic<long> left{0};  // requests until the one that is refused
std::atomic<long> blocks{0};

bool is_refused(Resource resource) noexcept {
  return refuses && refused_resource == resource && --left == 0;
}

}  // namespace

Refusal::Refusal(Resource resource, long at) noexcept {
  refused_resource = resource;
  left = at;
  refuses = true;
}

Refusal::~Refusal() { refuses = false; }

bool Refusal::met() noexcept { return left <= 0; }

long live_blocks() noexcept { return blocks; }

namespace {

void* allocate(std::size_t size) {
  void* block = is_refused(Resource::kMemory) ? nullptr : std::malloc(size > 0 ? size : 1);
  if (block == nullptr) throw std::bad_alloc();
  ++blocks;
  return block;
}

void release(void* block) noexcept {
  if (block != nullptr) --blocks;
  std::free(block);
}

}  // namespace
}  // namespace runnel::rt::testing

void* operator new(std::size_t size) { return runnel::rt::testing::allocate(size); }
void* operator new[](std::size_t size) { return runnel::rt::testing::allocate(size); }
void operator delete(void* block) noexcept { runnel::rt::testing::release(block); }
void operator delete[](void* block) noexcept { runnel::rt::testing::release(block); }
void operator delete(void* block, std::size_t) noexcept { runnel::rt::testing::release(block); }
void operator delete[](void* block, std::size_t) noexcept { runnel::rt::testing::release(block); }

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*run)(void*), void* argument) {
  using Create = int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto next = reinterpret_cast<Create*>(dlsym(RTLD_NEXT, "pthread_create"));
  if (runnel::rt::testing::is_refused(runnel::rt::testing::Resource::kThread)) return EAGAIN;
  return next(thread, attributes, run, argument);
}
