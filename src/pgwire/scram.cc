#include "pgwire/scram.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <charconv>

namespace tide::pgwire {

namespace {

constexpr size_t kKeySize = 32;
constexpr int kIterationsMax = 10'000'000;

Result<std::string> hmac(std::string_view key, std::string_view data) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(data.data()), data.size(), digest,
           &size) == nullptr) {
    return Status(Code::kBug, "HMAC-SHA-256 failed");
  }
  return std::string(reinterpret_cast<const char*>(digest), size);
}

Result<std::string> sha256(std::string_view data) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_Digest(data.data(), data.size(), digest, &size, EVP_sha256(), nullptr) != 1) {
    return Status(Code::kBug, "SHA-256 failed");
  }
  return std::string(reinterpret_cast<const char*>(digest), size);
}

bool equal(std::string_view one, std::string_view other) {
  return one.size() == other.size() && CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

Status malformed(std::string_view what) {
  return Status(Code::kInvalid, "malformed SCRAM message").with_detail(std::string(what));
}

/// Takes "X=VALUE" off the front, with the comma behind it.
Result<std::string> take_attribute(std::string_view& text, char name) {
  if (text.size() < 2 || text[0] != name || text[1] != '=') {
    return malformed(fmt::format("Expected attribute \"{}\".", name));
  }
  size_t end = text.find(',');
  std::string value(text.substr(2, end == text.npos ? text.npos : end - 2));
  text.remove_prefix(end == text.npos ? text.size() : end + 1);
  return value;
}

}  // namespace

Result<std::string> random_bytes(size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1) {
    return Status(Code::kUnavailable, "no random bytes to be had");
  }
  return bytes;
}

Result<std::string> random_nonce() { return base64(TIDE_TRY(random_bytes(18))); }

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                             reinterpret_cast<const unsigned char*>(bytes.data()),
                             static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

Result<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return Status(Code::kInvalid, "not base64");
  std::string bytes(text.size() / 4 * 3 + 1, '\0');
  int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                             reinterpret_cast<const unsigned char*>(text.data()),
                             static_cast<int>(text.size()));
  if (size < 0) return Status(Code::kInvalid, "not base64");
  size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  bytes.resize(static_cast<size_t>(size) - padding);
  return bytes;
}

Result<ScramVerifier> ScramVerifier::parse(std::string_view text) {
  Status wrong(Code::kInvalid, "not a SCRAM-SHA-256 verifier");
  constexpr std::string_view kPrefix = "SCRAM-SHA-256$";
  if (!text.starts_with(kPrefix)) return wrong;
  text.remove_prefix(kPrefix.size());
  size_t colon = text.find(':');
  size_t dollar = text.find('$');
  size_t last = text.rfind(':');
  if (colon == text.npos || dollar == text.npos || colon > dollar || last < dollar) return wrong;
  ScramVerifier verifier;
  auto [end, error] = std::from_chars(text.data(), text.data() + colon, verifier.iterations);
  if (error != std::errc() || end != text.data() + colon || verifier.iterations < 1 ||
      verifier.iterations > kIterationsMax) {
    return wrong;
  }
  verifier.salt = TIDE_TRY(decode_base64(text.substr(colon + 1, dollar - colon - 1)));
  verifier.stored_key = TIDE_TRY(decode_base64(text.substr(dollar + 1, last - dollar - 1)));
  verifier.server_key = TIDE_TRY(decode_base64(text.substr(last + 1)));
  if (verifier.stored_key.size() != kKeySize || verifier.server_key.size() != kKeySize)
    return wrong;
  return verifier;
}

Result<ScramVerifier> ScramVerifier::make(std::string_view password, std::string_view salt,
                                          int iterations) {
  std::string salted(kKeySize, '\0');
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                        reinterpret_cast<const unsigned char*>(salt.data()),
                        static_cast<int>(salt.size()), iterations, EVP_sha256(), kKeySize,
                        reinterpret_cast<unsigned char*>(salted.data())) != 1) {
    return Status(Code::kBug, "PBKDF2 failed");
  }
  ScramVerifier verifier;
  verifier.iterations = iterations;
  verifier.salt = salt;
  verifier.stored_key = TIDE_TRY(sha256(TIDE_TRY(hmac(salted, "Client Key"))));
  verifier.server_key = TIDE_TRY(hmac(salted, "Server Key"));
  return verifier;
}

