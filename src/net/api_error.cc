#include "net/api_error.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace tide::net {

using nlohmann::json;

namespace {
constexpr Code kAllCodes[] = {
    Code::kInvalid,    Code::kNotFound, Code::kExists,      Code::kConflict, Code::kStaleEpoch,
    Code::kOutOfRange, Code::kRetry,    Code::kUnavailable, Code::kNoSpace,  Code::kIo,
    Code::kCorrupt,    Code::kDenied,   Code::kBug};
}

int http_status_of(Code code) {
  switch (code) {
    case Code::kOk:
      return 200;
    case Code::kInvalid:
      return 400;
    case Code::kDenied:
      return 403;
    case Code::kNotFound:
      return 404;
    case Code::kExists:
    case Code::kConflict:
    case Code::kStaleEpoch:
      return 409;
    case Code::kOutOfRange:
      return 416;
    case Code::kRetry:
    case Code::kUnavailable:
      return 503;
    case Code::kNoSpace:
      return 507;
    case Code::kIo:
    case Code::kCorrupt:
    case Code::kBug:
      return 500;
  }
  return 500;
}

json error_json(const Status& status) {
  json error = {{"code", code_name(status.code())}, {"message", status.message()}};
  if (!status.detail().empty()) error["detail"] = status.detail();
  if (!status.hint().empty()) error["hint"] = status.hint();
  return {{"error", std::move(error)}};
}

HttpResponse error_response(const Status& status) {
  return json_response(error_json(status), http_status_of(status.code()));
}

HttpResponse json_response(const json& body, int status) {
  HttpResponse response;
  response.status = status;
  response.body = to_text(body) + "\n";
  return response;
}

Status status_from_reply(int http_status, std::string_view body) {
  if (http_status >= 200 && http_status < 300) return {};
  json parsed = json::parse(body, nullptr, false);
  if (parsed.is_object() && parsed.contains("error") && parsed["error"].is_object()) {
    const json& error = parsed["error"];
    auto text = [&error](const char* name) {
      auto found = error.find(name);
      return found != error.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    for (Code code : kAllCodes) {
      if (code_name(code) == text("code")) {
        return Status(code, text("message")).with_detail(text("detail")).with_hint(text("hint"));
      }
    }
  }
  Code code = http_status >= 500 ? Code::kUnavailable : Code::kInvalid;
  if (http_status == 401 || http_status == 403) code = Code::kDenied;
  if (http_status == 404) code = Code::kNotFound;
  return Status(code, fmt::format("HTTP status {}", http_status))
      .with_detail(std::string(body.substr(0, 200)));
}

Result<json> parse_json(std::string_view text) {
  if (text.empty()) return json::object();
  json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) {
    return Status(Code::kInvalid, "the body is not valid JSON")
        .with_detail(std::string(text.substr(0, 200)));
  }
  return parsed;
}

std::string to_text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

namespace {
Result<const json*> member(const json& object, const char* name) {
  if (!object.is_object()) return Status(Code::kInvalid, "expected a JSON object");
  auto found = object.find(name);
  if (found == object.end() || found->is_null()) return static_cast<const json*>(nullptr);
  return &*found;
}
Status missing(const char* name) {
  return {Code::kInvalid, fmt::format("member \"{}\" is missing", name)};
}
Status wrong_type(const char* name, const char* wanted) {
  return {Code::kInvalid, fmt::format("member \"{}\" must be a {}", name, wanted)};
}
}  // namespace

Result<std::string> string_member(const json& object, const char* name) {
  const json* value = TIDE_TRY(member(object, name));
  if (value == nullptr) return missing(name);
  if (!value->is_string()) return wrong_type(name, "string");
  return value->get<std::string>();
}

Result<std::string> string_member(const json& object, const char* name, std::string_view fallback) {
  const json* value = TIDE_TRY(member(object, name));
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return wrong_type(name, "string");
  return value->get<std::string>();
}

Result<uint64_t> number_member(const json& object, const char* name) {
  const json* value = TIDE_TRY(member(object, name));
  if (value == nullptr) return missing(name);
  if (!value->is_number_unsigned()) return wrong_type(name, "whole number, not negative");
  return value->get<uint64_t>();
}

Result<uint64_t> number_member(const json& object, const char* name, uint64_t fallback) {
  const json* value = TIDE_TRY(member(object, name));
  if (value == nullptr) return fallback;
  if (!value->is_number_unsigned()) return wrong_type(name, "whole number, not negative");
  return value->get<uint64_t>();
}

Result<bool> bool_member(const json& object, const char* name, bool fallback) {
  const json* value = TIDE_TRY(member(object, name));
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return wrong_type(name, "boolean");
  return value->get<bool>();
}

Result<json> json_call(const HttpCall& call) {
  HttpReply reply = TIDE_TRY(http_call(call));
  if (reply.status < 200 || reply.status >= 300) return status_from_reply(reply.status, reply.body);
  return parse_json(reply.body);
}

}  // namespace tide::net
