#include "base/status.h"

#include <cerrno>
#include <cstring>

namespace tide {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk:
      return "OK";
    case Code::kInvalid:
      return "INVALID";
    case Code::kNotFound:
      return "NOT_FOUND";
    case Code::kExists:
      return "EXISTS";
    case Code::kConflict:
      return "CONFLICT";
    case Code::kStaleEpoch:
      return "STALE_EPOCH";
    case Code::kOutOfRange:
      return "OUT_OF_RANGE";
    case Code::kRetry:
      return "RETRY";
    case Code::kUnavailable:
      return "UNAVAILABLE";
    case Code::kNoSpace:
      return "NO_SPACE";
    case Code::kIo:
      return "IO";
    case Code::kCorrupt:
      return "CORRUPT";
    case Code::kDenied:
      return "DENIED";
    case Code::kBug:
      return "BUG";
  }
  return "UNKNOWN";
}

Status Status::from_errno(int error, std::string_view what) {
  Code code = Code::kIo;
  if (error == ENOSPC || error == EDQUOT) code = Code::kNoSpace;
  if (error == ENOENT) code = Code::kNotFound;
  if (error == EACCES || error == EPERM) code = Code::kDenied;
  return {code, std::string(what) + ": " + std::strerror(error)};
}

Status Status::with_context(std::string_view context) && {
  if (!ok()) message_ = std::string(context) + ": " + message_;
  return std::move(*this);
}

Status Status::with_detail(std::string detail) && {
  detail_ = std::move(detail);
  return std::move(*this);
}

Status Status::with_hint(std::string hint) && {
  hint_ = std::move(hint);
  return std::move(*this);
}

std::string Status::to_string() const {
  std::string text = std::string(code_name(code_));
  if (!message_.empty()) text += ": " + message_;
  if (!detail_.empty()) text += "\nDETAIL: " + detail_;
  if (!hint_.empty()) text += "\nHINT: " + hint_;
  return text;
}

}  // namespace tide
