#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "pgtypes/tuple.h"
#include "pgtypes/type_catalog.h"

namespace tide::pgtypes {

/// How a type's values are laid out and printed: one per output function of PostgreSQL that
/// differs.
enum class Format : uint8_t {
  kUnknown,  ///< a base type of an extension that we cannot read
  kBool,
  kInt2,
  kInt4,
  kInt8,
  kUnsigned4,  ///< oid, xid, cid
  kUnsigned8,  ///< xid8
  kFloat4,
  kFloat8,
  kNumeric,
  kMoney,
  kText,    ///< text, varchar, json, refcursor, pg_node_tree, citext: bytes as they are
  kBpchar,  ///< as text, padded with blanks
  kXml,
  kChar,
  kName,
  kBytea,  ///< bytea, pg_mcv_list
  kJsonb,
  kJsonpath,
  kUuid,
  kDate,
  kTime,
  kTimetz,
  kTimestamp,
  kTimestamptz,
  kInterval,
  kBits,
  kInet,
  kCidr,
  kMacaddr,
  kMacaddr8,
  kPoint,
  kLseg,
  kPath,
  kBox,
  kPolygon,
  kLine,
  kCircle,
  kTsvector,
  kTsquery,
  kIntVector,  ///< int2vector
  kOidVector,
  kTid,
  kLsn,
  kSnapshot,
  kReg,  ///< regclass, regtype, ...
  kAclitem,
  kNdistinct,
  kDependencies,
  kEnum,
  kArray,
  kComposite,
  kRange,
  kMultirange,
  kHstore,
  kLtree,
  kVector,  ///< pgvector's vector
};

/// A type with all that it is made of, domains replaced by what they are based on: looked up once,
/// used for any number of values. Refers to the catalog for enum labels and names of objects.
/// Belongs to one state of the catalog's types: build anew when a type changes.
struct TypeTree {
  const TypeCatalog* catalog = nullptr;
  std::string name;  ///< for messages
  uint32_t oid = 0;  ///< of the base type
  int32_t typmod = -1;
  Format format = Format::kUnknown;
  int16_t length = 0;
  bool by_value = false;
  char align = 'i';
  char delimiter = ',';
  uint32_t declared_element = 0;   ///< of an array: pg_type.typelem, a domain perhaps
  std::vector<TypeTree> children;  ///< element; fields (dropped ones as kUnknown); subtype; range
  std::vector<Attribute> attributes;  ///< of a composite
  TupleReader reader;                 ///< of a composite

  /// kNotFound if the catalog lacks one of the types, kInvalid for types nested deeper than any
  /// that can be created.
  static Result<TypeTree> resolve(const TypeCatalog& catalog, uint32_t type, int32_t typmod);
};

}  // namespace tide::pgtypes
