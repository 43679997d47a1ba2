// Small helpers for what people read: tables, durations, terminals.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::apps {

/// "12.34": fixed, `digits` behind the point.
std::string fixed(double value, int digits);

/// Columns as wide as their widest cell; the first row is the heading. Cells are UTF-8. Columns
/// whose index is in `right` are aligned right.
std::string table(const std::vector<std::vector<std::string>>& rows,
                  const std::vector<int>& right = {});

/// Characters that a terminal shows for UTF-8 text (no wide ones).
int display_width(std::string_view text);

bool is_terminal(std::FILE* file);

/// Control characters and line breaks as spaces, so that text cannot end a line or command a
/// terminal.
std::string without_controls(std::string_view text);
/// The same, and trimmed.
std::string one_line(std::string_view text);

/// The text with &, <, > and quotes as HTML entities.
std::string html_escape(std::string_view text);

}  // namespace runnel::apps
