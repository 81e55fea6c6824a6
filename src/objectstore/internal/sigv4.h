#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "objectstore/object_store.h"

namespace tide::objectstore::internal {

/// AWS Signature Version 4, header form. A pure function of its input: the time comes with the
/// request.
///
/// What differs between S3 and other services (path encoded once, x-amz-content-sha256) is the
/// caller's: it gives the path as it stands in the request line and the headers as they are sent.
struct SigningInput {
  std::string method;
  std::string encoded_path;  ///< As in the request line, without the query.
  /// Names and values before encoding; the same pairs must be sent, encoded with `canonical_query`.
  std::vector<std::pair<std::string, std::string>> query;
  /// Every header to be signed, names in lower case; must include host and x-amz-date.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string payload_hash;  ///< Lower-case hex SHA-256 of the body, or UNSIGNED-PAYLOAD.
  std::string timestamp;     ///< 20130524T000000Z
  std::string region;
  std::string service = "s3";
};

std::string sha256_hex(BytesView bytes);

/// Sorted and encoded query; empty if there is none. Also the text to put behind '?'.
std::string canonical_query(const std::vector<std::pair<std::string, std::string>>& query);
std::string canonical_request(const SigningInput& input);
std::string string_to_sign(const SigningInput& input);
/// The derived key for a day ("20130524"), region and service: 32 raw bytes.
std::string signing_key(std::string_view secret, std::string_view day, std::string_view region,
                        std::string_view service);
/// Value of the Authorization header.
std::string authorization(const SigningInput& input, const S3Credentials& credentials);

}  // namespace tide::objectstore::internal
