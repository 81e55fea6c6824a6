#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace tide::net {

/// A request as a handler sees it: complete, decoded and within the server's limits.
struct HttpRequest {
  std::string method;
  std::string target;  ///< As sent: path and query, still percent-encoded.
  std::string path;
  std::map<std::string, std::string> params;   ///< The pattern's {name} segments, decoded.
  std::map<std::string, std::string> query;    ///< Decoded; of a repeated name the last counts.
  std::map<std::string, std::string> headers;  ///< Names in lower case.
  std::string body;
  bool over_unix_socket = false;

  /// The header's value, or an empty string.
  std::string header(const std::string& lower_case_name) const;
};

/// Takes the bytes of a streamed body; each call returns when the bytes are with the kernel.
class HttpBodyWriter {
 public:
  virtual ~HttpBodyWriter() = default;
  /// kUnavailable once the client has gone or does not read any more.
  virtual Status write(std::string_view bytes) = 0;
  /// True when the server is being stopped: an endless stream then returns.
  virtual bool stopping() const = 0;
};

/// A complete answer, or one whose body `stream` writes after the head has been sent.
struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  /// If set, `body` is ignored. An error returned here breaks the connection off before the final
  /// chunk, so the client cannot take a part for the whole.
  std::function<Status(HttpBodyWriter&)> stream;
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

/// Percent-encodes everything but unreserved characters, for path segments and query values.
std::string encode_uri_component(std::string_view text);
/// Undoes percent-encoding ('+' stays); malformed sequences stay as they are.
std::string decode_uri_component(std::string_view text);

}  // namespace tide::net
