#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace tide {

using Bytes = std::vector<std::byte>;
using BytesView = std::span<const std::byte>;

inline BytesView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_chars(BytesView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Reads a value in host order (all our formats are little endian, as is every machine we run on)
/// from a place that need not be aligned.
template <typename T>
requires std::is_trivially_copyable_v<T> T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <typename T>
requires std::is_trivially_copyable_v<T>
void store(void* to, const T& value) { std::memcpy(to, &value, sizeof(T)); }

/// Appends the bytes of a trivially copyable value.
template <typename T>
requires std::is_trivially_copyable_v<T>
void append(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

/// Big-endian writers and readers for keys that must sort by number.
inline void append_be32(std::string& to, uint32_t value) {
  value = __builtin_bswap32(value);
  append(to, value);
}
inline void append_be64(std::string& to, uint64_t value) {
  value = __builtin_bswap64(value);
  append(to, value);
}
inline uint32_t load_be32(const void* from) { return __builtin_bswap32(load<uint32_t>(from)); }
inline uint64_t load_be64(const void* from) { return __builtin_bswap64(load<uint64_t>(from)); }

/// Walks a byte range from front to back. A read past the end yields zeros and sets `failed()`;
/// check once after a group of reads.
class ByteReader {
 public:
  explicit ByteReader(BytesView bytes) : bytes_(bytes) {}

  template <typename T>
  requires std::is_trivially_copyable_v<T> T read() {
    if (bytes_.size() - position_ < sizeof(T)) {
      failed_ = true;
      position_ = bytes_.size();
      return T{};
    }
    T value = load<T>(bytes_.data() + position_);
    position_ += sizeof(T);
    return value;
  }

  /// The next `size` bytes, empty and failed if there are fewer.
  BytesView take(size_t size) {
    if (bytes_.size() - position_ < size) {
      failed_ = true;
      position_ = bytes_.size();
      return {};
    }
    BytesView taken = bytes_.subspan(position_, size);
    position_ += size;
    return taken;
  }

  BytesView rest() const { return bytes_.subspan(position_); }
  size_t remaining() const { return bytes_.size() - position_; }
  size_t position() const { return position_; }
  bool failed() const { return failed_; }

 private:
  BytesView bytes_;
  size_t position_ = 0;
  bool failed_ = false;
};

}  // namespace tide
