#include "gateway/http/tls.h"

#include "base/error.h"

#if TRIREME_WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <limits>
#endif

namespace trireme {

#if TRIREME_WITH_TLS
namespace {

struct Free {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* session) const { SSL_free(session); }
};

[[noreturn]] void fail(const std::string& what) {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  throw ConfigError(what + ": " + text.data());
}

class OpenSslSession final : public TlsSession {
 public:
  explicit OpenSslSession(SSL_CTX* context) : session_(SSL_new(context)) {
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (!session_ || !in || !out) throw Error("out of memory for a TLS session");
    SSL_set_bio(session_.get(), in, out);
    SSL_set_accept_state(session_.get());
  }

  bool receive(std::string_view ciphertext, std::string& plaintext) override {
    ERR_clear_error();
    if (BIO_write(SSL_get_rbio(session_.get()), ciphertext.data(), int(ciphertext.size())) != int(ciphertext.size())) {
      return false;
    }
    std::array<char, 16 << 10> buffer;
    for (;;) {
      const int count = SSL_read(session_.get(), buffer.data(), int(buffer.size()));
      if (count <= 0) return SSL_get_error(session_.get(), count) == SSL_ERROR_WANT_READ;
      plaintext.append(buffer.data(), size_t(count));
    }
  }

  void send(std::string_view plaintext) override {
    ERR_clear_error();
    while (!plaintext.empty()) {
      const int part = int(std::min<size_t>(plaintext.size(), std::numeric_limits<int>::max()));
      if (SSL_write(session_.get(), plaintext.data(), part) != part) return;  // the peer broke it: reading says so
      plaintext.remove_prefix(size_t(part));
    }
  }

  void close() override {
    ERR_clear_error();
    SSL_shutdown(session_.get());
  }

  void take_output(std::string& ciphertext) override {
    char* data = nullptr;
    BIO* out = SSL_get_wbio(session_.get());
    const long count = BIO_get_mem_data(out, &data);
    if (count <= 0) return;
    ciphertext.append(data, size_t(count));
    BIO_reset(out);
  }

 private:
  std::unique_ptr<SSL, Free> session_;
};

int select_http_1_1(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                    unsigned int offered_size, void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kOurs, sizeof(kOurs) - 1, offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

class OpenSslContext final : public TlsContext {
 public:
  explicit OpenSslContext(const TlsOptions& options) : context_(SSL_CTX_new(TLS_server_method())) {
    SSL_CTX* context = context_.get();
    if (!context) fail("cannot start TLS");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(context, select_http_1_1, nullptr);
    if (SSL_CTX_use_certificate_chain_file(context, options.certfile.c_str()) != 1) {
      fail("--ssl-certfile " + options.certfile);
    }
    if (SSL_CTX_use_PrivateKey_file(context, options.keyfile.c_str(), SSL_FILETYPE_PEM) != 1) {
      fail("--ssl-keyfile " + options.keyfile);
    }
    if (SSL_CTX_check_private_key(context) != 1) fail("--ssl-keyfile does not fit --ssl-certfile");
    if (options.cert_reqs != 0) ask_for_client_certificates(options);
  }

  std::unique_ptr<TlsSession> accept() override { return std::make_unique<OpenSslSession>(context_.get()); }

 private:
  void ask_for_client_certificates(const TlsOptions& options) {
    SSL_CTX* context = context_.get();
    if (SSL_CTX_load_verify_locations(context, options.ca_certs.c_str(), nullptr) != 1) {
      fail("--ssl-ca-certs " + options.ca_certs);
    }
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(options.ca_certs.c_str()));
    static constexpr unsigned char kSessionContext[] = "trireme";
    SSL_CTX_set_session_id_context(context, kSessionContext, sizeof(kSessionContext) - 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (options.cert_reqs == 2 ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
  }

  std::unique_ptr<SSL_CTX, Free> context_;
};

}  // namespace

std::shared_ptr<TlsContext> load_tls_context(const TlsOptions& options) {
  if (options.certfile.empty() || options.keyfile.empty()) {
    throw ConfigError("TLS needs both --ssl-certfile and --ssl-keyfile");
  }
  if (options.cert_reqs < 0 || options.cert_reqs > 2) throw ConfigError("--ssl-cert-reqs must be 0, 1 or 2");
  if (options.cert_reqs != 0 && options.ca_certs.empty()) {
    throw ConfigError("--ssl-cert-reqs needs --ssl-ca-certs: who signs the clients' certificates");
  }
  return std::make_shared<OpenSslContext>(options);
}

#else

std::shared_ptr<TlsContext> load_tls_context(const TlsOptions&) {
  throw ConfigError("this trireme was built without OpenSSL, so --ssl-* cannot be honoured: install libssl-dev and build "
                    "again, or let a proxy in front of it speak TLS");
}

#endif

}  // namespace trireme
