#include "launcher/svg_plot.h"

#include <gtest/gtest.h>

#include <cmath>

namespace trireme {
namespace {

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

TEST(SvgPlot, DrawsABarPerValueOnEachPanelsOwnScale) {
  const std::string svg =
      bar_plot_svg("Title", "below", {{"fast", {{"a", 10, "ten"}, {"b", 5, "five"}}}, {"slow", {{"a", 0.1, "0.1"}}}});
  EXPECT_EQ(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0), 0u);
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
  EXPECT_EQ(count(svg, "<rect"), 1u + 3);  // the background
  EXPECT_EQ(count(svg, "height=\"180.0\""), 2u);
  EXPECT_EQ(count(svg, "height=\"90.0\""), 1u);
  for (const char* text : {">Title<", ">below<", ">fast<", ">slow<", ">a<", ">b<", ">ten<", ">five<", ">0.1<"})
    EXPECT_NE(svg.find(text), std::string::npos) << text;
}

TEST(SvgPlot, EscapesTextAndSurvivesEmptyPanelsAndOddValues) {
  const std::string svg =
      bar_plot_svg("a < b & c", "", {{"none", {}}, {"zeros", {{"x", 0, "0"}, {"y", NAN, "?"}, {"z", -1, "-1"}}}});
  EXPECT_NE(svg.find("a &lt; b &amp; c"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(count(svg, "height=\"0.0\""), 3u);
}

}  // namespace
}  // namespace trireme
