#include "gateway/http/exchange.h"

#include "gateway/http/http_syntax.h"

namespace trireme {

const std::string* HttpRequest::header(std::string_view name) const {
  for (const HttpHeader& header : headers) {
    if (equals_ignore_case(header.name, name)) return &header.value;
  }
  return nullptr;
}

}  // namespace trireme
