#include "pgwire/tls.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace tide::pgwire {

namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;

constexpr long kTenYears = 60L * 60 * 24 * 3650;

Status openssl_error(Code code, std::string_view what) {
  char text[256] = "unknown error";
  if (unsigned long error = ERR_get_error(); error != 0)
    ERR_error_string_n(error, text, sizeof text);
  ERR_clear_error();
  return Status(code, fmt::format("{}: {}", what, text));
}

Result<std::string> content_of(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  if (size <= 0) return Status(Code::kBug, "OpenSSL wrote nothing");
  return std::string(data, static_cast<size_t>(size));
}

Status add_extension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  if (extension == nullptr) return openssl_error(Code::kBug, "make certificate extension");
  int added = X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  return added == 1 ? Status() : openssl_error(Code::kBug, "add certificate extension");
}

}  // namespace

Result<TlsIdentity> TlsIdentity::make_self_signed() {
  Key key(EVP_EC_gen("P-256"));
  Certificate certificate(X509_new());
  if (!key || !certificate) return openssl_error(Code::kBug, "make a key");
  uint64_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial >> 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), kTenYears);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  TIDE_TRY(
      add_extension(certificate.get(), NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1"));
  TIDE_TRY(add_extension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE"));
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0) {
    return openssl_error(Code::kBug, "sign a certificate");
  }
  Bio certificate_text(BIO_new(BIO_s_mem()));
  Bio key_text(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_text.get(), certificate.get()) != 1 ||
      PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
          1) {
    return openssl_error(Code::kBug, "write a certificate");
  }
  return TlsIdentity{TIDE_TRY(content_of(certificate_text.get())),
                     TIDE_TRY(content_of(key_text.get()))};
}

class TlsContext::Impl {
 public:
  std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>> context;
  std::string certificate_hash;
};

class TlsSession::Impl {
 public:
  std::unique_ptr<SSL, Deleter<SSL_free>> ssl;
  BIO* in = nullptr;   // owned by ssl
  BIO* out = nullptr;  // owned by ssl
};

TlsContext::TlsContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsContext::~TlsContext() = default;
TlsSession::TlsSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsSession::~TlsSession() = default;

Result<std::unique_ptr<TlsContext>> TlsContext::make(const TlsIdentity& identity) {
  auto impl = std::make_unique<Impl>();
  impl->context.reset(SSL_CTX_new(TLS_server_method()));
  if (!impl->context) return openssl_error(Code::kBug, "make a TLS context");
  SSL_CTX* context = impl->context.get();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);

  Bio certificate_text(
      BIO_new_mem_buf(identity.certificate.data(), static_cast<int>(identity.certificate.size())));
  Certificate certificate(PEM_read_bio_X509(certificate_text.get(), nullptr, nullptr, nullptr));
  if (!certificate) return openssl_error(Code::kInvalid, "read the TLS certificate");
  Bio key_text(BIO_new_mem_buf(identity.key.data(), static_cast<int>(identity.key.size())));
  Key key(PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
  if (!key) return openssl_error(Code::kInvalid, "read the TLS key");
  if (SSL_CTX_use_certificate(context, certificate.get()) != 1 ||
      SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return openssl_error(Code::kInvalid, "TLS certificate and key");
  }

  // RFC 5929: the hash of the certificate's signature, but SHA-256 in place of MD5 and SHA-1.
  int digest_nid = NID_undef;
  X509_get_signature_info(certificate.get(), &digest_nid, nullptr, nullptr, nullptr);
  const EVP_MD* digest = EVP_sha256();
  if (digest_nid != NID_undef && digest_nid != NID_md5 && digest_nid != NID_sha1) {
    if (const EVP_MD* found = EVP_get_digestbynid(digest_nid)) digest = found;
  }
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (X509_digest(certificate.get(), digest, hash, &size) != 1) {
    return openssl_error(Code::kBug, "hash the TLS certificate");
  }
  impl->certificate_hash.assign(reinterpret_cast<const char*>(hash), size);
  return std::unique_ptr<TlsContext>(new TlsContext(std::move(impl)));
}

const std::string& TlsContext::certificate_hash() const { return impl_->certificate_hash; }

Result<std::unique_ptr<TlsSession>> TlsContext::accept() const {
  auto impl = std::make_unique<TlsSession::Impl>();
  impl->ssl.reset(SSL_new(impl_->context.get()));
  Bio in(BIO_new(BIO_s_mem()));
  Bio out(BIO_new(BIO_s_mem()));
  if (!impl->ssl || !in || !out) return openssl_error(Code::kBug, "make a TLS session");
  impl->in = in.get();
  impl->out = out.get();
  SSL_set_bio(impl->ssl.get(), in.release(), out.release());
  SSL_set_accept_state(impl->ssl.get());
  return std::unique_ptr<TlsSession>(new TlsSession(std::move(impl)));
}

Status TlsSession::feed(std::string_view encrypted) {
  while (!encrypted.empty()) {
    int written = BIO_write(impl_->in, encrypted.data(), static_cast<int>(encrypted.size()));
    if (written <= 0) return openssl_error(Code::kBug, "buffer TLS bytes");
    encrypted.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Result<std::string> TlsSession::read() {
  std::string plain;
  char buffer[16 * 1024];
  while (true) {
    ERR_clear_error();
    int got = SSL_read(impl_->ssl.get(), buffer, sizeof buffer);
    if (got > 0) {
      plain.append(buffer, static_cast<size_t>(got));
      continue;
    }
    int error = SSL_get_error(impl_->ssl.get(), got);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return plain;
    if (error == SSL_ERROR_ZERO_RETURN) {
      if (!plain.empty()) return plain;
      return Status(Code::kUnavailable, "the client closed the TLS connection");
    }
    return openssl_error(Code::kInvalid, "TLS");
  }
}

Status TlsSession::write(std::string_view plain) {
  while (!plain.empty()) {
    size_t piece = std::min<size_t>(plain.size(), 1U << 20);
    ERR_clear_error();
    int written = SSL_write(impl_->ssl.get(), plain.data(), static_cast<int>(piece));
    if (written <= 0) return openssl_error(Code::kInvalid, "TLS");
    plain.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

void TlsSession::close() {
  ERR_clear_error();
  SSL_shutdown(impl_->ssl.get());
  ERR_clear_error();
}

std::string TlsSession::take_output() {
  std::string output(BIO_ctrl_pending(impl_->out), '\0');
  if (output.empty()) return output;
  int got = BIO_read(impl_->out, output.data(), static_cast<int>(output.size()));
  output.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return output;
}

}  // namespace tide::pgwire