Result<ScramVerifier> ScramVerifier::doomed(std::string_view secret, std::string_view role) {
  ScramVerifier verifier;
  std::string mixed = TIDE_TRY(hmac(secret, role));
  verifier.salt = mixed.substr(0, 16);
  // Keys of which nobody knows the password: they do not come out of any.
  verifier.stored_key = TIDE_TRY(random_bytes(kKeySize));
  verifier.server_key = TIDE_TRY(random_bytes(kKeySize));
  return verifier;
}

std::string ScramVerifier::to_string() const {
  return fmt::format("SCRAM-SHA-256${}:{}${}:{}", iterations, base64(salt), base64(stored_key),
                     base64(server_key));
}

Result<std::string> ScramServer::first(std::string_view mechanism, std::string_view message) {
  bool plus = mechanism == kScramSha256Plus;
  if (!plus && mechanism != kScramSha256) {
    return Status(Code::kInvalid, "client selected an invalid SASL authentication mechanism");
  }
  if (plus && !options_.certificate_hash) {
    return Status(Code::kInvalid, "client selected an invalid SASL authentication mechanism");
  }
  size_t comma = message.find(',');
  if (comma == message.npos) return malformed("No channel-binding flag.");
  std::string_view flag = message.substr(0, comma);
  if (plus) {
    if (flag != "p=tls-server-end-point") return malformed("Unsupported channel-binding type.");
  } else if (flag == "y") {
    // The client could bind and believes that we cannot: somebody took the offer away.
    if (options_.certificate_hash) {
      return malformed("The client supports channel binding but thinks the server does not.");
    }
  } else if (flag != "n") {
    return malformed("Unexpected channel-binding flag.");
  }
  std::string_view rest = message.substr(comma + 1);
  size_t authzid_end = rest.find(',');
  if (authzid_end == rest.npos) return malformed("No authorization identity.");
  if (authzid_end != 0) return malformed("Authorization identities are not supported.");
  gs2_header_ = message.substr(0, comma + 2);
  bound_ = plus;
  std::string_view bare = rest.substr(1);
  client_first_bare_ = bare;
  if (bare.starts_with("m=")) return malformed("Unsupported extension.");
  TIDE_TRY(take_attribute(bare, 'n'));  // The startup packet's user counts.
  std::string client_nonce = TIDE_TRY(take_attribute(bare, 'r'));
  if (client_nonce.empty()) return malformed("Empty nonce.");
  for (char c : client_nonce) {
    if (c < 0x21 || c > 0x7E) return malformed("Non-printable characters in the nonce.");
  }
  nonce_ = client_nonce + options_.nonce;
  server_first_ = fmt::format("r={},s={},i={}", nonce_, base64(options_.verifier.salt),
                              options_.verifier.iterations);
  return server_first_;
}

Result<std::string> ScramServer::final(std::string_view message) {
  if (server_first_.empty()) return malformed("Out of order.");
  size_t proof_at = message.rfind(",p=");
  if (proof_at == message.npos) return malformed("No proof.");
  std::string_view without_proof = message.substr(0, proof_at);
  std::string_view rest = without_proof;
  std::string binding = TIDE_TRY(take_attribute(rest, 'c'));
  std::string expected = gs2_header_ + (bound_ ? *options_.certificate_hash : "");
  if (!equal(binding, base64(expected))) {
    return Status(Code::kDenied, "SCRAM channel binding check failed");
  }
  std::string nonce = TIDE_TRY(take_attribute(rest, 'r'));
  if (!equal(nonce, nonce_)) return malformed("Nonce does not match.");
  Result<std::string> proof = decode_base64(message.substr(proof_at + 3));
  if (!proof.ok() || proof->size() != kKeySize) return malformed("Malformed proof.");

  std::string auth_message =
      fmt::format("{},{},{}", client_first_bare_, server_first_, without_proof);
  std::string client_key = TIDE_TRY(hmac(options_.verifier.stored_key, auth_message));
  for (size_t i = 0; i < kKeySize; ++i)
    client_key[i] = static_cast<char>(client_key[i] ^ (*proof)[i]);
  if (!equal(TIDE_TRY(sha256(client_key)), options_.verifier.stored_key)) {
    return Status(Code::kDenied, "the password does not fit");
  }
  return "v=" + base64(TIDE_TRY(hmac(options_.verifier.server_key, auth_message)));
}

}  // namespace tide::pgwire
