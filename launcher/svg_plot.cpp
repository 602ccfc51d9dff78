#include "launcher/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace trireme {
namespace {

// Pixels. A bar's column holds some eleven characters of its label.
constexpr double kMargin = 24, kColumn = 72, kBar = 44, kPanelGap = 36, kBars = 180, kHead = 62, kPanelTitle = 44;
constexpr double kFoot = 44;
constexpr const char* kColours[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"};

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

std::string text_at(double x, double y, int size, const char* style, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{}\" {}>{}</text>\n", x, y, size, style,
                     escaped(text));
}

double drawn_value(const Bar& bar) { return std::isfinite(bar.value) ? std::max(bar.value, 0.0) : 0; }

double width_of(const BarPanel& panel) { return kColumn * double(std::max<size_t>(panel.bars.size(), 1)); }

std::string panel_svg(const BarPanel& panel, double left) {
  constexpr const char* kCentred = "text-anchor=\"middle\"";
  constexpr const char* kBold = "text-anchor=\"middle\" font-weight=\"bold\"";
  const double top = kHead + kPanelTitle, base = top + kBars;
  double most = 0;
  for (const Bar& bar : panel.bars) most = std::max(most, drawn_value(bar));
  std::string out = text_at(left + width_of(panel) / 2, kHead + 16, 14, kBold, panel.title);
  for (size_t index = 0; index < panel.bars.size(); ++index) {
    const Bar& bar = panel.bars[index];
    const double middle = left + (double(index) + 0.5) * kColumn;
    const double height = most > 0 ? drawn_value(bar) / most * kBars : 0;
    out += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"/>\n",
                       middle - kBar / 2, base - height, kBar, height, kColours[index % std::size(kColours)]);
    out += text_at(middle, base - height - 6, 13, kCentred, bar.text);
    out += text_at(middle, base + 18, 12, kCentred, bar.label);
  }
  out += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#444\"/>\n", left, base,
                     left + width_of(panel), base);
  return out;
}

}  // namespace

std::string bar_plot_svg(const std::string& title, const std::string& subtitle, const std::vector<BarPanel>& panels) {
  std::string body;
  double left = kMargin;
  for (const BarPanel& panel : panels) {
    body += panel_svg(panel, left);
    left += width_of(panel) + kPanelGap;
  }
  const double width = std::max(left - kPanelGap + kMargin, 480.0);
  const double height = kHead + kPanelTitle + kBars + kFoot;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"Helvetica, Arial, DejaVu Sans, sans-serif\" fill=\"#222\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      width, height);
  out += text_at(kMargin, 28, 18, "font-weight=\"bold\"", title);
  out += text_at(kMargin, 48, 12, "fill=\"#555\"", subtitle);
  return out + body + "</svg>\n";
}

}  // namespace trireme
