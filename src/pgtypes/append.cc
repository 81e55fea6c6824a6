#include "pgtypes/append.h"

#include <fmt/format.h>

#include <limits>

#include "pgtypes/internal/array_view.h"
#include "pgtypes/internal/numeric.h"
#include "pgtypes/internal/print.h"
#include "pgtypes/text.h"
#include "pgtypes/varlena.h"

namespace tide::pgtypes {
namespace {

using columns::Column;
using columns::Kind;

constexpr int32_t kDaysTo2000 = 10957;  ///< from 1970-01-01
constexpr int64_t kMicrosTo2000 = int64_t{kDaysTo2000} * 86400 * 1000000;

/// What one value became; kFailed leaves the reason in the Appender.
enum class Outcome : uint8_t { kStored, kDiverted, kFailed };

/// The number times 10^scale; false if that is no integer below 10^precision.
bool unscaled(const Numeric& number, int precision, int scale, __int128& result) {
  __int128 sum = 0;
  int last_exponent = 0;
  for (int i = 0; i < number.count; ++i) {
    __int128 group = number.group(i);
    int exponent = (number.weight - i) * 4 + scale;
    int digits = 4;
    if (exponent < 0) {
      if (exponent <= -4) {
        if (group != 0) return false;
        continue;
      }
      digits += exponent;
      int divisor = exponent == -1 ? 10 : exponent == -2 ? 100 : 1000;
      if (group % divisor != 0) return false;
      group /= divisor;
      exponent = 0;
    }
    constexpr int kPowers[] = {1, 10, 100, 1000, 10000};
    if (__builtin_mul_overflow(sum, static_cast<__int128>(kPowers[digits]), &sum) ||
        __builtin_add_overflow(sum, group, &sum)) {
      return false;
    }
    last_exponent = exponent;
  }
  for (; last_exponent > 0 && sum != 0; --last_exponent) {
    if (__builtin_mul_overflow(sum, static_cast<__int128>(10), &sum)) return false;
  }
  __int128 limit = 1;
  for (int i = 0; i < precision; ++i) limit *= 10;
  if (sum >= limit) return false;
  result = number.negative ? -sum : sum;
  return true;
}

class Appender {
 public:
  Outcome append(const TypeTree& type, std::string_view datum, Column& column);
  Status take_error() { return std::move(error_); }

 private:
  Outcome fail(Status error) {
    error_ = std::move(error);
    return Outcome::kFailed;
  }
  Outcome wrong_size(const TypeTree& type, std::string_view datum) {
    return fail(corrupt_value(type.name, fmt::format("{} bytes", datum.size())));
  }
  Outcome append_bytes(std::string_view bytes, Column& column) {
    if (bytes.size() > UINT32_MAX - column.heap().size()) [[unlikely]] {
      return fail({Code::kNoSpace, "a column holds 4 GiB of text at most: begin another batch"});
    }
    column.append_bytes(bytes);
    return Outcome::kStored;
  }
  template <typename Stored, typename Taken>
  Outcome copy(const TypeTree& type, std::string_view datum, Column& column) {
    if (datum.size() != sizeof(Stored)) [[unlikely]]
      return wrong_size(type, datum);
    column.append(static_cast<Taken>(load<Stored>(datum.data())));
    return Outcome::kStored;
  }
  static Outcome divert(Column& column) {
    column.append_null();
    return Outcome::kDiverted;
  }
  static void append_decimal(__int128 value, int precision, Column& column) {
    switch (columns::decimal_width(precision)) {
      case 2:
        return column.append(static_cast<int16_t>(value));
      case 4:
        return column.append(static_cast<int32_t>(value));
      case 8:
        return column.append(static_cast<int64_t>(value));
      default:
        return column.append(value);
    }
  }
  Outcome append_numeric(std::string_view payload, Column& column);
  Outcome append_timestamp(const TypeTree& type, std::string_view datum, Column& column);
  Outcome append_printed(const TypeTree& type, std::string_view datum, Column& column);
  Outcome append_array(const TypeTree& type, std::string_view payload, Column& column);
  Outcome append_composite(const TypeTree& type, std::string_view payload, Column& column);
  Outcome append_vector(std::string_view payload, Column& column);
  Outcome append_varlena(const TypeTree& type, std::string_view datum, Column& column);

