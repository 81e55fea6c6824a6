#pragma once

#include <cstdint>

/// The fixed oids of PostgreSQL 15's base types (pg_type.dat).
namespace tide::pgtypes::oid {

inline constexpr uint32_t kBool = 16;
inline constexpr uint32_t kBytea = 17;
inline constexpr uint32_t kChar = 18;  ///< "char": one byte
inline constexpr uint32_t kName = 19;
inline constexpr uint32_t kInt8 = 20;
inline constexpr uint32_t kInt2 = 21;
inline constexpr uint32_t kInt2Vector = 22;
inline constexpr uint32_t kInt4 = 23;
inline constexpr uint32_t kRegproc = 24;
inline constexpr uint32_t kText = 25;
inline constexpr uint32_t kOid = 26;
inline constexpr uint32_t kTid = 27;
inline constexpr uint32_t kXid = 28;
inline constexpr uint32_t kCid = 29;
inline constexpr uint32_t kOidVector = 30;
inline constexpr uint32_t kJson = 114;
inline constexpr uint32_t kXml = 142;
inline constexpr uint32_t kPgNodeTree = 194;
inline constexpr uint32_t kPoint = 600;
inline constexpr uint32_t kLseg = 601;
inline constexpr uint32_t kPath = 602;
inline constexpr uint32_t kBox = 603;
inline constexpr uint32_t kPolygon = 604;
inline constexpr uint32_t kLine = 628;
inline constexpr uint32_t kCidr = 650;
inline constexpr uint32_t kFloat4 = 700;
inline constexpr uint32_t kFloat8 = 701;
inline constexpr uint32_t kCircle = 718;
inline constexpr uint32_t kMacaddr8 = 774;
inline constexpr uint32_t kMoney = 790;
inline constexpr uint32_t kMacaddr = 829;
inline constexpr uint32_t kInet = 869;
inline constexpr uint32_t kAclitem = 1033;
inline constexpr uint32_t kBpchar = 1042;
inline constexpr uint32_t kVarchar = 1043;
inline constexpr uint32_t kDate = 1082;
inline constexpr uint32_t kTime = 1083;
inline constexpr uint32_t kTimestamp = 1114;
inline constexpr uint32_t kTimestamptz = 1184;
inline constexpr uint32_t kInterval = 1186;
inline constexpr uint32_t kTimetz = 1266;
inline constexpr uint32_t kBit = 1560;
inline constexpr uint32_t kVarbit = 1562;
inline constexpr uint32_t kNumeric = 1700;
inline constexpr uint32_t kRefcursor = 1790;
inline constexpr uint32_t kRegprocedure = 2202;
inline constexpr uint32_t kRegoper = 2203;
inline constexpr uint32_t kRegoperator = 2204;
inline constexpr uint32_t kRegclass = 2205;
inline constexpr uint32_t kRegtype = 2206;
inline constexpr uint32_t kUuid = 2950;
inline constexpr uint32_t kTxidSnapshot = 2970;
inline constexpr uint32_t kPgLsn = 3220;
inline constexpr uint32_t kPgNdistinct = 3361;
inline constexpr uint32_t kPgDependencies = 3402;
inline constexpr uint32_t kTsvector = 3614;
inline constexpr uint32_t kTsquery = 3615;
inline constexpr uint32_t kRegconfig = 3734;
inline constexpr uint32_t kRegdictionary = 3769;
inline constexpr uint32_t kJsonb = 3802;
inline constexpr uint32_t kJsonpath = 4072;
inline constexpr uint32_t kRegnamespace = 4089;
inline constexpr uint32_t kRegrole = 4096;
inline constexpr uint32_t kRegcollation = 4191;
inline constexpr uint32_t kPgMcvList = 5017;
inline constexpr uint32_t kPgSnapshot = 5038;
inline constexpr uint32_t kXid8 = 5069;

/// Oids below are handed out by PostgreSQL itself, from here on by CREATE statements.
inline constexpr uint32_t kFirstOfUsers = 16384;

}  // namespace tide::pgtypes::oid
