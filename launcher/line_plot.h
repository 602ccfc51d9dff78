#pragma once
// Line plots as SVG text: panels in rows of two, each with its own scales.

#include <string>
#include <utility>
#include <vector>

namespace trireme {

struct Line {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x ascending; what is not finite is left out
};

struct LinePanel {
  std::string title, x_label, y_label;
  std::vector<Line> lines;
};

std::string line_plot_svg(const std::string& title, const std::string& subtitle, const std::vector<LinePanel>& panels);

}  // namespace trireme
