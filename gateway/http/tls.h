#pragma once
// TLS as a filter between bytes and bytes: it never touches a socket. OpenSSL stays in tls.cpp; a build without it
// refuses TlsOptions with the reason.

#include <memory>
#include <string>
#include <string_view>

#include "gateway/http/http_options.h"

namespace trireme {

// The server's end of one connection. One thread.
class TlsSession {
 public:
  virtual ~TlsSession() = default;
  // Ciphertext in; appends what it decrypts to. False: the session is broken or was closed by the peer.
  virtual bool receive(std::string_view ciphertext, std::string& plaintext) = 0;
  virtual void send(std::string_view plaintext) = 0;  // once a request has been received
  virtual void close() = 0;                           // says good-bye
  virtual void take_output(std::string& ciphertext) = 0;  // appends what must go to the peer
};

// Certificate and key. Any thread.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  virtual std::unique_ptr<TlsSession> accept() = 0;
};

// TLS 1.2 and later. Throws ConfigError naming the file and OpenSSL's reason.
std::shared_ptr<TlsContext> load_tls_context(const TlsOptions& options);

}  // namespace trireme
