#include "pgwire/message.h"

#include <fmt/format.h>

#include "base/bytes.h"

namespace tide::pgwire {

namespace {

/// Consumed bytes are dropped once there are this many.
constexpr size_t kCompactAbove = 64 * 1024;

uint16_t load_be16(const void* from) { return __builtin_bswap16(load<uint16_t>(from)); }

}  // namespace

void append_int16(std::string& out, int16_t value) {
  append(out, __builtin_bswap16(static_cast<uint16_t>(value)));
}
void append_int32(std::string& out, int32_t value) {
  append_be32(out, static_cast<uint32_t>(value));
}
void append_int64(std::string& out, int64_t value) {
  append_be64(out, static_cast<uint64_t>(value));
}

void MessageDecoder::feed(std::string_view bytes) {
  if (position_ == buffer_.size()) {
    buffer_.clear();
    position_ = 0;
  } else if (position_ > kCompactAbove) {
    buffer_.erase(0, position_);
    position_ = 0;
  }
  buffer_ += bytes;
}

Result<std::optional<Message>> MessageDecoder::next() {
  if (buffered() < 5) return std::optional<Message>();
  uint32_t length = load_be32(buffer_.data() + position_ + 1);
  if (length < 4 || length - 4 > body_bytes_max_) {
    return Status(Code::kCorrupt,
                  fmt::format("message '{}' of length {} (4 to {} is possible)",
                              static_cast<int>(static_cast<unsigned char>(buffer_[position_])),
                              length, body_bytes_max_ + 4));
  }
  if (buffered() < size_t{length} + 1) return std::optional<Message>();
  Message message;
  message.type = buffer_[position_];
  message.body.assign(buffer_, position_ + 5, length - 4);
  position_ += size_t{length} + 1;
  return std::optional<Message>(std::move(message));
}

std::string_view BodyReader::take(size_t size) {
  if (remaining() < size) {
    failed_ = true;
    position_ = body_.size();
    return {};
  }
  std::string_view taken = body_.substr(position_, size);
  position_ += size;
  return taken;
}

uint8_t BodyReader::byte() {
  std::string_view taken = take(1);
  return taken.empty() ? 0 : static_cast<uint8_t>(taken[0]);
}

int16_t BodyReader::int16() {
  std::string_view taken = take(2);
  return taken.empty() ? int16_t{0} : static_cast<int16_t>(load_be16(taken.data()));
}

int32_t BodyReader::int32() {
  std::string_view taken = take(4);
  return taken.empty() ? 0 : static_cast<int32_t>(load_be32(taken.data()));
}

std::string_view BodyReader::string() {
  size_t end = body_.find('\0', position_);
  if (end == std::string_view::npos) {
    failed_ = true;
    position_ = body_.size();
    return {};
  }
  std::string_view taken = body_.substr(position_, end - position_);
  position_ = end + 1;
  return taken;
}

Status BodyReader::finish(std::string_view what) const {
  if (failed_) return {Code::kCorrupt, fmt::format("message {} ends too early", what)};
  if (remaining() > 0) {
    return {Code::kCorrupt, fmt::format("message {} has {} bytes too many", what, remaining())};
  }
  return {};
}

MessageWriter::MessageWriter(std::string& out, char type) : out_(out) {
  out_ += type;
  length_at_ = out_.size();
  out_.append(4, '\0');
}

MessageWriter::~MessageWriter() {
  uint32_t length = __builtin_bswap32(static_cast<uint32_t>(out_.size() - length_at_));
  store(out_.data() + length_at_, length);
}

void MessageWriter::int16(int value) { append_int16(out_, static_cast<int16_t>(value)); }
void MessageWriter::int32(int32_t value) { append_int32(out_, value); }

void MessageWriter::string(std::string_view value) {
  out_ += value.substr(0, value.find('\0'));
  out_ += '\0';
}

void MessageWriter::counted(std::string_view value) {
  int32(static_cast<int32_t>(value.size()));
  out_ += value;
}

}  // namespace tide::pgwire
