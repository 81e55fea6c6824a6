#include "objectstore/internal/sigv4.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>

#include "objectstore/internal/url.h"

namespace tide::objectstore::internal {
namespace {

std::string hex(std::string_view raw) {
  std::string text;
  text.reserve(raw.size() * 2);
  for (unsigned char c : raw) text += fmt::format("{:02x}", c);
  return text;
}

std::string hmac_sha256(std::string_view key, std::string_view message) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  unsigned int size = sizeof digest;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), digest, &size);
  return std::string(reinterpret_cast<char*>(digest), size);
}

/// Ends trimmed, runs of spaces inside made one.
std::string canonical_value(std::string_view value) {
  std::string trimmed;
  for (char c : value) {
    if (c == ' ' && (trimmed.empty() || trimmed.back() == ' ')) continue;
    trimmed += c;
  }
  while (!trimmed.empty() && trimmed.back() == ' ') trimmed.pop_back();
  return trimmed;
}

std::vector<std::pair<std::string, std::string>> sorted_headers(const SigningInput& input) {
  auto headers = input.headers;
  std::sort(headers.begin(), headers.end());
  return headers;
}

std::string signed_headers(const SigningInput& input) {
  std::string names;
  for (const auto& [name, value] : sorted_headers(input)) {
    if (!names.empty()) names += ';';
    names += name;
  }
  return names;
}

std::string scope(const SigningInput& input) {
  return fmt::format("{}/{}/{}/aws4_request", input.timestamp.substr(0, 8), input.region,
                     input.service);
}

}  // namespace

std::string sha256_hex(BytesView bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  return hex({reinterpret_cast<char*>(digest), sizeof digest});
}

std::string canonical_query(const std::vector<std::pair<std::string, std::string>>& query) {
  std::vector<std::pair<std::string, std::string>> encoded;
  for (const auto& [name, value] : query) {
    encoded.emplace_back(uri_encode(name, false), uri_encode(value, false));
  }
  // The rule sorts encoded names, and values where names are equal.
  std::sort(encoded.begin(), encoded.end());
  std::string text;
  for (const auto& [name, value] : encoded) {
    if (!text.empty()) text += '&';
    text += name + "=" + value;
  }
  return text;
}

std::string canonical_request(const SigningInput& input) {
  std::string text =
      fmt::format("{}\n{}\n{}\n", input.method, input.encoded_path, canonical_query(input.query));
  for (const auto& [name, value] : sorted_headers(input)) {
    text += fmt::format("{}:{}\n", name, canonical_value(value));
  }
  text += fmt::format("\n{}\n{}", signed_headers(input), input.payload_hash);
  return text;
}

std::string string_to_sign(const SigningInput& input) {
  return fmt::format("AWS4-HMAC-SHA256\n{}\n{}\n{}", input.timestamp, scope(input),
                     sha256_hex(as_bytes(canonical_request(input))));
}

std::string signing_key(std::string_view secret, std::string_view day, std::string_view region,
                        std::string_view service) {
  std::string key = hmac_sha256(std::string("AWS4").append(secret), day);
  key = hmac_sha256(key, region);
  key = hmac_sha256(key, service);
  return hmac_sha256(key, "aws4_request");
}

std::string authorization(const SigningInput& input, const S3Credentials& credentials) {
  std::string key = signing_key(credentials.secret_access_key, input.timestamp.substr(0, 8),
                                input.region, input.service);
  return fmt::format("AWS4-HMAC-SHA256 Credential={}/{},SignedHeaders={},Signature={}",
                     credentials.access_key_id, scope(input), signed_headers(input),
                     hex(hmac_sha256(key, string_to_sign(input))));
}

}  // namespace tide::objectstore::internal
