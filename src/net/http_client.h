#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tide::net {

struct HttpCall {
  std::string unix_socket;
  std::string method = "GET";
  std::string target;                         ///< Path and query, percent-encoded.
  std::string body;                           ///< Sent as application/json if not empty.
  std::chrono::milliseconds timeout{30'000};  ///< For the whole call; for streams per piece.
};

struct HttpReply {
  int status = 0;
  std::map<std::string, std::string> headers;  ///< Names in lower case.
  std::string body;
};

/// Asks over a new connection to a Unix socket. kUnavailable if nobody listens, if the peer ends in
/// the middle or the time is over; any HTTP status is a success here (see net/api_error.h).
Result<HttpReply> http_call(const HttpCall& call);

/// As http_call, but a body of status 2xx goes piece by piece to `take`, whose error ends the call.
/// The body of any other status is in the reply.
Result<HttpReply> http_call_stream(const HttpCall& call,
                                   const std::function<Status(std::string_view)>& take);

/// A call whose body the caller draws: for answers of any size that another interface pulls from.
class HttpStream {
 public:
  /// Sends the call and reads the head of the answer. A status other than 2xx becomes the Status
  /// that the server meant.
  static Result<std::unique_ptr<HttpStream>> open(HttpCall call);
  ~HttpStream();

  /// The next bytes of the body; 0 at its end.
  Result<size_t> read(std::span<std::byte> into);

 private:
  class Impl;
  explicit HttpStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tide::net
