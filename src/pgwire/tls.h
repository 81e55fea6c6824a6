#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tide::pgwire {

/// Certificate and key, PEM.
struct TlsIdentity {
  std::string certificate;
  std::string key;

  /// A certificate for localhost that signs itself (P-256, ten years).
  static Result<TlsIdentity> make_self_signed();
};

class TlsContext;

/// The server's side of one TLS connection (1.2 and later) as a state machine: what came from the
/// network goes in, what is to be sent comes out; no I/O.
class TlsSession {
 public:
  ~TlsSession();

  /// Bytes from the network.
  Status feed(std::string_view encrypted);
  /// Decrypted bytes that are ready, and drives the handshake. kUnavailable when the peer has
  /// closed, kInvalid when it does not speak TLS.
  Result<std::string> read();
  /// Encrypts; the result comes out of take_output().
  Status write(std::string_view plain);
  void close();
  /// Bytes for the network, if any.
  std::string take_output();

 private:
  friend class TlsContext;
  class Impl;
  explicit TlsSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// What all TLS connections of a server share.
class TlsContext {
 public:
  static Result<std::unique_ptr<TlsContext>> make(const TlsIdentity& identity);
  ~TlsContext();

  Result<std::unique_ptr<TlsSession>> accept() const;
  /// For SCRAM-SHA-256-PLUS: hash of the certificate as RFC 5929 has it (tls-server-end-point).
  const std::string& certificate_hash() const;

 private:
  class Impl;
  explicit TlsContext(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tide::pgwire
