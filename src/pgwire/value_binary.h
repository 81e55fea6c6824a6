#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "pgwire/value_text.h"

/// Values in PostgreSQL's binary forms: what the send functions write and the receive functions
/// read. Units as in value_text.h.
namespace tide::pgwire {

void append_binary_float4(std::string& out, float value);
void append_binary_float8(std::string& out, double value);
void append_binary_numeric(std::string& out, int128 unscaled, int scale);
void append_binary_date(std::string& out, int32_t days);
/// Both kinds of timestamp.
void append_binary_timestamp(std::string& out, int64_t microseconds);
void append_binary_interval(std::string& out, const Interval& value);

/// The head of a one-dimensional array; each element follows with its length, -1 for null.
void append_binary_array_head(std::string& out, size_t elements, bool has_null, uint32_t element);

/// The text form of a value received in binary, for the types of type_oids.h but arrays; kInvalid
/// ("incorrect binary data format") for bytes that are not such a value. timestamptz comes in UTC.
Result<std::string> binary_to_text(uint32_t type, std::string_view bytes);
/// A one-dimensional array whose elements are of type `element`.
Result<ArrayText> binary_to_array(uint32_t element, std::string_view bytes);

}  // namespace tide::pgwire
