#include "apps/text.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace runnel::apps {
namespace {

/// Bytes of the UTF-8 character that `text` begins with; 0: none (Unicode 15, table 3-7).
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  unsigned least = 0x80, most = 0xBF;  // of the second byte
  if (lead == 0xE0) least = 0xA0;      // not longer than needed
  if (lead == 0xED) most = 0x9F;       // no surrogates
  if (lead == 0xF0) least = 0x90;
  if (lead == 0xF4) most = 0x8F;  // up to U+10FFFF
  if (byte(1) < least || byte(1) > most) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

std::string fixed(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return buffer;
}

int display_width(std::string_view text) {
  // Every byte but UTF-8's continuations starts a character.
  return int(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string table(std::vector<std::vector<std::string>> rows, const std::vector<int>& right) {
  std::vector<int> widths;
  for (auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t c = 0; c < row.size(); ++c) {
      row[c] = without_controls(row[c]);
      widths[c] = std::max(widths[c], display_width(row[c]));
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string space(std::size_t(widths[c] - display_width(row[c])), ' ');
      const bool is_right = std::find(right.begin(), right.end(), int(c)) != right.end();
      line += (c > 0 ? "  " : "") + (is_right ? space + row[c] : row[c] + space);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

bool is_terminal(std::FILE* file) { return isatty(fileno(file)) == 1; }

bool may_escape() {
  const char* const terminal = std::getenv("TERM");
  const char* const no_color = std::getenv("NO_COLOR");
  const bool is_dumb = terminal && std::string_view(terminal) == "dumb";
  return !is_dumb && (!no_color || *no_color == '\0');
}

bool takes_escapes(std::FILE* file) { return is_terminal(file) && may_escape(); }

std::string valid_utf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const std::size_t length = character_length(text);
    if (length > 0) {
      valid += text.substr(0, length);
    } else {
      valid += "\xEF\xBF\xBD";
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return valid;
}

std::string without_controls(std::string_view bytes) {
  const std::string text = valid_utf8(bytes);
  std::string clean;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F in UTF-8: controls to some terminals.
    const bool is_c1 = c == 0xC2 && i + 1 < text.size() &&
                       (static_cast<unsigned char>(text[i + 1]) & 0xE0) == 0x80;
    if (is_c1) ++i;
    clean += is_c1 || c < 0x20 || c == 0x7F ? ' ' : text[i];
  }
  return clean;
}

std::string one_line(std::string_view text) {
  const std::string clean = without_controls(text);
  const auto first = clean.find_first_not_of(' ');
  if (first == std::string::npos) return {};
  return clean.substr(first, clean.find_last_not_of(' ') - first + 1);
}

std::string html_escape(std::string_view text) {
  std::string escaped;
  for (const char c : valid_utf8(text)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

}  // namespace runnel::apps
