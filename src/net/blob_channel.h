#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "env/file.h"

namespace tide::net {

/// A message between two roles on one machine: JSON, and bytes that JSON should not carry.
///
/// On the wire: u32 length of all that follows, u32 length of the JSON, the JSON (its member
/// "blobs" has their sizes), the blobs behind each other. Integers little endian.
/// docs/formats/lake-service.md has the conversation that the mirror holds this way.
struct BlobMessage {
  std::string json;
  std::vector<std::string> blobs;
};

/// A stream of messages in both directions over a connected Unix socket. One thread at a time, but
/// for shut_down().
class BlobChannel {
 public:
  explicit BlobChannel(env::FileDescriptor socket) : socket_(std::move(socket)) {}
  /// kUnavailable if nobody listens at `path`.
  static Result<std::unique_ptr<BlobChannel>> connect(const std::string& path);

  /// The "blobs" member is added to `message`, which must be an object.
  Status send(const nlohmann::json& message, const std::vector<std::string>& blobs = {});
  /// kUnavailable once the peer has hung up; kCorrupt for what is no message; kRetry if nothing
  /// came for `timeout` (negative: waits for ever).
  Result<BlobMessage> receive(std::chrono::milliseconds timeout = std::chrono::milliseconds(-1));
  /// Sends a request and takes its answer. An {"error": {...}} answer becomes its Status.
  Result<BlobMessage> call(const nlohmann::json& request, std::chrono::milliseconds timeout);

  /// The process that made the other end: the one that listens, for a connection of ours.
  Result<pid_t> peer() const;

  /// Ends both directions, from any thread: whoever waits gets kUnavailable.
  void shut_down();

 private:
  env::FileDescriptor socket_;
};

/// A listening Unix socket, mode 0600; a stale one is replaced. kExists if somebody listens there.
Result<env::FileDescriptor> listen_unix(const std::string& path);

}  // namespace tide::net
