#pragma once

#include <memory>

#include "net/http_server.h"
#include "warehouse/shared.h"

namespace tide::warehouse {

/// Statements over HTTP in Databricks' form: POST /api/2.0/sql/statements, GET of one, its chunks,
/// cancel. Disposition INLINE, format JSON_ARRAY.
///
/// Each statement is a session of its own of the PostgreSQL protocol, in this process; so routing,
/// grants, errors and limits are the same. Over the Unix socket the caller has checked who asks and
/// says so in the header x-tide-role; over TCP: HTTP Basic with role and password. Results are kept
/// in memory for an hour, up to a limit.
class StatementApi {
 public:
  explicit StatementApi(Shared& shared);
  ~StatementApi();
  /// Cancels what runs and waits for it; nothing runs from here on.
  void stop();

  net::HttpRouter router();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tide::warehouse
