#pragma once

#include <cstdint>

/// Numbers of PostgreSQL's built-in types, as pg_type has them.
namespace tide::pgwire::oid {

inline constexpr uint32_t kBool = 16;
inline constexpr uint32_t kBytea = 17;
inline constexpr uint32_t kChar = 18;
inline constexpr uint32_t kName = 19;
inline constexpr uint32_t kInt8 = 20;
inline constexpr uint32_t kInt2 = 21;
inline constexpr uint32_t kInt4 = 23;
inline constexpr uint32_t kText = 25;
inline constexpr uint32_t kOid = 26;
inline constexpr uint32_t kJson = 114;
inline constexpr uint32_t kFloat4 = 700;
inline constexpr uint32_t kFloat8 = 701;
inline constexpr uint32_t kUnknown = 705;
inline constexpr uint32_t kBpchar = 1042;
inline constexpr uint32_t kVarchar = 1043;
inline constexpr uint32_t kDate = 1082;
inline constexpr uint32_t kTime = 1083;
inline constexpr uint32_t kTimestamp = 1114;
inline constexpr uint32_t kTimestamptz = 1184;
inline constexpr uint32_t kInterval = 1186;
inline constexpr uint32_t kTimetz = 1266;
inline constexpr uint32_t kNumeric = 1700;
inline constexpr uint32_t kUuid = 2950;
inline constexpr uint32_t kJsonb = 3802;

/// The array type whose elements have type `element`; 0 if we know none.
constexpr uint32_t array_of(uint32_t element) {
  switch (element) {
    case kBool:
      return 1000;
    case kBytea:
      return 1001;
    case kChar:
      return 1002;
    case kName:
      return 1003;
    case kInt2:
      return 1005;
    case kInt4:
      return 1007;
    case kText:
      return 1009;
    case kBpchar:
      return 1014;
    case kVarchar:
      return 1015;
    case kInt8:
      return 1016;
    case kFloat4:
      return 1021;
    case kFloat8:
      return 1022;
    case kOid:
      return 1028;
    case kTimestamp:
      return 1115;
    case kDate:
      return 1182;
    case kTime:
      return 1183;
    case kTimestamptz:
      return 1185;
    case kInterval:
      return 1187;
    case kNumeric:
      return 1231;
    case kTimetz:
      return 1270;
    case kJson:
      return 199;
    case kUuid:
      return 2951;
    case kJsonb:
      return 3807;
    default:
      return 0;
  }
}

/// The element type of one of these array types; 0 for anything else.
constexpr uint32_t element_of(uint32_t array) {
  constexpr uint32_t kElements[] = {kBool,   kBytea,  kChar,    kName,     kInt2,       kInt4,
                                    kText,   kBpchar, kVarchar, kInt8,     kFloat4,     kFloat8,
                                    kOid,    kDate,   kTime,    kInterval, kNumeric,    kTimestamp,
                                    kTimetz, kJson,   kUuid,    kJsonb,    kTimestamptz};
  for (uint32_t element : kElements) {
    if (array_of(element) == array) return element;
  }
  return 0;
}

/// pg_type.typlen
constexpr int16_t size_of(uint32_t type) {
  switch (type) {
    case kBool:
    case kChar:
      return 1;
    case kInt2:
      return 2;
    case kInt4:
    case kOid:
    case kFloat4:
    case kDate:
      return 4;
    case kInt8:
    case kFloat8:
    case kTime:
    case kTimestamp:
    case kTimestamptz:
      return 8;
    case kTimetz:
      return 12;
    case kInterval:
    case kUuid:
      return 16;
    case kName:
      return 64;
    default:
      return -1;
  }
}

}  // namespace tide::pgwire::oid
