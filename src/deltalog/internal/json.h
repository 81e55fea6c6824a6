#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

// nlohmann-json without its exceptions: what is missing or of another type reads as nothing.
namespace tide::deltalog::json {

using Json = nlohmann::json;

/// Discarded (`is_discarded()`) if `text` is no JSON.
inline Json parse(std::string_view text) { return Json::parse(text, nullptr, false); }
inline std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// The member, or null if `object` has none.
inline const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}
inline const Json* object(const Json& from, const char* key) {
  const Json* value = member(from, key);
  return value != nullptr && value->is_object() ? value : nullptr;
}
inline std::optional<std::string> text(const Json& from, const char* key) {
  const Json* value = member(from, key);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return value->get_ref<const std::string&>();
}
inline std::optional<int64_t> integer(const Json& from, const char* key) {
  const Json* value = member(from, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_integer()) return value->get<int64_t>();
  // Some writers send whole numbers as floats.
  if (value->is_number_float()) {
    double number = value->get<double>();
    if (number >= -9007199254740992.0 && number <= 9007199254740992.0 &&
        number == static_cast<double>(static_cast<int64_t>(number))) {
      return static_cast<int64_t>(number);
    }
  }
  return std::nullopt;
}
inline std::optional<bool> boolean(const Json& from, const char* key) {
  const Json* value = member(from, key);
  if (value == nullptr || !value->is_boolean()) return std::nullopt;
  return value->get<bool>();
}

/// Appends `value` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
inline void append_quoted(std::string& to, std::string_view value) {
  bool plain = true;
  for (char c : value) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x80 || c == '"' ||
        c == '\\') {
      plain = false;
      break;
    }
  }
  if (plain) {
    to += '"';
    to += value;
    to += '"';
  } else {
    to += dump(Json(value));
  }
}

}  // namespace tide::deltalog::json
