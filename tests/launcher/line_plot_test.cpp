#include "launcher/line_plot.h"

#include <gtest/gtest.h>

#include <cmath>

namespace trireme {
namespace {

TEST(LinePlot, DrawsEveryLineWithItsAxes) {
  const std::string svg = line_plot_svg(
      "Ti<tle", "below",
      {{"One", "s", "ms", {{"a", {{0, 0}, {10, 40}}}}}, {"Two", "s", "ms", {{"b", {}}, {"c", {{1, NAN}, {2, -1}}}}}});
  EXPECT_EQ(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0), 0u);
  for (const char* text : {">Ti&lt;tle<", ">below<", ">One<", ">Two<", ">10<", ">40<", ">b<", ">c<"})
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  EXPECT_NE(svg.find("<polyline points=\"78.0,276.0 "), std::string::npos) << svg;  // the origin of the first panel
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

}  // namespace
}  // namespace trireme
