#include <array>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "pgtypes/internal/print.h"
#include "pgtypes/varlena.h"

namespace tide::pgtypes {
namespace {

// jsonb.h: a container is a word of count and flags, a JEntry per child, then the children's bytes.
constexpr uint32_t kCountMask = 0x0FFFFFFF;
constexpr uint32_t kScalar = 0x10000000;
constexpr uint32_t kObject = 0x20000000;
constexpr uint32_t kArray = 0x40000000;
constexpr uint32_t kLengthMask = 0x0FFFFFFF;
constexpr uint32_t kHasOffset = 0x80000000;

enum EntryType : uint32_t { kString, kNumericEntry, kFalse, kTrue, kNull, kContainer };

/// A container that is being printed. Values are walked one after the other, an object's keys
/// beside them: keys lie before all values.
class Walk {
 public:
  bool open(std::string_view bytes) {
    if (bytes.size() < 4) return false;
    auto header = load<uint32_t>(bytes.data());
    object_ = (header & kObject) != 0;
    scalar_ = (header & kScalar) != 0;
    if (object_ == ((header & kArray) != 0)) return false;
    count_ = header & kCountMask;
    size_t entries = size_t{count_} * (object_ ? 2 : 1);
    if ((bytes.size() - 4) / 4 < entries) return false;
    entries_ = bytes.substr(4, entries * 4);
    data_ = bytes.substr(4 + entries * 4);
    key_ = {0, 0};
    value_ = {0, 0};
    if (object_) {
      for (uint32_t i = 0; i < count_; ++i) value_offset_step(value_);
    }
    return true;
  }

  bool object() const { return object_; }
  bool scalar() const { return scalar_; }
  uint32_t count() const { return count_; }

  struct Item {
    EntryType type;
    std::string_view bytes;
  };
  std::optional<Item> next_key() { return next(key_); }
  std::optional<Item> next_value() { return next(value_); }
  uint32_t printed = 0;

 private:
  struct Cursor {
    uint32_t index;
    uint64_t offset;
  };

  /// Begin of the entry's bytes; moves behind it.
  uint64_t value_offset_step(Cursor& cursor) const {
    auto entry = load<uint32_t>(entries_.data() + size_t{cursor.index} * 4);
    uint64_t begin = cursor.offset;
    uint32_t length = entry & kLengthMask;
    cursor.offset = (entry & kHasOffset) != 0 ? length : begin + length;
    ++cursor.index;
    return begin;
  }

  std::optional<Item> next(Cursor& cursor) const {
    auto entry = load<uint32_t>(entries_.data() + size_t{cursor.index} * 4);
    uint64_t begin = value_offset_step(cursor);
    uint64_t end = cursor.offset;
    auto type = static_cast<EntryType>((entry & 0x70000000) >> 28);
    if (type == kNumericEntry || type == kContainer) begin = (begin + 3) & ~uint64_t{3};
    if (end > data_.size() || begin > end || type > kContainer) return std::nullopt;
    return Item{type, data_.substr(begin, end - begin)};
  }

  bool object_ = false;
  bool scalar_ = false;
  uint32_t count_ = 0;
  std::string_view entries_;
  std::string_view data_;
  Cursor key_{};
  Cursor value_{};
};

Status corrupt_jsonb() { return corrupt_value("jsonb", "its parts do not fit together"); }

}  // namespace

void print_json_string(std::string_view text, std::string& out) {
  out += '"';
  size_t plain = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<uint8_t>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out += text.substr(plain, i - plain);
    plain = i + 1;
    out += '\\';
    switch (c) {
      case '\b':
        out += 'b';
        break;
      case '\f':
        out += 'f';
        break;
      case '\n':
        out += 'n';
        break;
      case '\r':
        out += 'r';
        break;
      case '\t':
        out += 't';
        break;
      case '"':
      case '\\':
        out += static_cast<char>(c);
        break;
      default:
        out += "u00";
        out += static_cast<char>('0' + (c >> 4));
        out += "0123456789abcdef"[c & 0x0F];
    }
  }
  out += text.substr(plain);
  out += '"';
}

Status print_jsonb(std::string_view payload, std::string& out) {
  // Values nest as deep as somebody cares to write: no recursion.
  std::vector<Walk> open(1);
  if (!open[0].open(payload)) return corrupt_jsonb();
  bool raw_scalar = open[0].scalar();
  if (raw_scalar && (open[0].object() || open[0].count() != 1)) return corrupt_jsonb();
  if (!raw_scalar) out += open[0].object() ? '{' : '[';
  while (!open.empty()) {
    Walk& walk = open.back();
    if (walk.printed == walk.count()) {
      if (!(raw_scalar && open.size() == 1)) out += walk.object() ? '}' : ']';
      open.pop_back();
      continue;
    }
    if (walk.printed++ > 0) out += ", ";
    if (walk.object()) {
      auto key = walk.next_key();
      if (!key || key->type != kString) return corrupt_jsonb();
      print_json_string(key->bytes, out);
      out += ": ";
    }
    auto value = walk.next_value();
    if (!value) return corrupt_jsonb();
    switch (value->type) {
      case kString:
        print_json_string(value->bytes, out);
        break;
      case kNumericEntry: {
        std::string scratch;
        TIDE_TRY(print_numeric(TIDE_TRY(inline_payload(value->bytes, scratch)), out));
        break;
      }
      case kFalse:
        out += "false";
        break;
      case kTrue:
        out += "true";
        break;
      case kNull:
        out += "null";
        break;
      case kContainer: {
        Walk child;
        if (!child.open(value->bytes)) return corrupt_jsonb();
        out += child.object() ? '{' : '[';
        open.push_back(child);
        break;
      }
    }
  }
  return {};
}

}  // namespace tide::pgtypes
