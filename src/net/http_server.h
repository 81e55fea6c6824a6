#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/http.h"

namespace tide::net {

/// Methods and path patterns with their handlers. The first route that fits wins, so put
/// "/v1/items/special" before "/v1/items/{id}".
class HttpRouter {
 public:
  /// `pattern` is a path whose segments are literal or {name}; a {name} takes one whole segment.
  void add(std::string method, const std::string& pattern, HttpHandler handler);

  /// Fills `request.params` and runs the handler; 404 or 405 in the API's error form if none fits.
  HttpResponse dispatch(HttpRequest& request) const;

 private:
  struct Route {
    std::string method;
    std::vector<std::string> segments;
    HttpHandler handler;
  };
  std::vector<Route> routes_;
};

struct HttpServerOptions {
  std::string name = "http";  ///< Names the threads.
  std::string unix_socket;    ///< Path of a Unix socket to listen on; empty for none.
  mode_t unix_socket_mode = 0600;
  std::string host = "127.0.0.1";
  int port = -1;                   ///< TCP port, 0 for any free one, -1 for none.
  int threads = 8;                 ///< Handlers that run at the same time.
  size_t queue_limit = 256;        ///< Requests waiting for a thread; more are answered 503.
  size_t connection_limit = 1024;  ///< More are closed at once.
  size_t header_bytes_max = 16 * 1024;
  size_t body_bytes_max = 4 * 1024 * 1024;
  std::chrono::milliseconds idle_timeout{60'000};   ///< Between and within requests being read.
  std::chrono::milliseconds write_timeout{60'000};  ///< For each piece of an answer.
  /// Looks at every request before its route is sought; an answer ends the request. For access
  /// checks.
  std::function<std::optional<HttpResponse>(const HttpRequest&)> admit;
};

/// An HTTP/1.1 server: one I/O thread, and a pool of threads on which handlers run (they may block,
/// each with a deadline of its own). Keep-alive; one request at a time per connection.
class HttpServer {
 public:
  /// Listens, then serves until `stop()`. A stale Unix socket file is replaced. kExists if the port
  /// or a live Unix socket is taken.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, HttpRouter router);
  /// Stops as `stop(1 s)` does.
  ~HttpServer();

  /// The TCP port listened on, -1 if none.
  int port() const;

  /// No new connections and requests; waits for running handlers and cuts their connections off
  /// after `grace`. Returns when all threads have ended.
  void stop(std::chrono::milliseconds grace);

 private:
  class Impl;
  explicit HttpServer(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace tide::net
