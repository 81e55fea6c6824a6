#include "deltalog/path.h"

#include <cstdint>

namespace tide::deltalog {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool stays(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-._~/=+@!$&'()*,;:").find(c) != std::string_view::npos;
}

}  // namespace

std::string percent_decode(std::string_view path) {
  std::string decoded;
  decoded.reserve(path.size());
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '%' && i + 2 < path.size()) {
      int high = hex_digit(path[i + 1]);
      int low = hex_digit(path[i + 2]);
      if (high >= 0 && low >= 0) {
        decoded += static_cast<char>(high * 16 + low);
        i += 2;
        continue;
      }
    }
    decoded += path[i];
  }
  return decoded;
}

std::string percent_encode(std::string_view path) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(path.size());
  for (char c : path) {
    if (stays(c)) {
      encoded += c;
    } else {
      auto byte = static_cast<uint8_t>(c);
      encoded += '%';
      encoded += kDigits[byte >> 4];
      encoded += kDigits[byte & 15];
    }
  }
  return encoded;
}

std::string file_name(std::string_view path) {
  std::string name =
      path.find('%') == std::string_view::npos ? std::string(path) : percent_decode(path);
  if (name.starts_with("file:")) {
    size_t begin = 5;
    // file://host/path is not ours; file:///path and file:/path are.
    while (begin + 1 < name.size() && name[begin] == '/' && name[begin + 1] == '/') ++begin;
    name.erase(0, begin);
  }
  return name;
}

bool is_absolute(std::string_view name) {
  if (name.starts_with('/')) return true;
  // A scheme: letter, then letters, digits, '+', '-', '.', then ':' before the first '/'.
  size_t colon = name.find(':');
  if (colon == std::string_view::npos || colon < 2 || name.find('/') < colon) return false;
  for (size_t i = 0; i < colon; ++i) {
    char c = name[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    bool other = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
    if (!letter && (i == 0 || !other)) return false;
  }
  return name.substr(colon + 1).starts_with('/');
}

}  // namespace tide::deltalog
