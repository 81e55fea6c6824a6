#pragma once

#include <memory>

#include "base/result.h"
#include "objectstore/internal/url.h"
#include "objectstore/object_store.h"

namespace tide::objectstore::internal {

/// Objects in a bucket of an S3-compatible server, addressed path-style and signed with SigV4.
///
/// Bodies going out are signed with their SHA-256, so the server refuses what the network changed;
/// their CRC-32C travels as metadata (x-amz-meta-tide-crc32c) and whole-object reads are checked
/// against it. Handles with their connections are pooled; one request uses one handle.
Result<std::unique_ptr<ObjectStore>> open_s3_store(const StoreUrl& url, const Options& options);

}  // namespace tide::objectstore::internal