  Status error_;
};

Outcome Appender::append(const TypeTree& type, std::string_view datum, Column& column) {
  switch (type.format) {
    case Format::kBool:
      if (datum.size() != 1) return wrong_size(type, datum);
      column.append(static_cast<uint8_t>(datum[0] != 0));
      return Outcome::kStored;
    case Format::kInt2:
      return copy<int16_t, int16_t>(type, datum, column);
    case Format::kInt4:
      return copy<int32_t, int32_t>(type, datum, column);
    case Format::kInt8:
      return copy<int64_t, int64_t>(type, datum, column);
    case Format::kUnsigned4:
      return copy<uint32_t, int64_t>(type, datum, column);
    case Format::kFloat4:
      return copy<float, float>(type, datum, column);
    case Format::kFloat8:
      return copy<double, double>(type, datum, column);
    case Format::kMoney:
      if (datum.size() != 8) return wrong_size(type, datum);
      append_decimal(load<int64_t>(datum.data()), column.type().precision, column);
      return Outcome::kStored;
    case Format::kDate: {
      if (datum.size() != 4) return wrong_size(type, datum);
      auto days = load<int32_t>(datum.data());
      int32_t since_1970 = 0;
      if (days == std::numeric_limits<int32_t>::min() ||
          __builtin_add_overflow(days, kDaysTo2000, &since_1970)) {
        return divert(column);
      }
      column.append(since_1970);
      return Outcome::kStored;
    }
    case Format::kTimestamp:
    case Format::kTimestamptz:
      return append_timestamp(type, datum, column);
    case Format::kName:
      if (datum.size() != 64) return wrong_size(type, datum);
      return append_bytes(datum.substr(0, datum.find('\0')), column);
    case Format::kChar:
      if (datum.size() != 1) return wrong_size(type, datum);
      // From 0x80 on the byte alone is no character of UTF-8.
      if (static_cast<uint8_t>(datum[0]) >= 0x80) {
        return append_bytes(fmt::format("\\{:03o}", static_cast<uint8_t>(datum[0])), column);
      }
      return append_bytes(datum.substr(0, datum[0] == 0 ? 0 : 1), column);
    case Format::kText:
    case Format::kBpchar:
    case Format::kBytea:
    case Format::kNumeric:
    case Format::kArray:
    case Format::kComposite:
    case Format::kVector:
      return append_varlena(type, datum, column);
    default:
      return append_printed(type, datum, column);
  }
}

Outcome Appender::append_timestamp(const TypeTree& type, std::string_view datum, Column& column) {
  if (datum.size() != 8) return wrong_size(type, datum);
  auto time = load<int64_t>(datum.data());
  int64_t since_1970 = 0;
  // The largest number is infinity to DuckDB.
  if (time == std::numeric_limits<int64_t>::min() ||
      __builtin_add_overflow(time, kMicrosTo2000, &since_1970) ||
      since_1970 == std::numeric_limits<int64_t>::max()) {
    return divert(column);
  }
  column.append(since_1970);
  return Outcome::kStored;
}

Outcome Appender::append_printed(const TypeTree& type, std::string_view datum, Column& column) {
  std::string text;
  Status printed = append_text(type, datum, {}, text);
  if (!printed.ok()) return fail(std::move(printed));
  return append_bytes(text, column);
}

Outcome Appender::append_numeric(std::string_view payload, Column& column) {
  Numeric number;
  if (!Numeric::parse(payload, number)) {
    return fail(corrupt_value("numeric", "its digits are not there"));
  }
  __int128 value = 0;
  if (number.special != Numeric::kFinite ||
      !unscaled(number, column.type().precision, column.type().scale, value)) {
    return divert(column);
  }
  append_decimal(value, column.type().precision, column);
  return Outcome::kStored;
}

Outcome Appender::append_varlena(const TypeTree& type, std::string_view datum, Column& column) {
  std::string scratch;
  std::string_view payload;
  // The two forms of nearly all values, without the detour.
  auto first = datum.empty() ? uint8_t{0} : static_cast<uint8_t>(datum[0]);
  if ((first & 1) != 0 && size_t{first} >> 1 == datum.size() && first != 1) {
    payload = datum.substr(1);
  } else {
    Result<std::string_view> unpacked = inline_payload(datum, scratch);
    if (!unpacked.ok()) return fail(std::move(unpacked).status());
    payload = *unpacked;
  }
  switch (type.format) {
    case Format::kBpchar: {
      size_t end = payload.find_last_not_of(' ');
      return append_bytes(payload.substr(0, end == std::string_view::npos ? 0 : end + 1), column);
    }
    case Format::kNumeric:
      if (column.type().kind == Kind::kDecimal) return append_numeric(payload, column);
      return append_printed(type, datum, column);
    case Format::kArray:
      return append_array(type, payload, column);
    case Format::kComposite:
      if (column.type().kind != Kind::kStruct) return append_printed(type, datum, column);
      return append_composite(type, payload, column);
    case Format::kVector:
      return append_vector(payload, column);
    default:
      return append_bytes(payload, column);
  }
}

Outcome Appender::append_array(const TypeTree& type, std::string_view payload, Column& column) {
  const TypeTree& element = type.children[0];
  ArrayView view;
  if (!view.parse(payload, element.length, element.align) ||
      view.element_type != type.declared_element) {
    return fail(corrupt_value(type.name, "not an array of its element type"));
  }
  if (view.count > 0 && (view.dimensions != 1 || view.lower_bounds[0] != 1)) return divert(column);
  Column& elements = column.child(0);
  size_t before = elements.size();
  for (int64_t i = 0; i < view.count; ++i) {
    bool null = false;
    std::string_view datum;
    Outcome outcome = Outcome::kStored;
    if (!view.next(null, datum)) {
      outcome = fail(corrupt_value(type.name, "an element does not fit"));
    } else if (null) {
      elements.append_null();
    } else {
      outcome = append(element, datum, elements);
    }
    if (outcome != Outcome::kStored) {
      elements.truncate(before);
      return outcome == Outcome::kDiverted ? divert(column) : outcome;
    }
  }
  column.end_list();
  return Outcome::kStored;
}

Outcome Appender::append_composite(const TypeTree& type, std::string_view payload, Column& column) {
  TupleView tuple;
  if (!composite_tuple(payload, tuple)) {
    return fail(corrupt_value(type.name, "too short for a row"));
  }
  std::vector<AttributeValue> values;
  Status read = type.reader.read(tuple, values);
  if (!read.ok()) return fail(std::move(read));
  size_t before = column.size();
  size_t field = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (type.attributes[i].dropped) continue;
    Column& child = column.child(field++);
    if (values[i].null) {
      child.append_null();
      continue;
    }
    Outcome outcome = append(type.children[i], values[i].datum, child);
    if (outcome == Outcome::kStored) continue;
    for (size_t taken = 0; taken < field; ++taken) column.child(taken).truncate(before);
    return outcome == Outcome::kDiverted ? divert(column) : outcome;
  }
  column.end_struct();
  return Outcome::kStored;
}

Outcome Appender::append_vector(std::string_view payload, Column& column) {
  size_t count = payload.size() < 4 ? 0 : load<uint16_t>(payload.data());
  if (payload.size() < 4 || payload.size() - 4 != count * 4) {
    return fail(corrupt_value("vector", "its numbers are not there"));
  }
  for (size_t i = 0; i < count; ++i) {
    column.child(0).append(load<float>(payload.data() + 4 + i * 4));
  }
  column.end_list();
  return Outcome::kStored;
}

}  // namespace

Result<ValueWriter> ValueWriter::create(const TypeCatalog& catalog, uint32_t type, int32_t typmod) {
  ValueWriter writer;
  writer.type_ =
      std::make_unique<const TypeTree>(TIDE_TRY(TypeTree::resolve(catalog, type, typmod)));
  writer.column_type_ = TIDE_TRY(map_type(*writer.type_));
  return writer;
}

Result<Appended> ValueWriter::append(std::string_view datum, columns::Column& column) const {
  Appender appender;
  switch (appender.append(*type_, datum, column)) {
    case Outcome::kStored:
      return Appended::kStored;
    case Outcome::kDiverted:
      return Appended::kDiverted;
    case Outcome::kFailed:
      break;
  }
  return appender.take_error();
}

Result<Appended> append_value(const TypeCatalog& catalog, uint32_t type, int32_t typmod,
                              std::string_view datum, columns::Column& column) {
  return TIDE_TRY(ValueWriter::create(catalog, type, typmod)).append(datum, column);
}

}  // namespace tide::pgtypes
