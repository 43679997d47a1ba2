// Small helpers for what people read: tables, durations, terminals.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::apps {

/// "12.34": fixed, `digits` behind the point.
std::string fixed(double value, int digits);

/// Columns as wide as their widest cell; the first row is the heading. Controls in cells become
/// spaces. Columns whose index is in `right` are aligned right.
std::string table(std::vector<std::vector<std::string>> rows, const std::vector<int>& right = {});

/// Characters that a terminal shows for UTF-8 text (no wide ones).
int display_width(std::string_view text);

bool is_terminal(std::FILE* file);
/// A terminal that colours and moves its cursor, and nobody said that it must not: not with
/// TERM=dumb or NO_COLOR (no-color.org).
bool takes_escapes(std::FILE* file);
/// Neither TERM=dumb nor NO_COLOR.
bool may_escape();

/// Each byte that is part of no UTF-8 as U+FFFD.
std::string valid_utf8(std::string_view text);

/// Valid, with spaces for control characters and line breaks, so that text cannot end a line or
/// command a terminal.
std::string without_controls(std::string_view text);
/// The same, and trimmed.
std::string one_line(std::string_view text);

/// The valid text with &, <, > and quotes as HTML entities.
std::string html_escape(std::string_view text);

}  // namespace runnel::apps
