#include "gateway/http/page/chat_page.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace trireme {
namespace {

TEST(ChatPage, IsTheFileAndNeedsNothingFromOutside) {
  const std::string page(chat_page());
  EXPECT_EQ(page, read_text_file(TRIREME_SOURCE_DIR "/gateway/http/page/index.html"));
  for (const char* outside : {"http://", "https://", "src=", "@import", "url("})
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
}

}  // namespace
}  // namespace trireme
