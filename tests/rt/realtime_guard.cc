#include "tests/rt/realtime_guard.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNNEL_INTERPOSES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RUNNEL_INTERPOSES 0
#else
#define RUNNEL_INTERPOSES 1
#endif
#else
#define RUNNEL_INTERPOSES 1
#endif

namespace {

// Plain thread-locals of the program itself: reading them neither allocates nor locks.
struct Violation {
  const char* name = "";
  int count = 0;
};
constexpr int kMaxNames = 64;
thread_local int guard_depth = 0;
thread_local int violation_names = 0;
thread_local Violation violations[kMaxNames];

[[maybe_unused]] void note(const char* name) noexcept {
  if (guard_depth == 0) return;
  for (int i = 0; i < violation_names; ++i) {
    if (std::strcmp(violations[i].name, name) == 0) {
      ++violations[i].count;
      return;
    }
  }
  if (violation_names < kMaxNames) violations[violation_names++] = {name, 1};
}

}  // namespace

#if RUNNEL_INTERPOSES

// glibc's allocator under its other name, because dlsym itself allocates.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t size) {
  note("malloc");
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  note("calloc");
  return __libc_calloc(count, size);
}
void* realloc(void* block, std::size_t size) {
  note("realloc");
  return __libc_realloc(block, size);
}
void free(void* block) {
  // free(nullptr) does nothing, and destructors of empty containers call it.
  if (block != nullptr) note("free");
  __libc_free(block);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  note("aligned_alloc");
  return __libc_memalign(alignment, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  note("memalign");
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t size) {
  note("posix_memalign");
  *block = __libc_memalign(alignment, size);
  return *block == nullptr ? ENOMEM : 0;
}
}  // extern "C"

namespace {

/// The function that ours hides.
template <class Function>
Function hidden(const char* name) {
  void* found = nullptr;
#if defined(__x86_64__)
  // These exist in an older version too, with another layout of pthread_cond_t.
  if (std::strncmp(name, "pthread_cond_", 13) == 0) found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
#endif
  if (found == nullptr) found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) std::abort();
  Function function;
  std::memcpy(&function, &found, sizeof function);
  return function;
}

}  // namespace

