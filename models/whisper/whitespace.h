// ASCII white space around text.
#pragma once

#include <string_view>

namespace runnel::models::whisper {

constexpr std::string_view strip(std::string_view text) noexcept {
  constexpr std::string_view kSpace = " \t\n\r\f\v";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

}  // namespace runnel::models::whisper
