#pragma once
// Small bar plots as SVG text: panels side by side, each with its own scale from zero.

#include <string>
#include <vector>

namespace trireme {

struct Bar {
  std::string label;  // under the bar; bars of the same place in each panel have one colour
  double value = 0;   // 0 or more; what is not finite is drawn as 0
  std::string text;   // above the bar
};

struct BarPanel {
  std::string title;
  std::vector<Bar> bars;
};

std::string bar_plot_svg(const std::string& title, const std::string& subtitle, const std::vector<BarPanel>& panels);

}  // namespace trireme
