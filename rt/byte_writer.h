// Writing all of a span to a file descriptor, or saying why not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace runnel::rt {

/// Throws std::system_error with the errno of the first write that failed; the bytes before it are
/// written then.
void write_all(int descriptor, std::span<const std::byte> bytes);
void write_all(int descriptor, std::string_view text);

/// The same at a place in a file, of which it doesn't move the position.
void write_all_at(int descriptor, std::span<const std::byte> bytes, std::int64_t position);

/// "12.34 s", for messages.
std::string format_seconds(std::int64_t frames, int rate_hz);

}  // namespace runnel::rt
