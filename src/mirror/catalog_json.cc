#include "mirror/catalog_json.h"

#include <nlohmann/json.hpp>

#include "columns/type.h"
#include "deltalog/schema.h"

namespace tide::mirror {
namespace {

using nlohmann::json;

std::string role_name(const TimelineMirror& timeline, uint32_t oid) {
  const Role* role = timeline.shared().roles().find(oid);
  return role != nullptr ? role->name : std::to_string(oid);
}

/// An aclitem[] (acl.h): grantee, grantor, privilege bits. Without one, the owner alone has rights.
json acl_json(const TimelineMirror& timeline, const Relation& relation) {
  constexpr size_t kItem = 12;
  constexpr size_t kArrayHeader =
      20;  // without the varlena header: ndim, offset, type, size, bound
  constexpr std::string_view kLetters = "arwdDxt";
  json out = json::array();
  std::string_view items(relation.acl);
  if (items.size() < kArrayHeader) return out;
  for (size_t at = kArrayHeader; at + kItem <= items.size(); at += kItem) {
    auto grantee = load<uint32_t>(items.data() + at);
    auto bits = load<uint32_t>(items.data() + at + 8);
    std::string privileges;
    for (size_t i = 0; i < kLetters.size(); ++i) {
      if ((bits >> i & 1) != 0) privileges += kLetters[i];
    }
    out.push_back({grantee == 0 ? std::string() : role_name(timeline, grantee), privileges});
  }
  return out;
}

json base_json(const TimelineMirror& timeline, const Catalog& catalog, const Relation& relation) {
  json out = {{"oid", relation.oid},
              {"schema", catalog.schema_name(relation.schema)},
              {"name", relation.name},
              {"kind", relation.kind == 'p'   ? "partitioned"
                       : relation.kind == 'm' ? "matview"
                                              : "table"},
              {"owner", role_name(timeline, relation.owner)},
              {"row_security", relation.row_security},
              {"acl", acl_json(timeline, relation)},
              {"has_acl", !relation.acl.empty()}};
  // SELECT from a parent shows its children's rows too; partitions are within their table.
  json children = json::array();
  if (relation.kind != 'p') {
    for (uint32_t child : catalog.children(relation.oid)) children.push_back(child);
  }
  if (!children.empty()) out["children"] = children;
  return out;
}

json columns_json(const LakeTable& table) {
  json out = json::array();
  for (const LakeColumn& column : table.columns()) {
    out.push_back(
        {{"name", column.name},
         {"physical", column.physical},
         {"type", columns::to_string(column.type)},
         {"type_json", json::parse(deltalog::write_type(deltalog::from_columns(column.type)))},
         {"pg_type", column.pg_type},
         {"nullable", column.nullable}});
  }
  return out;
}

}  // namespace

std::string catalog_json(const TimelineMirror& timeline, const DatabaseMirror& database) {
  const Catalog& catalog = database.catalog();
  json tables = json::array();
  for (const auto& [oid, table] : database.tables()) {
    const Relation* relation = catalog.relation(oid);
    if (relation == nullptr) continue;
    json out = base_json(timeline, catalog, *relation);
    out["columns"] = columns_json(*table);
    if (!table->left_out().empty()) out["left_out"] = table->left_out();
    if (!table->last_error.empty()) out["not_mirrored"] = table->last_error;
    tables.push_back(std::move(out));
    for (const auto& [heap, unused] : table->heaps()) {
      const Relation* partition = heap == oid ? nullptr : catalog.relation(heap);
      if (partition == nullptr) continue;
      json leaf = base_json(timeline, catalog, *partition);
      leaf["kind"] = "partition";
      leaf["partition_of"] = oid;
      leaf["columns"] = columns_json(*table);
      tables.push_back(std::move(leaf));
    }
  }
  for (const auto& [oid, reason] : database.not_mirrored()) {
    const Relation* relation = catalog.relation(oid);
    if (relation == nullptr) continue;
    json out = base_json(timeline, catalog, *relation);
    out["not_mirrored"] = reason;
    tables.push_back(std::move(out));
  }
  json roles = json::array();
  timeline.shared().roles().for_each([&](uint32_t, const Role& role) {
    roles.push_back(
        {{"name", role.name}, {"superuser", role.superuser}, {"login", role.can_login}});
  });
  return json{{"tables", tables}, {"roles", roles}}.dump(-1, ' ', false,
                                                         json::error_handler_t::replace);
}

}  // namespace tide::mirror
