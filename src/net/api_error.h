#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http.h"
#include "net/http_client.h"

/// The form of answers and errors that every Tidewater HTTP API shares
/// (docs/formats/storage-api.md).
namespace tide::net {

int http_status_of(Code code);
/// {"error": {"code", "message", "detail", "hint"}}
nlohmann::json error_json(const Status& status);
HttpResponse error_response(const Status& status);
HttpResponse json_response(const nlohmann::json& body, int status = 200);

/// Reads the error of a reply back into the Status it was made from; a reply without one (a foreign
/// server, a cut connection) becomes kUnavailable or kInvalid by its HTTP status.
Status status_from_reply(int http_status, std::string_view body);

/// kInvalid for malformed text; an empty text is an empty object.
Result<nlohmann::json> parse_json(std::string_view text);
/// Compact text; bytes that are not UTF-8 become the replacement character.
std::string to_text(const nlohmann::json& json);

/// Members of an object; kInvalid if missing or of another type, unless `fallback` is given (which
/// stands for a missing member or null).
Result<std::string> string_member(const nlohmann::json& object, const char* name);
Result<std::string> string_member(const nlohmann::json& object, const char* name,
                                  std::string_view fallback);
Result<uint64_t> number_member(const nlohmann::json& object, const char* name);
Result<uint64_t> number_member(const nlohmann::json& object, const char* name, uint64_t fallback);
Result<bool> bool_member(const nlohmann::json& object, const char* name, bool fallback);

/// A call whose answer is JSON: errors become the Status that the server meant.
Result<nlohmann::json> json_call(const HttpCall& call);

}  // namespace tide::net
