#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tide::pgwire {

inline constexpr std::string_view kScramSha256 = "SCRAM-SHA-256";
inline constexpr std::string_view kScramSha256Plus = "SCRAM-SHA-256-PLUS";

/// What pg_authid.rolpassword holds: "SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY".
struct ScramVerifier {
  int iterations = 4096;
  std::string salt;
  std::string stored_key;
  std::string server_key;

  /// kInvalid for any other text (an md5 password, nothing, ...).
  static Result<ScramVerifier> parse(std::string_view text);
  /// A verifier for `password`; it is taken as it is (no SASLprep: ASCII is its own).
  static Result<ScramVerifier> make(std::string_view password, std::string_view salt,
                                    int iterations);
  /// One that no password fits, always the same for a name: so that who asks cannot learn which
  /// roles exist.
  static Result<ScramVerifier> doomed(std::string_view secret, std::string_view role);
  std::string to_string() const;
};

/// The server's side of SCRAM (RFC 5802, 7677; channel binding tls-server-end-point of RFC 5929).
/// Pure: messages in, messages out.
class ScramServer {
 public:
  struct Options {
    ScramVerifier verifier;
    std::string nonce;  ///< Ours: printable, without commas, fresh for every login.
    /// Hash of our certificate if the connection is encrypted: then -PLUS is offered.
    std::optional<std::string> certificate_hash;
  };
  explicit ScramServer(Options options) : options_(std::move(options)) {}

  /// Takes client-first-message, yields server-first-message. kInvalid for a malformed or
  /// downgraded one.
  Result<std::string> first(std::string_view mechanism, std::string_view message);
  /// Takes client-final-message, yields server-final-message. kDenied for a wrong password.
  Result<std::string> final(std::string_view message);

 private:
  const Options options_;
  std::string gs2_header_;
  bool bound_ = false;
  std::string client_first_bare_;
  std::string server_first_;
  std::string nonce_;
};

/// A nonce for Options: 18 random bytes as base64.
Result<std::string> random_nonce();
Result<std::string> random_bytes(size_t count);
std::string base64(std::string_view bytes);
Result<std::string> decode_base64(std::string_view text);

}  // namespace tide::pgwire
