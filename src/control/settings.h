#pragma once

#include <string>

#include "base/result.h"

namespace tide::control {

/// What `tide up` wrote into DIR/tidewater.json: everything about an instance that its roles must
/// know before they can talk to each other.
struct Settings {
  int port = 5432;                   ///< PostgreSQL port of branch main.
  int http_port = 7432;              ///< Control API on 127.0.0.1.
  int warehouse_port = 7433;         ///< Analytical SQL on 127.0.0.1, PostgreSQL's protocol.
  std::string object_store;          ///< file:///DIR or s3://BUCKET/PREFIX
  std::string durability = "local";  ///< "local" or "acceptor"
  bool mirror = true;  ///< False: mirror and warehouse are off; the lake stays as it is.
  std::string created_at;
  std::string created_by;  ///< Version of tide.

  /// kNotFound if the directory holds no instance; kCorrupt if the file cannot be understood.
  static Result<Settings> load(const std::string& data_directory);
  Status save(const std::string& data_directory) const;
};

std::string settings_file(const std::string& data_directory);

/// kInvalid with a hint unless it is file:///ABSOLUTE/PATH or s3://BUCKET[/PREFIX].
Status check_object_store_url(const std::string& url);

/// The directory of a file:// URL; empty for others.
std::string object_store_directory(const std::string& url);

inline constexpr const char* kVersion = "0.1.0";

}  // namespace tide::control
