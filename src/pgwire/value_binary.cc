#include "pgwire/value_binary.h"

#include <fmt/format.h>

#include <vector>

#include "base/bytes.h"
#include "pgwire/message.h"
#include "pgwire/type_oids.h"

namespace tide::pgwire {

namespace {

/// PostgreSQL counts from 2000-01-01.
constexpr int32_t kEpochDays = 10'957;
constexpr int64_t kEpochMicros = int64_t{kEpochDays} * 86'400 * 1'000'000;
constexpr uint16_t kNumericNegative = 0x4000;
constexpr uint16_t kNumericNaN = 0xC000;
constexpr uint16_t kNumericInfinity = 0xD000;
constexpr uint16_t kNumericMinusInfinity = 0xF000;

Status incorrect(std::string_view type) {
  return Status(Code::kInvalid, "incorrect binary data format")
      .with_detail(fmt::format("A value of type {} was expected.", type));
}

int64_t int64_at(std::string_view bytes) { return static_cast<int64_t>(load_be64(bytes.data())); }

Result<std::string> numeric_to_text(std::string_view bytes) {
  BodyReader reader(bytes);
  int count = reader.int16();
  int weight = reader.int16();
  uint16_t sign = static_cast<uint16_t>(reader.int16());
  int scale = reader.int16();
  if (sign == kNumericNaN) return std::string("NaN");
  if (sign == kNumericInfinity) return std::string("Infinity");
  if (sign == kNumericMinusInfinity) return std::string("-Infinity");
  if (reader.failed() || count < 0 || scale < 0 || scale > 0x3FFF ||
      (sign != 0 && sign != kNumericNegative)) {
    return incorrect("numeric");
  }
  std::vector<int> digits;
  for (int i = 0; i < count; ++i) {
    int digit = reader.int16();
    if (digit < 0 || digit > 9999) return incorrect("numeric");
    digits.push_back(digit);
  }
  if (reader.failed() || reader.remaining() > 0) return incorrect("numeric");
  auto digit_at = [&](int place) {  // of 10000^place
    int i = weight - place;
    return i >= 0 && i < count ? digits[static_cast<size_t>(i)] : 0;
  };
  std::string text = sign == kNumericNegative ? "-" : "";
  if (weight < 0) {
    text += '0';
  } else {
    text += fmt::format("{}", digit_at(weight));
    for (int place = weight - 1; place >= 0; --place) text += fmt::format("{:04}", digit_at(place));
  }
  if (scale > 0) {
    std::string fraction;
    for (int place = -1; static_cast<int>(fraction.size()) < scale; --place) {
      fraction += fmt::format("{:04}", digit_at(place));
    }
    text += '.';
    text += fraction.substr(0, static_cast<size_t>(scale));
  }
  return text;
}

}  // namespace

void append_binary_float4(std::string& out, float value) {
  append_int32(out, static_cast<int32_t>(load<uint32_t>(&value)));
}

void append_binary_float8(std::string& out, double value) {
  append_int64(out, static_cast<int64_t>(load<uint64_t>(&value)));
}

void append_binary_numeric(std::string& out, int128 unscaled, int scale) {
  // Groups of four digits, aligned to the decimal point.
  bool negative = unscaled < 0;
  unsigned __int128 rest = negative ? -static_cast<unsigned __int128>(unscaled)
                                    : static_cast<unsigned __int128>(unscaled);
  std::vector<int16_t> groups;  // lowest first
  int lowest = 0;               // power of 10000 of groups[0]
  if (scale % 4 != 0) {
    int part = scale % 4;
    int divisor = part == 1 ? 10 : part == 2 ? 100 : 1000;
    groups.push_back(static_cast<int16_t>(static_cast<int>(rest % divisor) * (10'000 / divisor)));
    rest /= divisor;
  }
  lowest = -((scale + 3) / 4);
  while (rest != 0) {
    groups.push_back(static_cast<int16_t>(rest % 10'000));
    rest /= 10'000;
  }
  while (!groups.empty() && groups.back() == 0) groups.pop_back();
  size_t skip = 0;
  while (skip < groups.size() && groups[skip] == 0) ++skip;
  size_t count = groups.size() - skip;
  int weight = count == 0 ? 0 : lowest + static_cast<int>(groups.size()) - 1;
  append_int16(out, static_cast<int16_t>(count));
  append_int16(out, static_cast<int16_t>(weight));
  append_int16(out, static_cast<int16_t>(negative ? kNumericNegative : 0));
  append_int16(out, static_cast<int16_t>(scale));
  for (size_t i = groups.size(); i > skip; --i) append_int16(out, groups[i - 1]);
}

void append_binary_date(std::string& out, int32_t days) {
  if (days == kDateInfinity) return append_int32(out, INT32_MAX);
  if (days <= -kDateInfinity) return append_int32(out, INT32_MIN);
  append_int32(out, days - kEpochDays);
}

void append_binary_timestamp(std::string& out, int64_t microseconds) {
  if (microseconds == kTimestampInfinity) return append_int64(out, INT64_MAX);
  if (microseconds <= -kTimestampInfinity) return append_int64(out, INT64_MIN);
  int64_t shifted;
  if (__builtin_sub_overflow(microseconds, kEpochMicros, &shifted)) shifted = INT64_MIN;
  append_int64(out, shifted);
}

void append_binary_interval(std::string& out, const Interval& value) {
  append_int64(out, value.microseconds);
  append_int32(out, value.days);
  append_int32(out, value.months);
}

void append_binary_array_head(std::string& out, size_t elements, bool has_null, uint32_t element) {
  append_int32(out, elements == 0 ? 0 : 1);
  append_int32(out, has_null ? 1 : 0);
  append_int32(out, static_cast<int32_t>(element));
  if (elements == 0) return;
  append_int32(out, static_cast<int32_t>(elements));
  append_int32(out, 1);
}

Result<std::string> binary_to_text(uint32_t type, std::string_view bytes) {
  int16_t size = oid::size_of(type);
  if (size > 0 && type != oid::kName && bytes.size() != static_cast<size_t>(size)) {
    return incorrect(fmt::format("{}", type));
  }
  std::string text;
  switch (type) {
    case oid::kBool:
      return std::string(bytes[0] != 0 ? "t" : "f");
    case oid::kInt2:
      return fmt::format("{}",
                         static_cast<int16_t>(__builtin_bswap16(load<uint16_t>(bytes.data()))));
    case oid::kInt4:
      return fmt::format("{}", static_cast<int32_t>(load_be32(bytes.data())));
    case oid::kOid:
      return fmt::format("{}", load_be32(bytes.data()));
    case oid::kInt8:
      return fmt::format("{}", int64_at(bytes));
    case oid::kFloat4: {
      uint32_t bits = load_be32(bytes.data());
      append_text_float4(text, load<float>(&bits));
      return text;
    }
    case oid::kFloat8: {
      uint64_t bits = load_be64(bytes.data());
      append_text_float8(text, load<double>(&bits));
      return text;
    }
    case oid::kNumeric:
      return numeric_to_text(bytes);
    case oid::kDate: {
      int32_t days = static_cast<int32_t>(load_be32(bytes.data()));
      if (days == INT32_MIN) {
        days = -kDateInfinity;
      } else if (days != INT32_MAX && __builtin_add_overflow(days, kEpochDays, &days)) {
        return incorrect("date");
      }
      append_text_date(text, days);
      return text;
    }
    case oid::kTime: {
      int64_t micros = int64_at(bytes);
      if (micros < 0 || micros > int64_t{86'400} * 1'000'000) return incorrect("time");
      append_text_time(text, micros);
      return text;
    }
    case oid::kTimestamp:
    case oid::kTimestamptz: {
      int64_t micros = int64_at(bytes);
      if (micros == INT64_MIN) {
        micros = -kTimestampInfinity;
      } else if (micros != INT64_MAX && __builtin_add_overflow(micros, kEpochMicros, &micros)) {
        return incorrect("timestamp");
      }
      if (type == oid::kTimestamp) {
        append_text_timestamp(text, micros);
      } else {
        append_text_timestamptz(text, micros, 0);
      }
      return text;
    }
    case oid::kInterval: {
      Interval interval;
      interval.microseconds = int64_at(bytes);
      interval.days = static_cast<int32_t>(load_be32(bytes.data() + 8));
      interval.months = static_cast<int32_t>(load_be32(bytes.data() + 12));
      append_text_interval(text, interval);
      return text;
    }
    case oid::kUuid:
      append_text_uuid(text, bytes);
      return text;
    case oid::kBytea:
      append_text_bytea(text, bytes);
      return text;
    case oid::kJsonb:
      if (bytes.empty() || bytes[0] != 1) return incorrect("jsonb");
      return std::string(bytes.substr(1));
    case 0:
    case oid::kChar:
    case oid::kName:
    case oid::kText:
    case oid::kVarchar:
    case oid::kBpchar:
    case oid::kUnknown:
    case oid::kJson:
      return std::string(bytes);
    default:
      return Status(Code::kInvalid, fmt::format("no binary input for the type with OID {}", type))
          .with_hint("Send the parameter in text format.");
  }
}

Result<ArrayText> binary_to_array(uint32_t element, std::string_view bytes) {
  BodyReader reader(bytes);
  int dimensions = reader.int32();
  reader.int32();  // whether there are nulls
  uint32_t type = static_cast<uint32_t>(reader.int32());
  if (reader.failed() || dimensions < 0) return incorrect("array");
  if (dimensions > 1) {
    return Status(Code::kInvalid, "arrays of more than one dimension are not supported here");
  }
  if (type != element) {
    return Status(Code::kInvalid,
                  fmt::format("wrong element type: {} instead of {}", type, element));
  }
  ArrayText array;
  if (dimensions == 0) return array;
  int count = reader.int32();
  reader.int32();  // lower bound
  if (count < 0 || static_cast<size_t>(count) > reader.remaining() / 4) return incorrect("array");
  for (int i = 0; i < count; ++i) {
    int32_t size = reader.int32();
    if (size < 0) {
      array.elements.emplace_back(std::nullopt);
      continue;
    }
    std::string_view value = reader.take(static_cast<size_t>(size));
    if (reader.failed()) return incorrect("array");
    array.elements.emplace_back(TIDE_TRY(binary_to_text(element, value)));
  }
  if (reader.failed() || reader.remaining() > 0) return incorrect("array");
  return array;
}

}  // namespace tide::pgwire
