#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pgwire/message.h"

/// What a client sends. Decoders yield kCorrupt for bytes that are not such a message.
namespace tide::pgwire {

/// PostgreSQL's own limit for the packet that opens a connection.
inline constexpr size_t kStartupBytesMax = 10'000;

/// The packet that opens a connection; it has no type byte.
struct StartupPacket {
  enum class Kind { kStartup, kSslRequest, kGssRequest, kCancel };
  Kind kind = Kind::kStartup;
  /// kStartup: minor version asked for (the major one is 3) and the parameters.
  int minor_version = 0;
  std::map<std::string, std::string> parameters;
  /// kCancel
  int32_t process = 0;
  int32_t secret = 0;

  std::string parameter(const std::string& name) const;
};

/// Collects startup packets: a client may send SSLRequest and GSSENCRequest first, each answered
/// by one byte.
class StartupDecoder {
 public:
  void feed(std::string_view bytes) { buffer_ += bytes; }
  /// Nothing until a whole packet is here. kInvalid for another protocol version.
  Result<std::optional<StartupPacket>> next();
  /// What came behind the last packet. After an SSLRequest it must be empty: bytes that an
  /// attacker put in front of the handshake would otherwise be taken as the client's.
  std::string take_rest();
  bool has_rest() const { return !buffer_.empty(); }

 private:
  std::string buffer_;
};

/// 'P'
struct ParseMessage {
  std::string name;
  std::string sql;
  std::vector<uint32_t> parameter_types;  ///< 0: to be found out
};

/// 'B'
struct BindMessage {
  std::string portal;
  std::string statement;
  std::vector<int16_t> parameter_formats;
  std::vector<std::optional<std::string>> parameters;
  std::vector<int16_t> result_formats;

  /// 0 text or 1 binary for parameter `i`; one format stands for all, none for text.
  static int16_t format_of(const std::vector<int16_t>& formats, size_t i);
};

/// 'D' or 'C': 'S' a prepared statement, 'P' a portal.
struct NamedMessage {
  char kind = 'S';
  std::string name;
};

/// 'E'
struct ExecuteMessage {
  std::string portal;
  int32_t row_limit = 0;  ///< 0: no limit
};

/// 'p' as the first answer to AuthenticationSASL
struct SaslInitialMessage {
  std::string mechanism;
  std::string data;
};

Result<std::string> decode_query(const Message& message);
Result<ParseMessage> decode_parse(const Message& message);
Result<BindMessage> decode_bind(const Message& message);
Result<NamedMessage> decode_named(const Message& message);
Result<ExecuteMessage> decode_execute(const Message& message);
Result<SaslInitialMessage> decode_sasl_initial(const Message& message);

/// Messages for a server: what a client of ours sends.
void append_startup(std::string& out, const std::map<std::string, std::string>& parameters);
void append_cancel_request(std::string& out, int32_t process, int32_t secret);
void append_query(std::string& out, std::string_view sql);
/// A message without a body: 'S' Sync, 'H' Flush, 'X' Terminate, ...
void append_empty(std::string& out, char type);
void append_message(std::string& out, const Message& message);

}  // namespace tide::pgwire
