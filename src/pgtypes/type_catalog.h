#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tide::pgtypes {

/// A type as pg_type (and pg_range) describes it at one moment of the WAL.
struct TypeInfo {
  uint32_t oid = 0;
  std::string name;
  uint32_t schema = 0;  ///< typnamespace
  int16_t length = 0;   ///< typlen: bytes, -1 varlena, -2 C string
  bool by_value = false;
  char align = 'i';  ///< typalign: c s i d
  char kind =
      'b';  ///< typtype: b base, c composite, d domain, e enum, p pseudo, r range, m multirange
  char category = 'U';    ///< typcategory
  char delimiter = ',';   ///< typdelim
  uint32_t relation = 0;  ///< typrelid of a composite
  uint32_t element = 0;   ///< typelem; of a true array (subscript handler array_subscript_handler)
  bool is_array =
      false;  ///< a true array: varlena whose typelem is set and whose typsubscript is array's
  uint32_t base_type = 0;            ///< typbasetype of a domain
  int32_t base_typmod = -1;          ///< typtypmod of a domain
  uint32_t range_subtype = 0;        ///< rngsubtype of a range
  uint32_t range_of_multirange = 0;  ///< the range type of a multirange
};

/// A column as pg_attribute describes it. Physical order is the order of attnum.
struct Attribute {
  std::string name;
  int16_t number = 0;  ///< attnum, from 1
  uint32_t type = 0;   ///< atttypid; 0 once dropped
  int32_t typmod = -1;
  int16_t length = 0;  ///< attlen, kept when dropped
  bool by_value = false;
  char align = 'i';
  bool not_null = false;
  bool dropped = false;
  char generated = '\0';
  /// attmissingval: the value (a datum of the type, detoasted varlena with its header for varlena
  /// types) that rows stored before the column was added have. ALTER TABLE ADD COLUMN ... DEFAULT.
  std::optional<std::string> missing;
};

/// What reading and printing values needs of the system catalogs. The mirror implements it from
/// decoded catalog rows, tests from a running server.
class TypeCatalog {
 public:
  virtual ~TypeCatalog() = default;
  /// Null for an unknown oid. Valid until the catalog changes.
  virtual const TypeInfo* type(uint32_t oid) const = 0;
  /// Label of an enum's value (its pg_enum oid).
  virtual std::optional<std::string_view> enum_label(uint32_t oid) const = 0;
  /// Columns of a composite type's relation (typrelid), dropped ones included; null if unknown.
  virtual const std::vector<Attribute>* attributes(uint32_t relation) const = 0;
  /// What regclass, regtype, regrole, regnamespace print: the name as PostgreSQL's output function
  /// writes it, with the schema where it is not in pg_catalog or public; nothing if unknown (then
  /// the number is printed). `reg` is the reg* type's oid.
  virtual std::optional<std::string> object_name(uint32_t reg, uint32_t oid) const = 0;
};

}  // namespace tide::pgtypes
