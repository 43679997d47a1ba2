// What the pages of `runnel latency` and `runnel bench live` share: one file, inline SVG and CSS,
// nothing from elsewhere, light and dark.
#pragma once

#include <string>

namespace runnel::apps {

/// With one digit behind the point unless it says otherwise.
std::string number(double x, int digits = 1);

/// Up to and with <main>. `style`: rules besides those that all pages share; colours are the
/// variables --ink, --dim, --paper, --card, --line, --bad and --a to --d.
std::string page_head(const std::string& title, const std::string& style = {});
/// Closes what page_head opened.
std::string page_foot(const std::string& text);

/// A large number and what it is; both may be HTML.
std::string figure(const std::string& big, const std::string& small);
/// At least 1.5 wide, with a tooltip.
std::string rectangle(double x, double y, double width, double height, const std::string& color,
                      double opacity, const std::string& title);

}  // namespace runnel::apps
