#include "launcher/line_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace trireme {
namespace {

// Pixels of a panel and of the page around it.
constexpr double kWidth = 420, kHeight = 260, kLeft = 62, kTop = 34, kRight = 14, kBottom = 44, kMargin = 16,
                 kHead = 60;
constexpr const char* kColours[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"};

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

std::string text_at(double x, double y, const char* style, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style, escaped(text));
}

// The step of 1, 2 or 5 times a power of ten that cuts `most` into at most five.
double tick_step(double most) {
  const double power = std::pow(10, std::floor(std::log10(most / 5)));
  for (double mantissa : {1.0, 2.0, 5.0})
    if (mantissa * power * 5 >= most) return mantissa * power;
  return 10 * power;
}

std::string tick_text(double value) {
  if (value >= 1e6) return fmt::format("{:g}M", value / 1e6);
  if (value >= 1e4) return fmt::format("{:g}k", value / 1e3);
  return fmt::format("{:g}", value);
}

struct Frame {
  double left, top;  // of the panel
  double most_x, most_y;
  double x(double value) const { return left + kLeft + value / most_x * (kWidth - kLeft - kRight); }
  double y(double value) const { return top + kHeight - kBottom - value / most_y * (kHeight - kTop - kBottom); }
};

std::string axes_svg(const LinePanel& panel, const Frame& frame) {
  std::string out = text_at(frame.left + kLeft, frame.top + 20, "font-size=\"14\" font-weight=\"bold\"", panel.title);
  const double right = frame.x(frame.most_x), base = frame.y(0);
  for (double value = 0, step = tick_step(frame.most_y); value <= frame.most_y * 1.0001; value += step) {
    out += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n", frame.x(0),
                       frame.y(value), right, frame.y(value));
    out += text_at(frame.x(0) - 6, frame.y(value) + 4, "font-size=\"11\" text-anchor=\"end\"", tick_text(value));
  }
  for (double value = 0, step = tick_step(frame.most_x); value <= frame.most_x * 1.0001; value += step)
    out += text_at(frame.x(value), base + 15, "font-size=\"11\" text-anchor=\"middle\"", tick_text(value));
  out += text_at((frame.x(0) + right) / 2, base + 32, "font-size=\"11\" fill=\"#555\" text-anchor=\"middle\"",
                 panel.x_label);
  out += text_at(right, frame.top + 20, "font-size=\"11\" fill=\"#555\" text-anchor=\"end\"", panel.y_label);
  return out;
}

std::string panel_svg(const LinePanel& panel, double left, double top) {
  double most_x = 0, most_y = 0;
  const auto drawn = [](const std::pair<double, double>& point) {
    return std::isfinite(point.first) && std::isfinite(point.second);
  };
  for (const Line& line : panel.lines)
    for (const auto& point : line.points)
      if (drawn(point)) {
        most_x = std::max(most_x, point.first);
        most_y = std::max(most_y, point.second);
      }
  const Frame frame{left, top, most_x > 0 ? most_x : 1, most_y > 0 ? most_y * 1.05 : 1};
  std::string out = axes_svg(panel, frame);
  for (size_t index = 0; index < panel.lines.size(); ++index) {
    const char* colour = kColours[index % std::size(kColours)];
    std::string points;
    for (const auto& point : panel.lines[index].points)
      if (drawn(point))
        points += fmt::format("{:.1f},{:.1f} ", frame.x(point.first), frame.y(std::max(point.second, 0.0)));
    out += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"/>\n", points, colour);
    if (panel.lines.size() > 1)
      out += text_at(frame.x(0) + 8 + 110 * double(index), top + kTop + 8,
                     fmt::format("font-size=\"11\" fill=\"{}\"", colour).c_str(), panel.lines[index].name);
  }
  return out;
}

}  // namespace

std::string line_plot_svg(const std::string& title, const std::string& subtitle, const std::vector<LinePanel>& panels) {
  std::string body;
  for (size_t index = 0; index < panels.size(); ++index)
    body += panel_svg(panels[index], kMargin + kWidth * double(index % 2), kHead + kHeight * double(index / 2));
  const double width = 2 * (kMargin + kWidth), height = kHead + kHeight * double((panels.size() + 1) / 2) + kMargin;
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} "
             "{1:.0f}\" "
             "font-family=\"Helvetica, Arial, DejaVu Sans, sans-serif\" fill=\"#222\">\n"
             "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
             width, height) +
         text_at(kMargin, 28, "font-size=\"18\" font-weight=\"bold\"", title) +
         text_at(kMargin, 48, "font-size=\"12\" fill=\"#555\"", subtitle) + body + "</svg>\n";
}

}  // namespace trireme
