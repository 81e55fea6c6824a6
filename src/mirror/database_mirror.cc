#include "mirror/database_mirror.h"

#include <algorithm>

#include "mirror/heap_scan.h"
#include "mirror/toast_reader.h"
#include "obs/log.h"

namespace tide::mirror {
namespace {

using pgformat::HeapTuple;
using pgformat::TupleId;

constexpr uint32_t kRelationMapMagic = 0x592717;
constexpr size_t kMaxMappings = 62;

bool is_mapped(CatalogTable table) {
  return table == CatalogTable::kClass || table == CatalogTable::kAttribute ||
         table == CatalogTable::kType || table == CatalogTable::kDatabase ||
         table == CatalogTable::kAuthId || table == CatalogTable::kAuthMembers;
}

bool holds_rows(char kind) { return kind == 'r' || kind == 'm'; }

/// A change that a scan found half done.
Status add_open(TransactionBuffer* open, const RelFork& file, Lsn at, const ScannedTuple& found) {
  if (open == nullptr) return {};
  BufferedChange change;
  change.lsn = at;
  change.rel = file;
  if (found.inserter != 0) {
    change.kind = BufferedChange::Kind::kInsert;
    change.fresh = found.id;
    change.tuple = found.tuple;
    TIDE_TRY(open->add(found.inserter, change));
  }
  if (found.deleter != 0) {
    change.kind = BufferedChange::Kind::kDelete;
    change.old = found.id;
    change.tuple = {};
    TIDE_TRY(open->add(found.deleter, change));
  }
  return {};
}

}  // namespace

Result<std::map<uint32_t, uint32_t>> parse_relation_map(std::string_view bytes) {
  ByteReader in(as_bytes(bytes));
  if (in.read<uint32_t>() != kRelationMapMagic) {
    return Status(Code::kCorrupt, "a relation map does not begin with its magic");
  }
  auto count = in.read<uint32_t>();
  if (in.failed() || count > kMaxMappings)
    return Status(Code::kCorrupt, "a relation map is damaged");
  std::map<uint32_t, uint32_t> map;
  for (uint32_t i = 0; i < count; ++i) {
    auto relation = in.read<uint32_t>();
    map[relation] = in.read<uint32_t>();
  }
  if (in.failed()) return Status(Code::kCorrupt, "a relation map is cut off");
  return map;
}

RelFork DatabaseMirror::file_of(const Relation& relation) const {
  uint32_t tablespace = relation.tablespace != 0 ? relation.tablespace : database_.tablespace;
  return {tablespace, database_.oid, relation.file_node, Fork::kMain};
}

Result<std::map<uint32_t, uint32_t>> DatabaseMirror::relation_map(Lsn at) {
  auto bytes = TIDE_TRY(source_.relation_map(database_.tablespace, database_.oid, at));
  if (!bytes) {
    return Status(Code::kCorrupt,
                  fmt::format("database {} has no relation map at {}", database_.oid, at));
  }
  return parse_relation_map(*bytes);
}

Status DatabaseMirror::load_catalog(CatalogTable table, const RelFork& file, Lsn at,
                                    TransactionBuffer* open) {
  CatalogHeap& heap = heaps_[table];
  uses_.erase(heap.file);
  heap.clear();
  heap.file = file;
  uses_[file] = {FileUse::Kind::kCatalog, table, catalog_oid(table)};
  catalog_.clear(table);
  TransactionStatus transactions(source_, at);
  auto keep = [&](const ScannedTuple& found) -> Status {
    heap.put(found.id, found.tuple);
    return {};
  };
  return scan_heap(
      source_, file, at, transactions,
      [&](const ScannedTuple& found) -> Status {
        heap.put(found.id, found.tuple);
        TIDE_TRY(add_open(open, file, at, found));
        return found.inserter == 0 ? catalog_.insert(table, found.id, found.tuple) : Status();
      },
      keep);
}

Status DatabaseMirror::load_catalogs(Lsn at, TransactionBuffer* open) {
  auto map = TIDE_TRY(relation_map(at));
  for (CatalogTable table : kDatabaseCatalogs) {
    uint32_t oid = catalog_oid(table);
    uint32_t file_node = 0;
    if (auto mapped = map.find(oid); mapped != map.end()) {
      file_node = mapped->second;
    } else if (const Relation* relation = catalog_.relation(oid)) {
      file_node = relation->file_node;
    }
    if (file_node == 0) {
      return {Code::kCorrupt,
              fmt::format("catalog {} of database {} has no file", oid, database_.oid)};
    }
    RelFork file{database_.tablespace, database_.oid, file_node, Fork::kMain};
    Status loaded = load_catalog(table, file, at, open);
    if (!loaded.ok()) {
      return std::move(loaded).with_context(
          fmt::format("read catalog {} of database {} at {}", oid, database_.name, at));
    }
  }
  return {};
}

Status DatabaseMirror::reload_mapped(Lsn at) {
  auto map = TIDE_TRY(relation_map(at));
  for (CatalogTable table : kDatabaseCatalogs) {
    if (!is_mapped(table)) continue;
    RelFork file{database_.tablespace, database_.oid, map[catalog_oid(table)], Fork::kMain};
    if (heaps_.at(table).file != file) TIDE_TRY(load_catalog(table, file, at, nullptr));
  }
  return {};
}

FileUse DatabaseMirror::use_of(const RelFork& file) const {
  auto use = uses_.find(file);
  if (use != uses_.end()) return use->second;
  // Files of system relations never hold users' rows; a file nobody knows may become a table's when
  // the transaction that made it commits.
  return {file.rel < kFirstNormalOid ? FileUse::Kind::kIgnored : FileUse::Kind::kHeap,
          CatalogTable::kClass, 0};
}

Status DatabaseMirror::apply_catalog(CatalogTable table, const BufferedChange& change) {
  // The new version first: what is renamed is then known under both names for a moment.
  if (change.kind != BufferedChange::Kind::kDelete) {
    TIDE_TRY(catalog_.insert(table, change.fresh, change.tuple));
  }
  if (change.kind != BufferedChange::Kind::kInsert) catalog_.remove(table, change.old);
  return {};
}

std::string DatabaseMirror::reason_against(const Relation& relation) const {
  switch (relation.persistence) {
    case 'u':
      return "unlogged: its rows are not in the WAL";
    case 't':
      return "temporary";
    default:
      break;
  }
  if (relation.kind == 'f') return "foreign table: its rows are elsewhere";
  if (excluded_.contains(qualified_name(relation))) return "excluded";
  return {};
}

std::string DatabaseMirror::qualified_name(const Relation& relation) const {
  return fmt::format("{}.{}", catalog_.schema_name(relation.schema), relation.name);
}

bool DatabaseMirror::has_relation(std::string_view name) const {
  bool found = false;
  catalog_.relations().for_each([&](uint32_t oid, const Relation& relation) {
    found = found || (oid >= kFirstNormalOid && qualified_name(relation) == name);
  });
  return found;
}

Status DatabaseMirror::follow_exclusions(Lsn at) {
  std::vector<uint32_t> relations;
  catalog_.relations().for_each([&](uint32_t oid, const Relation& relation) {
    bool is_table = relation.kind == 'p' || holds_rows(relation.kind);
    if (oid >= kFirstNormalOid && is_table) relations.push_back(oid);
  });
  // Tables before their partitions.
  std::sort(relations.begin(), relations.end(), [&](uint32_t a, uint32_t b) {
    return std::pair(table_for(a) != a, a) < std::pair(table_for(b) != b, b);
  });
  CommitScope scope{at, {}, {}};
  for (uint32_t oid : relations) {
    bool is_in = tables_.contains(oid) || table_of_heap(oid) != nullptr;
    if (is_in != (table_for(oid) != 0)) TIDE_TRY(reconcile_relation(oid, scope));
  }
  loaded_at_.clear();
  ++catalog_version_;
  touched_ = true;
  return {};
}

uint32_t DatabaseMirror::table_for(uint32_t oid) const {
  const Relation* relation = catalog_.relation(oid);
  for (int depth = 0; relation != nullptr && depth < 64; ++depth) {
    if (relation->oid < kFirstNormalOid || relation->rewrite != 0) return 0;
    if (!reason_against(*relation).empty()) return 0;
    if (!relation->is_partition) {
      return holds_rows(relation->kind) || relation->kind == 'p' ? relation->oid : 0;
    }
    std::vector<uint32_t> parents = catalog_.parents(relation->oid);
    relation = parents.empty() ? nullptr : catalog_.relation(parents[0]);
  }
  return 0;
}

LakeTable* DatabaseMirror::table_of_heap(uint32_t relation) {
  auto table = table_of_heap_.find(relation);
  if (table == table_of_heap_.end()) return nullptr;
  auto found = tables_.find(table->second);
  return found == tables_.end() ? nullptr : found->second.get();
}

void DatabaseMirror::route(uint32_t relation, const RelFork& file, FileUse use) {
  unroute(relation);
  uses_[file] = use;
  routed_[relation] = file;
}

void DatabaseMirror::unroute(uint32_t relation) {
  auto file = routed_.find(relation);
  if (file == routed_.end()) return;
  auto use = uses_.find(file->second);
  if (use != uses_.end() && use->second.relation == relation) uses_.erase(use);
  routed_.erase(file);
}

void DatabaseMirror::drop_heap(uint32_t relation) {
  if (LakeTable* table = table_of_heap(relation)) table->remove_heap(relation);
  table_of_heap_.erase(relation);
}

void DatabaseMirror::drop_table(uint32_t oid) {
  auto table = tables_.find(oid);
  if (table == tables_.end()) return;
  for (const auto& [relation, heap] : table->second->heaps()) table_of_heap_.erase(relation);
  dropped_.push_back(std::move(table->second));
  tables_.erase(table);
}

std::vector<std::unique_ptr<LakeTable>> DatabaseMirror::take_all() {
  std::vector<std::unique_ptr<LakeTable>> all = take_dropped();
  for (auto& [oid, table] : tables_) all.push_back(std::move(table));
  tables_.clear();
  return all;
}

std::set<uint32_t> DatabaseMirror::tables_with_type(const std::set<uint32_t>& types,
                                                    const std::set<uint32_t>& row_types) const {
  if (types.empty() && row_types.empty()) return {};
  // Domains, arrays, composites and ranges of such a type show it too.
  std::function<bool(uint32_t, int)> shows = [&](uint32_t oid, int depth) {
    if (types.contains(oid)) return true;
    const pgtypes::TypeInfo* type = catalog_.type(oid);
    if (type == nullptr || depth > 16) return false;
    if (type->relation != 0 && row_types.contains(type->relation)) return true;
    for (uint32_t inner :
         {type->element, type->base_type, type->range_subtype, type->range_of_multirange}) {
      if (inner != 0 && shows(inner, depth + 1)) return true;
    }
    const auto* fields = type->relation != 0 ? catalog_.attributes(type->relation) : nullptr;
    if (fields == nullptr) return false;
    return std::any_of(fields->begin(), fields->end(), [&](const pgtypes::Attribute& field) {
      return !field.dropped && shows(field.type, depth + 1);
    });
  };
  std::set<uint32_t> found;
  for (const auto& [heap, table] : table_of_heap_) {
    const auto* attributes = catalog_.attributes(heap);
    if (attributes == nullptr) continue;
    for (const pgtypes::Attribute& attribute : *attributes) {
      if (!attribute.dropped && shows(attribute.type, 0)) found.insert(heap);
    }
  }
  return found;
}

Status DatabaseMirror::reconcile(const CommitScope& scope) {
  for (int round = 0; round < 4; ++round) {
    CatalogChanges changes = catalog_.take_changes();
    if (!changes.any()) return {};
    ++catalog_version_;
    touched_ = true;
    // A catalog of ours may have moved to another file (VACUUM FULL of pg_type, say).
    for (CatalogTable table : kDatabaseCatalogs) {
      const Relation* relation = catalog_.relation(catalog_oid(table));
      if (is_mapped(table) || relation == nullptr || relation->file_node == 0) continue;
      RelFork file = file_of(*relation);
      if (heaps_.at(table).file != file) TIDE_TRY(load_catalog(table, file, scope.at, nullptr));
    }
    std::set<uint32_t> relations = std::move(changes.relations);
    if (changes.names) {
      for (const auto& [oid, table] : tables_) relations.insert(oid);
      for (const auto& [oid, reason] : not_mirrored_) relations.insert(oid);
    }
    // A column whose type is a row of other columns changes with them.
    std::set<uint32_t> row_types;
    for (uint32_t oid : relations) {
      const Relation* relation = catalog_.relation(oid);
      if (relation == nullptr) continue;
      if (relation->kind == 'c' || table_of_heap_.contains(oid) || tables_.contains(oid)) {
        row_types.insert(oid);
      }
    }
    relations.merge(tables_with_type({}, row_types));
    std::set<uint32_t> relabeled = tables_with_type(changes.relabeled_enums, {});
    relations.insert(relabeled.begin(), relabeled.end());
    rebuild_ = std::move(relabeled);
    // What happens to a partitioned table concerns all below it. Parents come first: their columns
    // are needed for the rows of their partitions.
    std::vector<uint32_t> order;
    std::set<uint32_t> seen;
    std::function<void(uint32_t)> enter = [&](uint32_t oid) {
      if (!seen.insert(oid).second) return;
      const Relation* relation = catalog_.relation(oid);
      if (relation != nullptr && relation->is_partition) {
        for (uint32_t parent : catalog_.parents(oid)) enter(parent);
      }
      order.push_back(oid);
      if (relation != nullptr && relation->kind == 'p') {
        for (uint32_t child : catalog_.children(oid)) enter(child);
      }
    };
    for (uint32_t oid : relations) {
      if (oid >= kFirstNormalOid) enter(oid);
    }
    // Gone ones first: a new file may have the name of an old one.
    std::stable_partition(order.begin(), order.end(),
                          [&](uint32_t oid) { return catalog_.relation(oid) == nullptr; });
    for (uint32_t oid : order) {
      Status done = reconcile_relation(oid, scope);
      if (!done.ok()) {
        return std::move(done).with_context(fmt::format("follow relation {} at {}", oid, scope.at));
      }
    }
  }
  return {};
}

Status DatabaseMirror::reconcile_relation(uint32_t oid, const CommitScope& scope) {
  const Relation* relation = catalog_.relation(oid);
  not_mirrored_.erase(oid);
  if (relation == nullptr) {
    unroute(oid);
    drop_heap(oid);
    drop_table(oid);
    return {};
  }
  if (relation->kind == 't') {
    if (relation->file_node != 0 && relation->persistence == 'p') {
      route(oid, file_of(*relation), {FileUse::Kind::kToast, CatalogTable::kClass, oid});
    }
    return {};
  }
  bool is_table = holds_rows(relation->kind) || relation->kind == 'p' || relation->kind == 'f';
  if (!is_table || relation->rewrite != 0) return {};
  std::string reason = reason_against(*relation);
  if (!reason.empty() && relation->persistence != 't') not_mirrored_[oid] = reason;
  uint32_t wanted = table_for(oid);

  // A table of its own no more: a partition now, excluded, or unlogged.
  if (wanted != oid) drop_table(oid);
  if (wanted == oid) {
    auto [entry, is_new] = tables_.try_emplace(oid);
    if (is_new) entry->second = std::make_unique<LakeTable>(database_.oid, oid, next_segment_);
    LakeTable& table = *entry->second;
    LakeTable::Change change = TIDE_TRY(table.follow(catalog_));
    // Its partitions come after it, each with its own file.
    if (change == LakeTable::Change::kRebuild) {
      for (const auto& [heap_oid, heap] : table.heaps()) rebuild_.insert(heap_oid);
    }
  }
  if (!holds_rows(relation->kind)) return {};

  LakeTable* before = table_of_heap(oid);
  if (before != nullptr && before->oid() != wanted) {
    drop_heap(oid);
    before = nullptr;
  }
  RelFork file = file_of(*relation);
  auto routed = routed_.find(oid);
  bool file_known = routed != routed_.end() && routed->second == file;
  if (wanted == 0 || relation->file_node == 0) {
    // Known all the same: if it enters the lake later, its rows are not all in that transaction.
    if (relation->file_node != 0 && relation->persistence == 'p') {
      route(oid, file, {FileUse::Kind::kHeap, CatalogTable::kClass, oid});
    }
    return {};
  }
  auto target = tables_.find(wanted);
  if (target == tables_.end()) return {};  // its root comes later in this round
  LakeTable& table = *target->second;
  bool is_new_heap = !table.heaps().contains(oid);
  LakeTable::Heap& heap = table.add_heap(oid, file);
  table_of_heap_[oid] = wanted;
  bool reads_differently = TIDE_TRY(table.make_reader(heap, oid, catalog_));
  reads_differently = rebuild_.erase(oid) > 0 || reads_differently;
  route(oid, file, {FileUse::Kind::kHeap, CatalogTable::kClass, oid});
  if (!file_known) {
    // All rows of a new file are in this transaction's WAL, unless whole pages were written.
    heap.rows.clear();
    if (scope.rewritten.contains(file)) TIDE_TRY(load_heap(table, oid, heap, scope.at, nullptr));
  } else if (is_new_heap || reads_differently) {
    TIDE_TRY(load_heap(table, oid, heap, scope.at, nullptr));
  }
  return {};
}

Status DatabaseMirror::load_tables(Lsn at, TransactionBuffer* open) {
  catalog_.take_changes();
  std::vector<const Relation*> all;
  catalog_.relations().for_each([&](uint32_t oid, const Relation& relation) {
    if (oid >= kFirstNormalOid && relation.rewrite == 0) all.push_back(&relation);
  });
  // Tables before the heaps in them.
  auto rank = [&](const Relation* relation) {
    return relation->kind == 't' ? 0 : table_for(relation->oid) == relation->oid ? 1 : 2;
  };
  std::sort(all.begin(), all.end(), [&](const Relation* a, const Relation* b) {
    return std::pair(rank(a), a->oid) < std::pair(rank(b), b->oid);
  });
  for (const Relation* relation : all) {
    // Known files: so every heap is read from its pages.
    if (relation->file_node != 0) {
      uint32_t oid = relation->oid;
      if (holds_rows(relation->kind) && relation->persistence == 'p') {
        route(oid, file_of(*relation), {FileUse::Kind::kHeap, CatalogTable::kClass, oid});
      }
    }
  }
  CommitScope scope{at, {}, {}};
  for (const Relation* relation : all) {
    uint32_t oid = relation->oid;
    TIDE_TRY(reconcile_relation(oid, scope));
    LakeTable* table = open != nullptr ? table_of_heap(oid) : nullptr;
    if (table == nullptr) continue;
    TransactionStatus transactions(source_, at);
    const RelFork& file = table->heaps().at(oid).file;
    TIDE_TRY(scan_heap(source_, file, at, transactions,
                       [&](const ScannedTuple& found) { return add_open(open, file, at, found); }));
  }
  loaded_at_.clear();
  ++catalog_version_;
  return {};
}

void DatabaseMirror::restore_table(std::unique_ptr<LakeTable> table,
                                   std::map<uint32_t, RelFork> heaps) {
  for (const auto& [relation, file] : heaps) {
    table_of_heap_[relation] = table->oid();
    routed_[relation] = file;
  }
  tables_[table->oid()] = std::move(table);
}

Status DatabaseMirror::adopt_tables(Lsn at) {
  catalog_.take_changes();
  std::vector<uint32_t> relations;
  catalog_.relations().for_each([&](uint32_t oid, const Relation& relation) {
    if (oid >= kFirstNormalOid && relation.rewrite == 0) relations.push_back(oid);
  });
  std::sort(relations.begin(), relations.end());
  for (uint32_t oid : relations) {
    const Relation& relation = *catalog_.relation(oid);
    if (std::string reason = reason_against(relation);
        !reason.empty() && relation.persistence != 't' &&
        (holds_rows(relation.kind) || relation.kind == 'p' || relation.kind == 'f')) {
      not_mirrored_[oid] = reason;
    }
    if (relation.file_node == 0 || relation.persistence != 'p') continue;
    if (relation.kind == 't') {
      route(oid, file_of(relation), {FileUse::Kind::kToast, CatalogTable::kClass, oid});
    } else if (holds_rows(relation.kind)) {
      route(oid, file_of(relation), {FileUse::Kind::kHeap, CatalogTable::kClass, oid});
    }
  }
  for (auto& [oid, table] : tables_) {
    if (catalog_.relation(oid) == nullptr) {
      return {Code::kCorrupt, fmt::format("the lake has a table {} that database {} does not have",
                                          oid, database_.name)};
    }
    TIDE_TRY(table->follow(catalog_));
    for (auto& [relation, heap] : table->heaps()) {
      TIDE_TRY(table->make_reader(heap, relation, catalog_));
    }
  }
  return follow_exclusions(at);  // they may have changed since the cut
}

Status DatabaseMirror::load_heap(LakeTable& table, uint32_t relation, LakeTable::Heap& heap, Lsn at,
                                 TransactionBuffer* open) {
  obs::info("{}.{}: reads {} from its pages at {}", database_.name, table.name(), heap.file, at);
  heap.rows.clear();
  loaded_at_[relation] = at;
  TransactionStatus transactions(source_, at);
  return scan_heap(source_, heap.file, at, transactions, [&](const ScannedTuple& found) -> Status {
    TIDE_TRY(add_open(open, heap.file, at, found));
    return found.inserter == 0 ? append_row(table, heap, found.id, found.tuple, at) : Status();
  });
}

Result<std::string> DatabaseMirror::fetch_toasted(const pgtypes::ToastPointer& pointer, Lsn at) {
  if (auto fresh = chunks_.find(pointer.value_id); fresh != chunks_.end()) {
    std::vector<std::string_view> parts;
    for (const auto& [number, data] : fresh->second) parts.push_back(data);
    // A chunk set of another TOAST table with the same id would not have the same sizes.
    if (auto value = pgtypes::assemble_external(pointer, parts); value.ok()) return value;
  }
  const Relation* toast = catalog_.relation(pointer.toast_relation);
  for (const Index& index : catalog_.indexes(pointer.toast_relation)) {
    const Relation* tree = catalog_.relation(index.oid);
    if (toast == nullptr || tree == nullptr || !index.valid) continue;
    return read_toasted(source_, file_of(*toast), file_of(*tree), pointer, at);
  }
  return Status(Code::kCorrupt, fmt::format("TOAST table {} is unknown", pointer.toast_relation));
}

Status DatabaseMirror::append_row(LakeTable& table, LakeTable::Heap& heap, TupleId id,
                                  const HeapTuple& tuple, Lsn at) {
  auto fetch = [&](const pgtypes::ToastPointer& pointer) { return fetch_toasted(pointer, at); };
  auto append = [&]() -> Status {
    columns::Batch& batch = heap.rows.fresh();
    size_t before = batch.columns.back().size();
    Status appended = heap.reader->append(tuple, fetch, batch);
    if (appended.ok() && heap.reader->homeless().empty()) return {};
    for (columns::Column& column : batch.columns) column.truncate(before);
    return appended;
  };
  Status appended = append();
  if (appended.ok() && !heap.reader->homeless().empty()) {
    table.add_text_columns(heap.reader->homeless());
    ++catalog_version_;
    for (auto& [relation, each] : table.heaps())
      TIDE_TRY(table.make_reader(each, relation, catalog_));
    appended = append();
  }
  if (!appended.ok()) {
    return std::move(appended).with_context(
        fmt::format("read row ({},{}) of {}", id.block(), id.offset(), heap.file));
  }
  heap.rows.added(id);
  return {};
}

void DatabaseMirror::fail_table(LakeTable& table, const Status& why) {
  obs::error("{}.{} cannot be followed any more: {}", database_.name, table.name(),
             why.to_string());
  table.last_error = why.message();
}

Status DatabaseMirror::apply_row(const CommitScope& scope, const FileUse& use,
                                 const BufferedChange& change) {
  using Kind = BufferedChange::Kind;
  if (use.kind == FileUse::Kind::kToast) {
    if (change.kind != Kind::kInsert) return {};
    std::string scratch;
    ToastChunk chunk = TIDE_TRY(read_toast_chunk(change.tuple, scratch));
    chunks_[chunk.value_id].insert_or_assign(chunk.number, std::string(chunk.data));
    return {};
  }
  LakeTable* table = table_of_heap(use.relation);
  if (table == nullptr || !table->last_error.empty()) return {};
  if (loaded_at_.contains(use.relation)) return {};  // its pages had this change already
  LakeTable::Heap& heap = table->heaps().at(use.relation);
  touched_ = true;
  Status done;
  if (change.kind == Kind::kDelete || change.kind == Kind::kUpdate)
    done = heap.rows.remove(change.old);
  if (done.ok() && (change.kind == Kind::kInsert || change.kind == Kind::kUpdate)) {
    done = append_row(*table, heap, change.fresh, change.tuple, scope.at);
  }
  if (!done.ok()) fail_table(*table, done);
  return {};
}

void DatabaseMirror::end_transaction() {
  loaded_at_.clear();
  chunks_.clear();
}

}  // namespace tide::mirror
