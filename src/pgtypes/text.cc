#include "pgtypes/text.h"

#include <fmt/format.h>

#include <iterator>

#include "base/bytes.h"
#include "pgtypes/internal/print.h"
#include "pgtypes/varlena.h"

namespace tide::pgtypes {
namespace {

void print_integer(auto value, std::string& out) {
  fmt::format_int digits(value);
  out.append(digits.data(), digits.size());
}

/// Bytes that the format's values have; -1 varlena.
int expected_length(Format format) {
  switch (format) {
    case Format::kBool:
    case Format::kChar:
      return 1;
    case Format::kInt2:
      return 2;
    case Format::kInt4:
    case Format::kUnsigned4:
    case Format::kFloat4:
    case Format::kDate:
    case Format::kReg:
    case Format::kEnum:
      return 4;
    case Format::kInt8:
    case Format::kUnsigned8:
    case Format::kFloat8:
    case Format::kMoney:
    case Format::kTime:
    case Format::kTimestamp:
    case Format::kTimestamptz:
    case Format::kLsn:
    case Format::kMacaddr8:
      return 8;
    case Format::kMacaddr:
    case Format::kTid:
      return 6;
    case Format::kTimetz:
    case Format::kAclitem:
      return 12;
    case Format::kUuid:
    case Format::kInterval:
    case Format::kPoint:
      return 16;
    case Format::kLine:
    case Format::kCircle:
      return 24;
    case Format::kLseg:
    case Format::kBox:
      return 32;
    case Format::kName:
      return 64;
    default:
      return -1;
  }
}

Status print_fixed(const TypeTree& type, std::string_view datum, const TextSettings& settings,
                   std::string& out) {
  const char* at = datum.data();
  switch (type.format) {
    case Format::kBool:
      out += at[0] != 0 ? 't' : 'f';
      return {};
    case Format::kChar:
      if (at[0] != 0) out += at[0];
      return {};
    case Format::kName:
      out += datum.substr(0, datum.find('\0'));
      return {};
    case Format::kInt2:
      print_integer(load<int16_t>(at), out);
      return {};
    case Format::kInt4:
      print_integer(load<int32_t>(at), out);
      return {};
    case Format::kInt8:
      print_integer(load<int64_t>(at), out);
      return {};
    case Format::kUnsigned4:
      print_integer(load<uint32_t>(at), out);
      return {};
    case Format::kUnsigned8:
      print_integer(load<uint64_t>(at), out);
      return {};
    case Format::kFloat4:
      print_float4(load<float>(at), out);
      return {};
    case Format::kFloat8:
      print_float8(load<double>(at), out);
      return {};
    case Format::kMoney:
      print_money(load<int64_t>(at), out);
      return {};
    case Format::kDate:
      print_date(load<int32_t>(at), out);
      return {};
    case Format::kTime:
      print_time(load<int64_t>(at), out);
      return {};
    case Format::kTimetz:
      print_timetz(load<int64_t>(at), load<int32_t>(at + 8), out);
      return {};
    case Format::kTimestamp:
    case Format::kTimestamptz:
      print_timestamp(load<int64_t>(at), type.format == Format::kTimestamptz, out);
      return {};
    case Format::kInterval:
      print_interval(load<int64_t>(at), load<int32_t>(at + 8), load<int32_t>(at + 12),
                     settings.interval_style, out);
      return {};
    case Format::kUuid:
      print_uuid(datum, out);
      return {};
    case Format::kMacaddr:
    case Format::kMacaddr8:
      print_macaddr(datum, out);
      return {};
    case Format::kTid:
      fmt::format_to(std::back_inserter(out), "({},{})",
                     uint32_t{load<uint16_t>(at)} << 16 | load<uint16_t>(at + 2),
                     load<uint16_t>(at + 4));
      return {};
    case Format::kLsn:
      fmt::format_to(std::back_inserter(out), "{:X}/{:X}", load<uint64_t>(at) >> 32,
                     load<uint64_t>(at) & 0xFFFFFFFF);
      return {};
    case Format::kReg:
      print_reg(type, load<uint32_t>(at), out);
      return {};
    case Format::kAclitem:
      return print_aclitem(*type.catalog, datum, out);
    case Format::kEnum: {
      std::optional<std::string_view> label = type.catalog->enum_label(load<uint32_t>(at));
      if (!label) {
        return {Code::kNotFound,
                fmt::format("enum {} has no value with oid {}", type.name, load<uint32_t>(at))};
      }
      out += *label;
      return {};
    }
    default:
      return print_geometry(type.format, datum, out);
  }
}

Status print_varlena(const TypeTree& type, std::string_view payload, const TextSettings& settings,
                     std::string& out) {
  switch (type.format) {
    case Format::kText:
    case Format::kBpchar:
      out += payload;
      return {};
    case Format::kNumeric:
      return print_numeric(payload, out);
    case Format::kXml:
      print_xml(payload, out);
      return {};
    case Format::kBytea:
      out += "\\x";
      print_hex(payload, out);
      return {};
    case Format::kJsonb:
      return print_jsonb(payload, out);
    case Format::kJsonpath:
      return print_jsonpath(payload, out);
    case Format::kBits:
      return print_bits(payload, out);
    case Format::kInet:
    case Format::kCidr:
      return print_inet(payload, type.format == Format::kCidr, out);
    case Format::kPath:
    case Format::kPolygon:
      return print_geometry(type.format, payload, out);
    case Format::kTsvector:
      return print_tsvector(payload, out);
    case Format::kTsquery:
      return print_tsquery(payload, out);
    case Format::kIntVector:
    case Format::kOidVector:
      return print_int_vector(payload, type.format == Format::kOidVector, out);
    case Format::kSnapshot:
      return print_snapshot(payload, out);
    case Format::kNdistinct:
      return print_ndistinct(payload, out);
    case Format::kDependencies:
      return print_dependencies(payload, out);
    case Format::kArray:
      return print_array(type, payload, settings, out);
    case Format::kComposite:
      return print_composite(type, payload, settings, out);
    case Format::kRange:
      return print_range(type, payload, settings, out);
    case Format::kMultirange:
      return print_multirange(type, payload, settings, out);
    case Format::kHstore:
      return print_hstore(payload, out);
    case Format::kLtree:
      return print_ltree(payload, out);
    case Format::kVector:
      return print_vector(payload, out);
    default:
      break;
  }
  return {Code::kInvalid, fmt::format("values of type {} cannot be printed", type.name)};
}

}  // namespace

Status corrupt_value(std::string_view type, std::string_view reason) {
  return {Code::kCorrupt, fmt::format("{} value: {}", type, reason)};
}

Status append_text(const TypeTree& type, std::string_view datum, const TextSettings& settings,
                   std::string& out) {
  int length = expected_length(type.format);
  if (length >= 0) {
    if (datum.size() != static_cast<size_t>(length)) {
      return corrupt_value(type.name, fmt::format("{} bytes, not {}", datum.size(), length));
    }
    return print_fixed(type, datum, settings, out);
  }
  if (type.format == Format::kUnknown) {
    return {Code::kInvalid, fmt::format("values of type {} cannot be printed", type.name)};
  }
  std::string scratch;
  return print_varlena(type, TIDE_TRY(inline_payload(datum, scratch)), settings, out);
}

Result<std::string> to_text(const TypeCatalog& catalog, uint32_t type, int32_t typmod,
                            std::string_view datum, const TextSettings& settings) {
  TypeTree tree = TIDE_TRY(TypeTree::resolve(catalog, type, typmod));
  std::string out;
  TIDE_TRY(append_text(tree, datum, settings, out));
  return out;
}

}  // namespace tide::pgtypes