// A function of fixed arguments. The original is looked up once, outside any guard in practice: a
// guarded call is a failed test anyway. A plain static would lock, so an atomic holds it.
#define RUNNEL_INTERPOSE(result, name, parameters, arguments)     \
  extern "C" result name parameters {                             \
    note(#name);                                                  \
    using Function = result(*) parameters;                        \
    static std::atomic<Function> original{nullptr};               \
    Function function = original.load(std::memory_order_relaxed); \
    if (function == nullptr) {                                    \
      function = hidden<Function>(#name);                         \
      original.store(function, std::memory_order_relaxed);        \
    }                                                             \
    return function arguments;                                    \
  }

using ThreadMutex = pthread_mutex_t;
using Condition = pthread_cond_t;
using Clock = clockid_t;

RUNNEL_INTERPOSE(int, pthread_mutex_lock, (ThreadMutex * m), (m))
RUNNEL_INTERPOSE(int, pthread_mutex_trylock, (ThreadMutex * m), (m))
RUNNEL_INTERPOSE(int, pthread_mutex_unlock, (ThreadMutex * m), (m))
RUNNEL_INTERPOSE(int, pthread_cond_wait, (Condition * c, ThreadMutex* m), (c, m))
RUNNEL_INTERPOSE(int, pthread_cond_timedwait, (Condition * c, ThreadMutex* m, const timespec* t),
                 (c, m, t))
RUNNEL_INTERPOSE(int, pthread_cond_signal, (Condition * c), (c))
RUNNEL_INTERPOSE(int, pthread_cond_broadcast, (Condition * c), (c))
RUNNEL_INTERPOSE(int, pthread_rwlock_rdlock, (pthread_rwlock_t * l), (l))
RUNNEL_INTERPOSE(int, pthread_rwlock_wrlock, (pthread_rwlock_t * l), (l))
RUNNEL_INTERPOSE(int, pthread_spin_lock, (pthread_spinlock_t * l), (l))
RUNNEL_INTERPOSE(int, pthread_once, (pthread_once_t * o, void (*f)()), (o, f))
RUNNEL_INTERPOSE(int, sem_wait, (sem_t * s), (s))
RUNNEL_INTERPOSE(int, sem_timedwait, (sem_t * s, const timespec* t), (s, t))
RUNNEL_INTERPOSE(int, sem_post, (sem_t * s), (s))
RUNNEL_INTERPOSE(unsigned, sleep, (unsigned s), (s))
RUNNEL_INTERPOSE(int, usleep, (useconds_t us), (us))
RUNNEL_INTERPOSE(int, nanosleep, (const timespec* t, timespec* r), (t, r))
RUNNEL_INTERPOSE(int, clock_nanosleep, (Clock c, int f, const timespec* t, timespec* r),
                 (c, f, t, r))
RUNNEL_INTERPOSE(int, sched_yield, (), ())
RUNNEL_INTERPOSE(ssize_t, read, (int fd, void* b, std::size_t n), (fd, b, n))
RUNNEL_INTERPOSE(ssize_t, write, (int fd, const void* b, std::size_t n), (fd, b, n))
RUNNEL_INTERPOSE(ssize_t, pread, (int fd, void* b, std::size_t n, off_t o), (fd, b, n, o))
RUNNEL_INTERPOSE(ssize_t, pwrite, (int fd, const void* b, std::size_t n, off_t o), (fd, b, n, o))
RUNNEL_INTERPOSE(int, close, (int fd), (fd))
RUNNEL_INTERPOSE(int, poll, (pollfd * p, nfds_t n, int t), (p, n, t))
RUNNEL_INTERPOSE(FILE*, fopen, (const char* p, const char* m), (p, m))
RUNNEL_INTERPOSE(int, fclose, (FILE * f), (f))
RUNNEL_INTERPOSE(int, fflush, (FILE * f), (f))
RUNNEL_INTERPOSE(int, puts, (const char* s), (s))
RUNNEL_INTERPOSE(int, fputs, (const char* s, FILE* f), (s, f))
RUNNEL_INTERPOSE(int, fputc, (int c, FILE* f), (c, f))
RUNNEL_INTERPOSE(int, putchar, (int c), (c))
RUNNEL_INTERPOSE(std::size_t, fwrite, (const void* b, std::size_t s, std::size_t n, FILE* f),
                 (b, s, n, f))
RUNNEL_INTERPOSE(std::size_t, fread, (void* b, std::size_t s, std::size_t n, FILE* f), (b, s, n, f))
RUNNEL_INTERPOSE(int, vfprintf, (FILE * f, const char* t, va_list a), (f, t, a))
RUNNEL_INTERPOSE(void*, mmap, (void* p, std::size_t n, int a, int f, int fd, off_t o),
                 (p, n, a, f, fd, o))
RUNNEL_INTERPOSE(int, munmap, (void* p, std::size_t n), (p, n))

// The variadic ones.
extern "C" int printf(const char* format, ...) {
  note("printf");
  va_list arguments;
  va_start(arguments, format);
  const int count = vfprintf(stdout, format, arguments);
  va_end(arguments);
  return count;
}

extern "C" int fprintf(FILE* file, const char* format, ...) {
  note("fprintf");
  va_list arguments;
  va_start(arguments, format);
  const int count = vfprintf(file, format, arguments);
  va_end(arguments);
  return count;
}

extern "C" int open(const char* path, int flags, ...) {
  note("open");
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = va_arg(arguments, unsigned);  // unused without O_CREAT
  va_end(arguments);
  return int(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

extern "C" long syscall(long number, ...) noexcept {
  va_list arguments;
  va_start(arguments, number);
  std::array<long, 6> values;
  for (long& value : values) value = va_arg(arguments, long);  // those that are not there are noise
  va_end(arguments);
  if (number == SYS_futex) {
    const bool wakes = (values[1] & FUTEX_CMD_MASK) == FUTEX_WAKE;
    note(wakes ? "futex_wake" : "futex_wait");
  } else {
    note("syscall");
  }
  using Function = long (*)(long, ...);
  static std::atomic<Function> original{nullptr};
  Function function = original.load(std::memory_order_relaxed);
  if (function == nullptr) {
    function = hidden<Function>("syscall");
    original.store(function, std::memory_order_relaxed);
  }
  return function(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}

#endif  // RUNNEL_INTERPOSES

namespace runnel::rt::testing {

RealtimeGuard::RealtimeGuard() noexcept { ++guard_depth; }

RealtimeGuard::~RealtimeGuard() { --guard_depth; }

bool RealtimeGuard::available() noexcept { return RUNNEL_INTERPOSES; }

std::string RealtimeGuard::take_report() {
  std::string report;
  for (int i = 0; i < violation_names; ++i) {
    if (!report.empty()) report += ", ";
    report += violations[i].name + std::string(" ×") + std::to_string(violations[i].count);
  }
  violation_names = 0;
  return report;
}

namespace {

constexpr int kMaxCalls = 64;
constexpr int kCannotFilter = 3;     // exit status of the child
constexpr unsigned kPatienceS = 60;  // an endless loop around a failing call ends with SIGALRM

/// Shared with the child, which may not write to a pipe.
struct CallLog {
  std::atomic<int> count;
  std::atomic<bool> completed;
  std::array<std::int64_t, kMaxCalls> calls;
};
CallLog* call_log = nullptr;

[[maybe_unused]] void on_trapped_call(int /*signal*/, siginfo_t* info, void* context) {
  const int at = call_log->count.fetch_add(1);
  if (at < kMaxCalls) call_log->calls[std::size_t(at)] = info->si_syscall;
  auto* machine = static_cast<ucontext_t*>(context);
#if defined(__x86_64__)
  machine->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
#elif defined(__aarch64__)
  machine->uc_mcontext.regs[0] = std::uint64_t(-ENOSYS);
#endif
}

/// Traps everything but the return from the handler and the exit.
[[maybe_unused]] bool install_filter() {
#if defined(__x86_64__) || defined(__aarch64__)
  constexpr auto allow = [](std::uint32_t number) {
    return std::array<sock_filter, 2>{
        sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number},
        sock_filter{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
  };
  const auto sigreturn = allow(SYS_rt_sigreturn);
  const auto exit_group = allow(SYS_exit_group);
  std::array<sock_filter, 6> filter = {
      sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
      sigreturn[0],
      sigreturn[1],
      exit_group[0],
      exit_group[1],
      sock_filter{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRAP},
  };
  const sock_fprog program{filter.size(), filter.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
#else
  return false;
#endif
}

}  // namespace

SystemCallReport trap_system_calls(const std::function<void()>& step) {
  SystemCallReport report;
  if (!RealtimeGuard::available()) {
    report.why_not = "system calls are not trapped under a sanitizer";
    return report;
  }
  void* shared =
      mmap(nullptr, sizeof(CallLog), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    report.why_not = "no shared memory";
    return report;
  }
  call_log = new (shared) CallLog{};
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    struct sigaction action {};
    action.sa_sigaction = on_trapped_call;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSYS, &action, nullptr);
    alarm(kPatienceS);
    if (!install_filter()) _exit(kCannotFilter);
    step();
    call_log->completed.store(true);
    _exit(0);
  }
  int status = 0;
  if (child > 0) waitpid(child, &status, 0);
  report.available = child > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == kCannotFilter);
  if (!report.available) report.why_not = "this system does not permit seccomp filters";
  report.completed = call_log->completed.load();
  const int count = std::min(call_log->count.load(), kMaxCalls);
  report.calls.assign(call_log->calls.begin(), call_log->calls.begin() + count);
  munmap(shared, sizeof(CallLog));
  call_log = nullptr;
  return report;
}

}  // namespace runnel::rt::testing
