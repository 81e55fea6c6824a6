#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "env/file.h"
#include "pgwire/tls.h"

namespace tide::warehouse {

/// A client's connection, plain or encrypted. One thread, but shut_down().
class ClientStream {
 public:
  explicit ClientStream(env::FileDescriptor socket) : socket_(std::move(socket)) {}

  /// Waits for bytes. kUnavailable at the end.
  Result<std::string> read();
  /// Waits until all is with the kernel; kUnavailable if the client is gone or does not read for
  /// minutes.
  Status write(std::string_view bytes);
  /// From here on encrypted; the handshake goes on with the next read().
  Status begin_tls(const pgwire::TlsContext& context);
  bool encrypted() const { return tls_ != nullptr; }
  /// A deadline for reads; zero: none.
  Status set_read_deadline(int seconds);
  int fd() const { return socket_.get(); }
  /// From any thread: whoever reads or writes gets kUnavailable.
  void shut_down();

 private:
  Status send_raw(std::string_view bytes);

  env::FileDescriptor socket_;
  std::unique_ptr<pgwire::TlsSession> tls_;
};

}  // namespace tide::warehouse
