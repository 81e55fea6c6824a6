#include "objectstore/internal/url.h"

#include <fmt/format.h>

#include "objectstore/object_store.h"

namespace tide::objectstore::internal {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Status invalid(std::string message) {
  return Status(Code::kInvalid, std::move(message))
      .with_hint(
          "Use file:///DIRECTORY or s3://BUCKET/PREFIX?endpoint=http://host:port&region=NAME.");
}

Status check_bucket(std::string_view bucket) {
  if (bucket.size() < 3 || bucket.size() > 63) {
    return invalid(fmt::format("bucket name \"{}\" does not have 3 to 63 characters", bucket));
  }
  for (char c : bucket) {
    bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '-' || c == '.' || c == '_';
    if (!fine)
      return invalid(fmt::format("bucket name \"{}\" has a character not allowed", bucket));
  }
  if (bucket.front() == '.' || bucket.find("..") != std::string_view::npos) {
    return invalid(fmt::format("bucket name \"{}\" has an empty label", bucket));
  }
  return {};
}

}  // namespace

std::string uri_encode(std::string_view text, bool keep_slash) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (char c : text) {
    bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash);
    if (plain) {
      encoded += c;
    } else {
      auto byte = static_cast<unsigned char>(c);
      encoded += '%';
      encoded += kHex[byte >> 4];
      encoded += kHex[byte & 15];
    }
  }
  return encoded;
}

Result<std::string> uri_decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      decoded += ' ';
    } else if (text[i] != '%') {
      decoded += text[i];
    } else {
      int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return Status(Code::kInvalid, fmt::format("bad percent-encoding in \"{}\"", text));
      }
      decoded += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return decoded;
}

Result<StoreUrl> parse_url(std::string_view url) {
  StoreUrl parsed;
  size_t colon = url.find("://");
  if (colon == std::string_view::npos) {
    return invalid(fmt::format("object store URL \"{}\" has no scheme", url));
  }
  parsed.scheme = url.substr(0, colon);
  std::string_view rest = url.substr(colon + 3);
  std::string_view query;
  if (size_t mark = rest.find('?'); mark != std::string_view::npos) {
    query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }

  if (parsed.scheme == "file") {
    if (!query.empty()) return invalid(fmt::format("file URL \"{}\" takes no parameters", url));
    parsed.path = TIDE_TRY(uri_decode(rest, false));
    if (parsed.path.empty() || parsed.path[0] != '/') {
      return invalid(fmt::format("file URL \"{}\" does not name an absolute directory", url));
    }
    while (parsed.path.size() > 1 && parsed.path.back() == '/') parsed.path.pop_back();
    return parsed;
  }
  if (parsed.scheme != "s3") {
    return invalid(fmt::format("object store scheme \"{}\" is not known", parsed.scheme));
  }

  size_t slash = std::min(rest.find('/'), rest.size());
  parsed.bucket = rest.substr(0, slash);
  TIDE_TRY(check_bucket(parsed.bucket));
  std::string_view prefix = rest.substr(slash);
  while (!prefix.empty() && prefix.front() == '/') prefix.remove_prefix(1);
  while (!prefix.empty() && prefix.back() == '/') prefix.remove_suffix(1);
  parsed.prefix = TIDE_TRY(uri_decode(prefix, false));
  if (!parsed.prefix.empty()) TIDE_TRY(check_key(parsed.prefix));

  while (!query.empty()) {
    size_t end = std::min(query.find('&'), query.size());
    std::string_view pair = query.substr(0, end);
    query = query.substr(std::min(end + 1, query.size()));
    size_t equals = std::min(pair.find('='), pair.size());
    std::string name(pair.substr(0, equals));
    std::string value = TIDE_TRY(uri_decode(pair.substr(std::min(equals + 1, pair.size())), false));
    if (name == "endpoint") {
      parsed.endpoint = value;
    } else if (name == "region") {
      parsed.region = value;
    } else if (name == "conditional_put" && (value == "on" || value == "off")) {
      parsed.conditional_put = value == "on";
    } else {
      return invalid(fmt::format("object store parameter \"{}={}\" is not known", name, value));
    }
  }
  return parsed;
}

}  // namespace tide::objectstore::internal
