#include "text/vocabulary.h"

namespace trireme {

std::vector<int32_t> byte_token_ids(const Vocabulary& vocabulary) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::vector<int32_t> ids;
  for (int byte = 0; byte < 256; ++byte)
    ids.push_back(vocabulary.find(std::string{'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'}));
  return ids;
}

}  // namespace trireme
