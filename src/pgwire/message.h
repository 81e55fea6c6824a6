#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tide::pgwire {

/// One message of protocol version 3 after the startup phase: its type byte and what follows the
/// length.
struct Message {
  char type = 0;
  std::string body;
};

/// Cuts a byte stream of either direction into messages. No I/O: bytes in, messages out.
class MessageDecoder {
 public:
  /// `body_bytes_max`: a longer message is refused before it is collected.
  explicit MessageDecoder(size_t body_bytes_max) : body_bytes_max_(body_bytes_max) {}

  void feed(std::string_view bytes);
  /// The next whole message, or nothing until more bytes came. kCorrupt for an impossible length
  /// (the stream has no meaning from there on).
  Result<std::optional<Message>> next();
  size_t buffered() const { return buffer_.size() - position_; }

 private:
  const size_t body_bytes_max_;
  std::string buffer_;
  size_t position_ = 0;
};

/// Walks a message body. A read past the end, or a string without its zero, yields zeros and sets
/// failed(); check once with finish().
class BodyReader {
 public:
  explicit BodyReader(std::string_view body) : body_(body) {}

  uint8_t byte();
  int16_t int16();
  int32_t int32();
  /// Up to the next zero byte, which is consumed.
  std::string_view string();
  std::string_view take(size_t size);
  std::string_view rest() { return take(remaining()); }
  size_t remaining() const { return body_.size() - position_; }
  bool failed() const { return failed_; }
  /// kCorrupt if a read failed or bytes are left; `what` names the message.
  Status finish(std::string_view what) const;

 private:
  std::string_view body_;
  size_t position_ = 0;
  bool failed_ = false;
};

/// Appends one message to an output buffer; the length is set when this goes out of scope.
class MessageWriter {
 public:
  MessageWriter(std::string& out, char type);
  ~MessageWriter();
  MessageWriter(const MessageWriter&) = delete;
  MessageWriter& operator=(const MessageWriter&) = delete;

  void byte(char value) { out_ += value; }
  void int16(int value);
  void int32(int32_t value);
  /// With a zero behind it; a zero inside ends it early.
  void string(std::string_view value);
  void bytes(std::string_view value) { out_ += value; }
  /// A value of a row: its length, then its bytes.
  void counted(std::string_view value);
  std::string& out() { return out_; }

 private:
  std::string& out_;
  size_t length_at_;
};

/// Big-endian numbers as the protocol has them.
void append_int16(std::string& out, int16_t value);
void append_int32(std::string& out, int32_t value);
void append_int64(std::string& out, int64_t value);

}  // namespace tide::pgwire
