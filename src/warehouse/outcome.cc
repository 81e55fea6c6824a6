#include "warehouse/outcome.h"

namespace tide::warehouse {

SqlError sql_error(std::string_view code, std::string message) {
  SqlError error;
  error.code = code;
  error.message = std::move(message);
  return error;
}

SqlError to_sql_error(const Status& status) {
  std::string_view code = "XX000";
  switch (status.code()) {
    case Code::kOk:
    case Code::kBug:
      break;
    case Code::kInvalid:
      code = "22023";
      break;
    case Code::kNotFound:
      code = "42704";
      break;
    case Code::kExists:
      code = "42710";
      break;
    case Code::kConflict:
    case Code::kStaleEpoch:
      code = "55000";
      break;
    case Code::kOutOfRange:
      code = "22003";
      break;
    case Code::kRetry:
      code = "55P03";
      break;
    case Code::kUnavailable:
      code = "57P03";
      break;
    case Code::kNoSpace:
      code = "53100";
      break;
    case Code::kIo:
      code = "58030";
      break;
    case Code::kCorrupt:
      code = "XX001";
      break;
    case Code::kDenied:
      code = "42501";
      break;
  }
  SqlError error = sql_error(code, status.message());
  error.detail = status.detail();
  error.hint = status.hint();
  return error;
}

}  // namespace tide::warehouse
