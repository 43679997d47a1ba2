// What an exception says to people.
#pragma once

#include <exception>
#include <new>
#include <string>

namespace runnel::rt {

/// Its what(), or "out of memory" for std::bad_alloc, whose own word is its type's name.
inline std::string reason(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) ? "out of memory" : error.what();
}

}  // namespace runnel::rt
