#include "apps/page.h"

#include <algorithm>

#include "apps/text.h"

namespace runnel::apps {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6570;--paper:#fbfbfa;--card:#fff;--line:#dfe3e8;
--a:#2563eb;--b:#0d9488;--c:#d97706;--d:#7c3aed;--bad:#dc2626}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--dim:#9aa4af;--paper:#14171a;--card:#1c2024;
--line:#30363d;--a:#60a5fa;--b:#2dd4bf;--c:#fbbf24;--d:#a78bfa;--bad:#f87171}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:40px 20px 64px}
h1{font-size:28px;margin:0 0 4px}h2{font-size:18px;margin:0 0 4px}
p{color:var(--dim);margin:0 0 16px}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px 24px;
margin-top:20px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-top:24px}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 18px}
.figures b{display:block;font-size:26px;font-variant-numeric:tabular-nums}
.figures span{color:var(--dim);font-size:14px}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--dim);font:12px system-ui,sans-serif}svg .ink{fill:var(--ink)}
.grid{stroke:var(--line)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:6px 8px;border-bottom:1px solid var(--line)}
th{color:var(--dim);font-weight:500;font-size:14px}th:first-child,td:first-child{text-align:left}
footer{color:var(--dim);font-size:14px;margin-top:24px})";

}  // namespace

std::string number(double x, int digits) { return fixed(x, digits); }

std::string page_head(const std::string& title, const std::string& style) {
  return "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
         "<meta name='viewport' content='width=device-width,initial-scale=1'><title>" +
         html_escape(title) + "</title><style>" + kStyle + style + "</style></head><body><main>";
}

std::string page_foot(const std::string& text) {
  return "<footer>" + html_escape(text) + "</footer></main></body></html>\n";
}

std::string figure(const std::string& big, const std::string& small) {
  return "<div><b>" + big + "</b><span>" + small + "</span></div>";
}

std::string rectangle(double x, double y, double width, double height, const std::string& color,
                      double opacity, const std::string& title) {
  return "<rect rx='3' x='" + number(x) + "' y='" + number(y) + "' width='" +
         number(std::max(width, 1.5)) + "' height='" + number(height) + "' fill='" + color +
         "' opacity='" + number(opacity, 2) + "'><title>" + html_escape(title) + "</title></rect>";
}

}  // namespace runnel::apps
