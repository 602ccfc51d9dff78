#include "gateway/http/page/chat_page.h"

#include "generated/chat_page.h"

namespace trireme {

std::string_view chat_page() { return {reinterpret_cast<const char*>(kChatPageBytes), sizeof kChatPageBytes}; }

}  // namespace trireme
