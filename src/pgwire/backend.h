#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pgwire/message.h"

/// What a server sends: each function appends one message to an output buffer.
namespace tide::pgwire {

/// An error or notice as clients see it.
struct ErrorFields {
  std::string severity = "ERROR";
  std::string code = "XX000";  ///< SQLSTATE
  std::string message;
  std::string detail;
  std::string hint;
  int position = 0;  ///< In characters of the statement, from 1; 0 for none.
  std::string where;
};

/// One column of a result.
struct FieldDescription {
  std::string name;
  uint32_t table = 0;
  int16_t column = 0;
  uint32_t type = 25;
  int16_t type_size = -1;
  int32_t type_modifier = -1;
  int16_t format = 0;
};

void append_error(std::string& out, const ErrorFields& fields);
void append_notice(std::string& out, const ErrorFields& fields);
/// Reads the body of an ErrorResponse or NoticeResponse; unknown fields are skipped.
ErrorFields decode_error(const Message& message);

void append_authentication_ok(std::string& out);
void append_authentication_sasl(std::string& out, const std::vector<std::string>& mechanisms);
void append_authentication_sasl_continue(std::string& out, std::string_view data);
void append_authentication_sasl_final(std::string& out, std::string_view data);
/// The newest minor version we speak and the `_pq_.` options we do not know.
void append_negotiate_version(std::string& out, int minor, const std::vector<std::string>& unknown);
void append_parameter_status(std::string& out, std::string_view name, std::string_view value);
void append_backend_key(std::string& out, int32_t process, int32_t secret);
/// `transaction`: 'I' idle, 'T' in a transaction, 'E' in a failed one.
void append_ready(std::string& out, char transaction);

void append_row_description(std::string& out, const std::vector<FieldDescription>& fields);
Result<std::vector<FieldDescription>> decode_row_description(const Message& message);
void append_parameter_description(std::string& out, const std::vector<uint32_t>& types);
void append_command_complete(std::string& out, std::string_view tag);
void append_copy_out(std::string& out, size_t columns, int format);
void append_copy_data(std::string& out, std::string_view data);
/// '1' ParseComplete, '2' BindComplete, '3' CloseComplete, 'I' EmptyQueryResponse, 'n' NoData,
/// 's' PortalSuspended, 'c' CopyDone.
void append_simple(std::string& out, char type);

/// Reads the values of a DataRow; a null is an absent string.
Result<std::vector<std::optional<std::string>>> decode_data_row(const Message& message);

}  // namespace tide::pgwire
