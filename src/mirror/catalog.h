#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "mirror/keyed_rows.h"
#include "pgformat/heap_record.h"
#include "pgtypes/type_catalog.h"

namespace tide::mirror {

/// The system catalogs that the mirror follows.
enum class CatalogTable : uint8_t {
  kClass,
  kAttribute,
  kType,
  kNamespace,
  kEnum,
  kRange,
  kInherits,
  kIndex,
  kDatabase,     // shared
  kAuthId,       // shared
  kAuthMembers,  // shared
};
inline constexpr CatalogTable kDatabaseCatalogs[] = {
    CatalogTable::kClass,     CatalogTable::kAttribute, CatalogTable::kType,
    CatalogTable::kNamespace, CatalogTable::kEnum,      CatalogTable::kRange,
    CatalogTable::kInherits,  CatalogTable::kIndex};
inline constexpr CatalogTable kSharedCatalogs[] = {CatalogTable::kDatabase, CatalogTable::kAuthId,
                                                   CatalogTable::kAuthMembers};

/// The catalog's relation in pg_class, the same in every PostgreSQL 15.
uint32_t catalog_oid(CatalogTable table);

inline constexpr uint32_t kFirstNormalOid = 16384;
inline constexpr uint32_t kDefaultTablespace = 1663;
inline constexpr uint32_t kGlobalTablespace = 1664;

/// A row of pg_class.
struct Relation {
  uint32_t oid = 0;
  std::string name;
  uint32_t schema = 0;
  uint32_t owner = 0;
  uint32_t file_node = 0;   ///< relfilenode; 0 for mapped catalogs and what has no storage
  uint32_t tablespace = 0;  ///< 0: the database's
  uint32_t toast = 0;       ///< its toast relation's oid, or 0
  char persistence = 'p';   ///< p permanent, u unlogged, t temporary
  char kind = 'r';          ///< r table, p partitioned, m materialized view, t toast, i index, ...
  bool row_security = false;
  bool populated = true;
  bool is_partition = false;
  uint32_t rewrite = 0;  ///< of a table that takes this one's place in a rewrite
  std::string acl;       ///< relacl as stored (an aclitem[] datum); empty: default privileges
};

struct Index {
  uint32_t oid = 0;
  uint32_t relation = 0;
  bool primary = false;
  bool valid = true;
};

/// What changed in a catalog since it was last asked.
struct CatalogChanges {
  std::set<uint32_t> relations;        ///< rows in pg_class, pg_attribute, pg_inherits, pg_index
  std::set<uint32_t> relabeled_enums;  ///< types whose labels of old values read differently now
  bool databases = false;
  bool names = false;  ///< schemas or roles
  bool any() const { return !relations.empty() || !relabeled_enums.empty() || databases || names; }
};

/// One database's system catalogs at one LSN of the WAL, in memory; kept by the same row changes as
/// any table. Of pg_attribute only relations that users made are kept.
class Catalog : public pgtypes::TypeCatalog {
 public:
  /// Enters or removes a committed row version. kCorrupt for a tuple that is no row of the catalog.
  Status insert(CatalogTable table, pgformat::TupleId id, const pgformat::HeapTuple& tuple);
  void remove(CatalogTable table, pgformat::TupleId id);
  /// Before a catalog's rows are read anew.
  void clear(CatalogTable table);
  /// What changed since the last call.
  CatalogChanges take_changes();

  const Relation* relation(uint32_t oid) const;
  const KeyedRows<uint32_t, Relation>& relations() const { return relations_; }
  /// Schema name; empty if unknown.
  std::string_view schema_name(uint32_t oid) const;
  /// The parents in pg_inherits, in their order; for a partition the one it belongs to.
  std::vector<uint32_t> parents(uint32_t relation) const;
  std::vector<uint32_t> children(uint32_t relation) const;
  std::vector<Index> indexes(uint32_t relation) const;

  const pgtypes::TypeInfo* type(uint32_t oid) const override;
  std::optional<std::string_view> enum_label(uint32_t oid) const override;
  const std::vector<pgtypes::Attribute>* attributes(uint32_t relation) const override;
  std::optional<std::string> object_name(uint32_t reg, uint32_t oid) const override;

 private:
  struct AttributeRow {
    uint32_t relation;
    pgtypes::Attribute attribute;
  };
  struct EnumLabel {
    uint32_t type;
    std::string label;
  };
  struct Range {
    uint32_t subtype;
    uint32_t multirange;
  };
  struct Inheritance {
    uint32_t child;
    uint32_t parent;
    int32_t number;
  };
  Status insert_attribute(pgformat::TupleId id, const pgformat::HeapTuple& tuple);
  void attribute_changed(uint32_t relation);
  void apply_range(uint32_t range, const Range& row);

  KeyedRows<uint32_t, Relation> relations_;
  KeyedRows<uint64_t, AttributeRow> attribute_rows_;
  std::unordered_map<uint32_t, std::map<int16_t, uint64_t>> attribute_keys_;  // by relation
  mutable std::unordered_map<uint32_t, std::vector<pgtypes::Attribute>>
      attributes_;  // made on demand
  KeyedRows<uint32_t, pgtypes::TypeInfo> types_;
  KeyedRows<uint32_t, std::string> schemas_;
  KeyedRows<uint32_t, EnumLabel> enums_;
  std::unordered_map<uint32_t, std::string> old_labels_;  // of enum values seen, to notice renames
  KeyedRows<uint32_t, Range> ranges_;
  KeyedRows<uint64_t, Inheritance> inherits_;
  KeyedRows<uint32_t, Index> indexes_;
  CatalogChanges changes_;
};

/// A row of pg_database.
struct Database {
  uint32_t oid = 0;
  std::string name;
  uint32_t owner = 0;
  uint32_t tablespace = kDefaultTablespace;
  int32_t encoding = kUtf8;
  bool is_template = false;
  bool allows_connections = true;
  /// What the lake holds as text is UTF-8.
  bool is_utf8() const { return encoding == kUtf8; }
  static constexpr int32_t kUtf8 = 6;  ///< PG_UTF8
};

/// A row of pg_authid.
struct Role {
  uint32_t oid = 0;
  std::string name;
  bool superuser = false;
  bool can_login = false;
};

/// What all databases of a cluster share: databases and roles.
class SharedCatalog {
 public:
  Status insert(CatalogTable table, pgformat::TupleId id, const pgformat::HeapTuple& tuple);
  void remove(CatalogTable table, pgformat::TupleId id);
  void clear(CatalogTable table);
  /// True once after databases or roles changed.
  bool take_changed();

  const KeyedRows<uint32_t, Database>& databases() const { return databases_; }
  const KeyedRows<uint32_t, Role>& roles() const { return roles_; }

 private:
  KeyedRows<uint32_t, Database> databases_;
  KeyedRows<uint32_t, Role> roles_;
  bool changed_ = false;
};

}  // namespace tide::mirror
