#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tide::objectstore {

struct ObjectInfo {
  std::string key;
  uint64_t size = 0;
  friend bool operator==(const ObjectInfo&, const ObjectInfo&) = default;
};

/// What a store has done since it was opened.
struct ObjectStoreStats {
  uint64_t requests = 0;  ///< Attempts, so retries count too.
  uint64_t retries = 0;
  uint64_t bytes_out = 0;
  uint64_t bytes_in = 0;
};

/// A flat map from keys to immutable byte strings that outlives this machine.
///
/// Keys are relative paths of UTF-8 text: components divided by '/', none empty, "." or "..", no
/// control characters, at most 900 bytes together (see `check_key`). A key must not be a directory
/// of another key ("a" beside "a/b"): a file system cannot hold both.
///
/// When a call that writes returns success, the object is durable and complete, and every later
/// read by anybody sees it. When it fails, the object is either absent (or as before) or complete.
/// Reads of whole objects are checked against the checksum taken when the object was written.
///
/// Errors: kUnavailable (does not answer, after retries), kDenied (credentials), kNotFound (no such
/// object or bucket), kNoSpace, kCorrupt (checksum), kInvalid (key or configuration), kIo.
///
/// Thread-safe: any number of threads may call any method at once.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  virtual Status put(const std::string& key, BytesView bytes) = 0;
  /// The file must never change afterwards: a store on its file system may keep it by a hard link.
  virtual Status put_file(const std::string& key, const std::string& path) = 0;
  /// True if written; false, and nothing changed, if the key exists already. Atomic among all
  /// writers.
  virtual Result<bool> put_if_absent(const std::string& key, BytesView bytes) = 0;

  virtual Result<std::string> get(const std::string& key) = 0;
  /// Downloads to a temporary file beside `path`, syncs it and renames it: `path` is whole or
  /// untouched.
  virtual Status get_to_file(const std::string& key, const std::string& path) = 0;
  /// Bytes [offset, offset + size), fewer at the object's end; kOutOfRange if `offset` is beyond
  /// it.
  virtual Result<std::string> get_range(const std::string& key, uint64_t offset, uint64_t size) = 0;
  /// Size, or nothing if there is no such object. A store that cannot be asked is an error, never
  /// nothing.
  virtual Result<std::optional<uint64_t>> head(const std::string& key) = 0;
  Result<bool> exists(const std::string& key);

  /// All objects whose key begins with `prefix` (any text, not only whole components), sorted by
  /// key.
  virtual Result<std::vector<ObjectInfo>> list(const std::string& prefix) = 0;
  /// Removing what is not there is success.
  virtual Status remove(const std::string& key) = 0;

  virtual ObjectStoreStats stats() const = 0;
  /// The place in words for messages, without secrets: "s3://bucket/prefix at http://host:port".
  virtual std::string describe() const = 0;
};

/// kInvalid with the reason unless `key` may name an object.
Status check_key(std::string_view key);

struct S3Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  ///< Empty unless the credentials are temporary.
};

struct Options {
  /// Empty fields are filled from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
  S3Credentials credentials;
  /// Attempts of one request in all; the waits between them double from `retry_wait_ms` with
  /// jitter.
  int attempts = 6;
  int retry_wait_ms = 100;
  int retry_wait_ms_max = 5000;
  int connect_timeout_ms = 5000;
  /// A transfer that moves no byte for so long is given up and tried again.
  int stall_timeout_s = 30;
  /// Files larger than this are uploaded in parts of `part_bytes`.
  uint64_t multipart_threshold_bytes = uint64_t{512} << 20;
  uint64_t part_bytes = uint64_t{64} << 20;
};

/// Opens a store and checks that it answers and may be read.
///
///   file:///DIRECTORY
///   s3://BUCKET[/PREFIX][?endpoint=http://host:port&region=eu-central-1&conditional_put=on|off]
///
/// The endpoint comes from the URL, else AWS_ENDPOINT_URL, else https://s3.REGION.amazonaws.com;
/// the region from the URL, else AWS_REGION, else us-east-1. `conditional_put=off` is for servers
/// without `If-None-Match: *`: put_if_absent then looks first and writes after, which two writers
/// can race.
Result<std::unique_ptr<ObjectStore>> open(const std::string& url, const Options& options = {});

/// A view of the part of `store` under `prefix` (a key without trailing slash). `store` must
/// outlive it.
std::unique_ptr<ObjectStore> with_prefix(ObjectStore& store, std::string prefix);

}  // namespace tide::objectstore
