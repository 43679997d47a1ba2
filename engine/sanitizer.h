// What builds under AddressSanitizer do besides; nothing in others.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define RUNNEL_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RUNNEL_ADDRESS_SANITIZER 1
#endif
#endif

#if defined(RUNNEL_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace runnel::engine {

#if defined(RUNNEL_ADDRESS_SANITIZER)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

/// Of `size` bytes at `data`, only the first `used` may be touched until the next call.
inline void allow_only([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t used,
                       [[maybe_unused]] std::size_t size) noexcept {
#if defined(RUNNEL_ADDRESS_SANITIZER)
  __asan_unpoison_memory_region(data, used);
  __asan_poison_memory_region(static_cast<const char*>(data) + used, size - used);
#endif
}

}  // namespace runnel::engine
