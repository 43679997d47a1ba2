#include "engine/page_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

#include "engine/sanitizer.h"

namespace runnel::engine {
namespace {

constexpr std::size_t kHugePage = std::size_t(2) << 20;

}  // namespace

PageBuffer::PageBuffer(std::size_t size, bool huge) : size_(size) {
  if (size == 0) return;
  if (size > std::size_t(PTRDIFF_MAX)) throw std::bad_alloc();
  if constexpr (kAddressSanitizer) {  // the heap's memory has guards at both ends
    data_ = static_cast<std::byte*>(::operator new(size, std::align_val_t(4096)));
    std::memset(data_, 0, size);
    return;
  }
  huge = huge && size >= kHugePage;
  // Huge pages need addresses that are multiples of theirs; what is too much goes back.
  const std::size_t page = 4096, whole = (size + page - 1) / page * page;
  const std::size_t mapped = whole + (huge ? kHugePage : 0);
  void* base = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(base);
  if (!huge) return;
  const std::size_t before = (0 - reinterpret_cast<std::uintptr_t>(base)) % kHugePage;
  if (before > 0) ::munmap(base, before);
  data_ += before;
  if (before < kHugePage) ::munmap(data_ + whole, kHugePage - before);
#if defined(MADV_HUGEPAGE)
  ::madvise(data_, whole, MADV_HUGEPAGE);  // a wish: ordinary pages do as well
#endif
}

PageBuffer::~PageBuffer() {
  if (!data_) return;
  if constexpr (kAddressSanitizer) {
    ::operator delete(data_, std::align_val_t(4096));
  } else {
    ::munmap(data_, size_);
  }
}

}  // namespace runnel::engine
