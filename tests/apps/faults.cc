// Preloaded into the program under test: what the system refuses is decided by RUNNEL_FAULTS,
//
//   write:TEXT:K   the K-th write, and all after it, to a file whose path holds TEXT: the disk is
//   full thread:K       the K-th thread and all after it descriptor:K   the K-th descriptor and all
//   after it, as far as the program itself asks memory:K       the K-th operator new alone, counted
//   from main on
//
// and the file named by RUNNEL_FAULTS_MET says that it happened.

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

enum class Kind { kNone, kWrite, kThread, kDescriptor, kMemory };

// Read by the first call, which the program's own static initialisers may make.
struct Fault {
  Kind kind = Kind::kNone;
  char text[64] = "";
  long number = 0;
};

Fault read_fault() {
  Fault fault;
  const char* rule = std::getenv("RUNNEL_FAULTS");
  if (rule == nullptr) return fault;
  if (std::sscanf(rule, "write:%63[^:]:%ld", fault.text, &fault.number) == 2) {
    fault.kind = Kind::kWrite;
  } else if (std::sscanf(rule, "thread:%ld", &fault.number) == 1) {
    fault.kind = Kind::kThread;
  } else if (std::sscanf(rule, "descriptor:%ld", &fault.number) == 1) {
    fault.kind = Kind::kDescriptor;
  } else if (std::sscanf(rule, "memory:%ld", &fault.number) == 1) {
    fault.kind = Kind::kMemory;
  }
  return fault;
}

const Fault& fault() {
  static const Fault read = read_fault();
  return read;
}

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

void met() {
  const char* path = std::getenv("RUNNEL_FAULTS_MET");
  if (path == nullptr) return;
  const int descriptor = real<int(const char*, int, ...)>("open")(path, O_WRONLY | O_CREAT, 0600);
  if (descriptor >= 0) close(descriptor);
}

using Main = int(int, char**, char**);
Main* program_main = nullptr;
std::atomic<bool> main_has_begun{false};

int begin_main(int count, char** words, char** environment) {
  main_has_begun = true;
  return program_main(count, words, environment);
}

/// Counts a request of this kind; whether it is refused.
bool refused(Kind kind) {
  static std::atomic<long> requests{0};
  if (!main_has_begun || fault().kind != kind) return false;
  const long request = ++requests;
  if (request < fault().number || (kind == Kind::kMemory && request > fault().number)) return false;
  met();
  return true;
}

bool disk_is_full(int descriptor) {
  if (fault().kind != Kind::kWrite) return false;
  char link[32];
  char path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return false;
  path[size] = '\0';
  if (std::strstr(path, fault().text) == nullptr) return false;
  if (!refused(Kind::kWrite)) return false;
  errno = ENOSPC;
  return true;
}

}  // namespace

// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name)
extern "C" {

int __libc_start_main(Main* main, int count, char** words, void (*init)(), void (*end)(),
                      void (*loader_end)(), void* stack_end) {
  using Start = int(Main*, int, char**, void (*)(), void (*)(), void (*)(), void*);
  program_main = main;
  return real<Start>("__libc_start_main")(begin_main, count, words, init, end, loader_end,
                                          stack_end);
}

ssize_t write(int descriptor, const void* bytes, std::size_t size) {
  static const auto next = real<ssize_t(int, const void*, std::size_t)>("write");
  return disk_is_full(descriptor) ? -1 : next(descriptor, bytes, size);
}

ssize_t pwrite64(int descriptor, const void* bytes, std::size_t size, off64_t offset) {
  static const auto next = real<ssize_t(int, const void*, std::size_t, off64_t)>("pwrite64");
  return disk_is_full(descriptor) ? -1 : next(descriptor, bytes, size, offset);
}

ssize_t pwrite(int descriptor, const void* bytes, std::size_t size, off_t offset) {
  return pwrite64(descriptor, bytes, size, offset);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) {
  static const auto next =
      real<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  return refused(Kind::kThread) ? EAGAIN : next(thread, attributes, run, argument);
}

int open(const char* path, int flags, ...) {
  static const auto next = real<int(const char*, int, ...)>("open");
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (refused(Kind::kDescriptor)) {
    errno = EMFILE;
    return -1;
  }
  return next(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open(path, flags, mode);
}

FILE* fopen64(const char* path, const char* mode) {
  static const auto next = real<FILE*(const char*, const char*)>("fopen64");
  if (refused(Kind::kDescriptor)) {
    errno = EMFILE;
    return nullptr;
  }
  return next(path, mode);
}

FILE* fopen(const char* path, const char* mode) { return fopen64(path, mode); }

int eventfd(unsigned value, int flags) {
  static const auto next = real<int(unsigned, int)>("eventfd");
  if (refused(Kind::kDescriptor)) {
    errno = EMFILE;
    return -1;
  }
  return next(value, flags);
}

}  // extern "C"
// NOLINTEND

void* operator new(std::size_t size) {
  void* memory = refused(Kind::kMemory) ? nullptr : std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
