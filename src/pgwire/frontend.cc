#include "pgwire/frontend.h"

#include <fmt/format.h>

#include "base/bytes.h"

namespace tide::pgwire {

namespace {

constexpr uint32_t kCancelCode = 80'877'102;
constexpr uint32_t kSslCode = 80'877'103;
constexpr uint32_t kGssCode = 80'877'104;

}  // namespace

std::string StartupPacket::parameter(const std::string& name) const {
  auto found = parameters.find(name);
  return found == parameters.end() ? "" : found->second;
}

Result<std::optional<StartupPacket>> StartupDecoder::next() {
  if (buffer_.size() < 4) return std::optional<StartupPacket>();
  uint32_t length = load_be32(buffer_.data());
  if (length < 8 || length > kStartupBytesMax) {
    return Status(Code::kCorrupt, "invalid length of startup packet");
  }
  if (buffer_.size() < length) return std::optional<StartupPacket>();
  std::string bytes = buffer_.substr(4, length - 4);
  buffer_.erase(0, length);

  BodyReader reader(bytes);
  StartupPacket packet;
  uint32_t code = static_cast<uint32_t>(reader.int32());
  if (code == kSslCode || code == kGssCode) {
    packet.kind =
        code == kSslCode ? StartupPacket::Kind::kSslRequest : StartupPacket::Kind::kGssRequest;
    TIDE_TRY(reader.finish("SSLRequest"));
    return std::optional<StartupPacket>(packet);
  }
  if (code == kCancelCode) {
    packet.kind = StartupPacket::Kind::kCancel;
    packet.process = reader.int32();
    packet.secret = reader.int32();
    TIDE_TRY(reader.finish("CancelRequest"));
    return std::optional<StartupPacket>(packet);
  }
  if (code >> 16 != 3) {
    return Status(Code::kInvalid,
                  fmt::format("unsupported frontend protocol {}.{}: server supports 3.0 to 3.0",
                              code >> 16, code & 0xFFFF));
  }
  packet.minor_version = static_cast<int>(code & 0xFFFF);
  while (true) {
    std::string_view name = reader.string();
    if (reader.failed()) return reader.finish("StartupMessage");
    if (name.empty()) break;
    packet.parameters[std::string(name)] = std::string(reader.string());
  }
  TIDE_TRY(reader.finish("StartupMessage"));
  return std::optional<StartupPacket>(std::move(packet));
}

std::string StartupDecoder::take_rest() { return std::exchange(buffer_, std::string()); }

int16_t BindMessage::format_of(const std::vector<int16_t>& formats, size_t i) {
  if (formats.empty()) return 0;
  if (formats.size() == 1) return formats[0];
  return i < formats.size() ? formats[i] : int16_t{0};
}

Result<std::string> decode_query(const Message& message) {
  BodyReader reader(message.body);
  std::string sql(reader.string());
  TIDE_TRY(reader.finish("Query"));
  return sql;
}

Result<ParseMessage> decode_parse(const Message& message) {
  BodyReader reader(message.body);
  ParseMessage parse;
  parse.name = reader.string();
  parse.sql = reader.string();
  int count = reader.int16();
  if (count < 0) return Status(Code::kCorrupt, "message Parse has a negative count");
  for (int i = 0; i < count && !reader.failed(); ++i) {
    parse.parameter_types.push_back(static_cast<uint32_t>(reader.int32()));
  }
  TIDE_TRY(reader.finish("Parse"));
  return parse;
}

Result<BindMessage> decode_bind(const Message& message) {
  BodyReader reader(message.body);
  BindMessage bind;
  bind.portal = reader.string();
  bind.statement = reader.string();
  auto read_formats = [&reader](std::vector<int16_t>& formats) -> Status {
    int count = reader.int16();
    if (count < 0) return {Code::kCorrupt, "message Bind has a negative count"};
    for (int i = 0; i < count && !reader.failed(); ++i) {
      int16_t format = reader.int16();
      if (format != 0 && format != 1) {
        return {Code::kInvalid, fmt::format("unsupported format code: {}", format)};
      }
      formats.push_back(format);
    }
    return {};
  };
  TIDE_TRY(read_formats(bind.parameter_formats));
  // The number of parameters is unsigned: up to 65535.
  int count = static_cast<uint16_t>(reader.int16());
  for (int i = 0; i < count && !reader.failed(); ++i) {
    int32_t size = reader.int32();
    if (size < -1) return Status(Code::kCorrupt, "message Bind has a negative length");
    if (size == -1) {
      bind.parameters.emplace_back(std::nullopt);
    } else {
      bind.parameters.emplace_back(std::string(reader.take(static_cast<size_t>(size))));
    }
  }
  TIDE_TRY(read_formats(bind.result_formats));
  TIDE_TRY(reader.finish("Bind"));
  if (bind.parameter_formats.size() > 1 &&
      bind.parameter_formats.size() != bind.parameters.size()) {
    return Status(Code::kCorrupt,
                  fmt::format("bind message has {} parameter formats but {} parameters",
                              bind.parameter_formats.size(), bind.parameters.size()));
  }
  return bind;
}

Result<NamedMessage> decode_named(const Message& message) {
  BodyReader reader(message.body);
  NamedMessage named;
  named.kind = static_cast<char>(reader.byte());
  named.name = reader.string();
  TIDE_TRY(reader.finish(message.type == 'D' ? "Describe" : "Close"));
  if (named.kind != 'S' && named.kind != 'P') {
    return Status(Code::kCorrupt, fmt::format("invalid subtype {} of message Describe or Close",
                                              static_cast<int>(named.kind)));
  }
  return named;
}

Result<ExecuteMessage> decode_execute(const Message& message) {
  BodyReader reader(message.body);
  ExecuteMessage execute;
  execute.portal = reader.string();
  execute.row_limit = reader.int32();
  TIDE_TRY(reader.finish("Execute"));
  if (execute.row_limit < 0) execute.row_limit = 0;
  return execute;
}

Result<SaslInitialMessage> decode_sasl_initial(const Message& message) {
  BodyReader reader(message.body);
  SaslInitialMessage initial;
  initial.mechanism = reader.string();
  int32_t size = reader.int32();
  if (size < -1) return Status(Code::kCorrupt, "message SASLInitialResponse: negative length");
  if (size >= 0) initial.data = reader.take(static_cast<size_t>(size));
  TIDE_TRY(reader.finish("SASLInitialResponse"));
  return initial;
}

void append_startup(std::string& out, const std::map<std::string, std::string>& parameters) {
  std::string body;
  append_int32(body, 3 << 16);
  for (const auto& [name, value] : parameters) {
    body += name;
    body += '\0';
    body += value;
    body += '\0';
  }
  body += '\0';
  append_int32(out, static_cast<int32_t>(body.size() + 4));
  out += body;
}

void append_cancel_request(std::string& out, int32_t process, int32_t secret) {
  append_int32(out, 16);
  append_be32(out, kCancelCode);
  append_int32(out, process);
  append_int32(out, secret);
}

void append_query(std::string& out, std::string_view sql) { MessageWriter(out, 'Q').string(sql); }

void append_empty(std::string& out, char type) { MessageWriter(out, type); }

void append_message(std::string& out, const Message& message) {
  MessageWriter(out, message.type).bytes(message.body);
}

}  // namespace tide::pgwire
