#include "mirror/lake_table.h"

#include <algorithm>
#include <cctype>

#include "pgtypes/mapping.h"

namespace tide::mirror {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool same_layout(const pgtypes::Attribute& a, const pgtypes::Attribute& b) {
  return a.number == b.number && a.length == b.length && a.align == b.align &&
         a.by_value == b.by_value && a.type == b.type && a.typmod == b.typmod &&
         a.dropped == b.dropped;
}

}  // namespace

std::string type_spelling(const Catalog& catalog, uint32_t type, int32_t typmod) {
  const pgtypes::TypeInfo* info = catalog.type(type);
  if (info == nullptr) return std::to_string(type);
  if (info->is_array) return type_spelling(catalog, info->element, typmod) + "[]";
  constexpr int32_t kHeader = 4;  // typmods of character types and numeric count it in
  std::string suffix;
  if (typmod >= kHeader && (info->name == "varchar" || info->name == "bpchar")) {
    suffix = fmt::format("({})", typmod - kHeader);
  } else if (typmod >= kHeader && info->name == "numeric") {
    int32_t packed = typmod - kHeader;
    int32_t scale = (packed & 0x7FF) ^ 1024;
    suffix = fmt::format("({},{})", packed >> 16 & 0xFFFF, scale - 1024);
  } else if (typmod >= 0 &&
             (info->name == "bit" || info->name == "varbit" || info->name.starts_with("time"))) {
    suffix = fmt::format("({})", typmod);
  }
  static const std::map<std::string_view, std::pair<std::string_view, std::string_view>> names = {
      {"int2", {"smallint", ""}},
      {"int4", {"integer", ""}},
      {"int8", {"bigint", ""}},
      {"float4", {"real", ""}},
      {"float8", {"double precision", ""}},
      {"bool", {"boolean", ""}},
      {"char", {"\"char\"", ""}},
      {"varchar", {"character varying", ""}},
      {"bpchar", {"character", ""}},
      {"varbit", {"bit varying", ""}},
      {"timestamp", {"timestamp", " without time zone"}},
      {"timestamptz", {"timestamp", " with time zone"}},
      {"time", {"time", " without time zone"}},
      {"timetz", {"time", " with time zone"}},
  };
  auto name = names.find(info->name);
  if (name == names.end() || info->schema != 11) return info->name + suffix;
  return fmt::format("{}{}{}", name->second.first, suffix, name->second.second);
}

LakeTable::LakeTable(const CutState::Table& state, uint64_t& next_segment)
    : database_(state.database),
      oid_(state.oid),
      next_segment_(next_segment),
      schema_(state.schema),
      name_(state.name),
      kind_(state.kind),
      columns_(state.columns),
      next_column_id_(state.next_column_id),
      used_names_(state.used_names),
      publication_(state.publication) {
  for (const auto& [relation, heap] : state.heaps) add_heap(relation, heap.file);
}

TableCut LakeTable::begin_cut(bool dropped) {
  TableCut cut;
  cut.database = database_;
  cut.oid = oid_;
  cut.schema = schema_;
  cut.name = name_;
  cut.kind = kind_;
  cut.columns = columns_;
  cut.next_column_id = next_column_id_;
  cut.used_names = used_names_;
  cut.publication = publication_;
  cut.dropped = dropped;
  publication_.schema_changed = false;
  for (auto& [relation, heap] : heaps_) {
    TableCut::Heap& out = cut.heaps.emplace_back();
    out.relation = relation;
    out.file = heap.file;
    if (dropped) {
      heap.rows.clear();
    } else {
      out.merge = heap.rows.begin_merge();
    }
    out.rows = heap.rows.begin_cut();
  }
  cut.orphans = std::exchange(orphans_, {});
  return cut;
}

void LakeTable::finish_cut(const TableCut& cut) {
  if (!cut.commit.empty()) publication_.version = cut.publication.version + 1;
  for (const TableCut::Heap& done : cut.heaps) {
    auto heap = heaps_.find(done.relation);
    if (heap != heaps_.end() && heap->second.rows.began(done.rows)) {
      heap->second.rows.finish_cut(done.rows, done.written, done.vectors);
      if (!done.merge.dirty_files.empty()) {
        heap->second.rows.finish_merge(done.merge, done.merged, done.merged_ids);
      }
      continue;
    }
    // The heap left while the cut was written: what the cut made live goes with the next one.
    for (size_t i = 0; i < done.rows.dirty_files.size(); ++i) {
      settle_removed(orphans_, done.rows.dirty_files[i], done.vectors[i]);
    }
    for (const HeapCut::DirtyFile& old : done.merge.dirty_files) {
      std::erase_if(orphans_, [&](const LakeFile& each) { return each.name == old.file.name; });
    }
    if (done.merged) orphans_.push_back(*done.merged);
    orphans_.insert(orphans_.end(), done.written.begin(), done.written.end());
  }
}

void LakeTable::abandon_cut(const TableCut& cut) {
  publication_.schema_changed = publication_.schema_changed || cut.publication.schema_changed;
  orphans_.insert(orphans_.begin(), cut.orphans.begin(), cut.orphans.end());
  for (const TableCut::Heap& heap : cut.heaps) {
    auto found = heaps_.find(heap.relation);
    if (found != heaps_.end() && found->second.rows.began(heap.rows)) {
      found->second.rows.abandon_cut(heap.rows);
      found->second.rows.abandon_cut(heap.merge);
    } else {
      orphans_.insert(orphans_.end(), heap.rows.removed.begin(), heap.rows.removed.end());
    }
  }
}

LakeColumn LakeTable::new_column(const std::string& name, int16_t number, columns::Type type,
                                 std::string pg_type) {
  LakeColumn column;
  column.name = name;
  column.number = number;
  column.id = next_column_id_++;
  column.physical = name;
  // Delta and Parquet tell names apart without case.
  for (int suffix = number; !used_names_.insert(lower(column.physical)).second; ++suffix) {
    column.physical = fmt::format("{}_{}", name, suffix);
  }
  column.type = std::move(type);
  column.pg_type = std::move(pg_type);
  return column;
}

void LakeTable::add_text_columns(const std::vector<size_t>& columns) {
  std::vector<int> from;
  for (size_t i = 0; i < columns_.size(); ++i) from.push_back(static_cast<int>(i));
  for (size_t index : columns) {
    LakeColumn of = columns_.at(index);
    LakeColumn column = new_column(of.name + "__text", of.number, columns::Kind::kString, "text");
    column.name = column.physical;
    column.number = 0;
    column.text_of = of.number;
    columns_.push_back(std::move(column));
    from.push_back(-1);
  }
  publication_.schema_changed = columns_changed_ = true;
  for (auto& [relation, heap] : heaps_) heap.rows.reshape(fields(), from);
}

Result<LakeTable::Change> LakeTable::follow(const Catalog& catalog) {
  const Relation* relation = catalog.relation(oid_);
  const std::vector<pgtypes::Attribute>* attributes = catalog.attributes(oid_);
  if (relation == nullptr) return Status(Code::kBug, fmt::format("relation {} is gone", oid_));
  static const std::vector<pgtypes::Attribute> no_columns;
  if (attributes == nullptr) attributes = &no_columns;
  Change change = Change::kNone;
  auto at_least = [&](Change found) { change = std::max(change, found); };
  std::string schema(catalog.schema_name(relation->schema));
  if (schema != schema_ || relation->name != name_) at_least(Change::kNames);
  schema_ = schema;
  name_ = relation->name;
  kind_ = relation->kind;
  owner_ = relation->owner;

  std::vector<LakeColumn> before = std::exchange(columns_, {});
  left_out_.clear();
  std::vector<int> from;
  std::set<std::string> names;
  for (const pgtypes::Attribute& attribute : *attributes) {
    if (attribute.dropped) continue;
    Result<columns::Type> type = pgtypes::map_type(catalog, attribute.type, attribute.typmod);
    if (!type.ok()) {
      left_out_.push_back(fmt::format("{}: {}", attribute.name, type.status().message()));
      continue;
    }
    std::string pg_type = type_spelling(catalog, attribute.type, attribute.typmod);
    auto old = std::find_if(before.begin(), before.end(), [&](const LakeColumn& column) {
      return column.number == attribute.number;
    });
    if (old == before.end()) {
      columns_.push_back(
          new_column(attribute.name, attribute.number, *std::move(type), std::move(pg_type)));
      from.push_back(-1);
      at_least(Change::kColumns);
    } else if (old->type != *type) {
      columns_.push_back(
          new_column(attribute.name, attribute.number, *std::move(type), std::move(pg_type)));
      from.push_back(-1);
      at_least(Change::kRebuild);
    } else {
      from.push_back(static_cast<int>(old - before.begin()));
      if (old->pg_type != pg_type) at_least(Change::kNames);
      columns_.push_back(*old);
      columns_.back().pg_type = std::move(pg_type);
    }
    LakeColumn& column = columns_.back();
    std::string name = attribute.name;
    for (int suffix = attribute.number; !names.insert(lower(name)).second; ++suffix) {
      name = fmt::format("{}_{}", attribute.name, suffix);
    }
    if (column.name != name) at_least(Change::kNames);
    column.name = std::move(name);
  }
  // What keeps the texts of a column stays as long as the column.
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i].text_of == 0) continue;
    bool stays = std::any_of(columns_.begin(), columns_.end(), [&](const LakeColumn& column) {
      return column.number == before[i].text_of &&
             std::any_of(before.begin(), before.end(),
                         [&](const LakeColumn& old) { return old.id == column.id; });
    });
    if (!stays) continue;
    columns_.push_back(before[i]);
    for (int suffix = 1; !names.insert(lower(columns_.back().name)).second; ++suffix) {
      columns_.back().name = fmt::format("{}_{}", before[i].physical, suffix);
      at_least(Change::kNames);
    }
    from.push_back(static_cast<int>(i));
  }
  if (columns_.size() < before.size()) at_least(Change::kColumns);
  if (change >= Change::kNames) publication_.schema_changed = columns_changed_ = true;
  if (change >= Change::kColumns) {
    for (auto& [heap_oid, heap] : heaps_) heap.rows.reshape(fields(), from);
  }
  return change;
}

LakeTable::Heap& LakeTable::add_heap(uint32_t relation, const RelFork& file) {
  auto [entry, is_new] =
      heaps_.try_emplace(relation, Heap{file, HeapRows(fields(), next_segment_), nullptr, {}});
  entry->second.file = file;
  return entry->second;
}

void LakeTable::remove_heap(uint32_t relation) {
  auto heap = heaps_.find(relation);
  if (heap == heaps_.end()) return;
  heap->second.rows.clear();
  for (LakeFile& file : heap->second.rows.begin_cut().removed) orphans_.push_back(std::move(file));
  heaps_.erase(heap);
}

Result<bool> LakeTable::make_reader(Heap& heap, uint32_t relation, const Catalog& catalog) {
  static const std::vector<pgtypes::Attribute> no_columns;
  const std::vector<pgtypes::Attribute>* found = catalog.attributes(relation);
  const std::vector<pgtypes::Attribute>& attributes = found != nullptr ? *found : no_columns;
  const std::vector<pgtypes::Attribute>* own = catalog.attributes(oid_);
  std::vector<RowReader::Target> targets;
  for (const LakeColumn& column : columns_) {
    if (column.text_of != 0) {
      auto of = std::find_if(columns_.begin(), columns_.end(),
                             [&](const LakeColumn& each) { return each.number == column.text_of; });
      targets.push_back({0, static_cast<int>(of - columns_.begin())});
      continue;
    }
    if (relation == oid_) {
      targets.push_back({column.number, -1});
      continue;
    }
    // A partition's columns may lie in another order: what counts is the name in the root.
    std::string_view name;
    for (const pgtypes::Attribute& attribute : own != nullptr ? *own : no_columns) {
      if (attribute.number == column.number) name = attribute.name;
    }
    int16_t number = 0;
    for (const pgtypes::Attribute& attribute : attributes) {
      if (!attribute.dropped && attribute.name == name) number = attribute.number;
    }
    targets.push_back({number, -1});
  }
  // Rows stored before a column was added show its default, which files written before do not have.
  bool reads_differently = false;
  for (size_t i = 0; i < attributes.size(); ++i) {
    bool was_there = i < heap.attributes.size();
    if (!was_there && attributes[i].missing && !attributes[i].dropped) reads_differently = true;
    if (was_there && !same_layout(heap.attributes[i], attributes[i]) && !attributes[i].dropped) {
      reads_differently = true;
    }
  }
  heap.attributes = attributes;
  heap.reader = TIDE_TRY(RowReader::make(catalog, attributes, targets));
  return reads_differently;
}

std::vector<columns::Field> LakeTable::fields() const {
  std::vector<columns::Field> fields;
  for (const LakeColumn& column : columns_) fields.push_back({column.physical, column.type, true});
  return fields;
}

std::shared_ptr<const TableSnapshot> LakeTable::snapshot() {
  auto fresh = std::make_shared<TableSnapshot>();
  for (auto& [relation, heap] : heaps_) fresh->heaps[relation] = heap.rows.version();
  if (snapshot_ != nullptr && !columns_changed_ && snapshot_->heaps == fresh->heaps)
    return snapshot_;
  fresh->oid = oid_;
  fresh->directory = publication_.directory;
  fresh->columns = columns_;
  columns_changed_ = false;
  snapshot_ = std::move(fresh);
  return snapshot_;
}

bool LakeTable::is_dirty() const {
  if (publication_.schema_changed || !orphans_.empty()) return true;
  return std::any_of(heaps_.begin(), heaps_.end(),
                     [](const auto& heap) { return heap.second.rows.is_dirty(); });
}

uint64_t LakeTable::live_rows() const {
  uint64_t rows = 0;
  for (const auto& [relation, heap] : heaps_) rows += heap.rows.live_rows();
  return rows;
}

uint64_t LakeTable::fresh_rows() const {
  uint64_t rows = 0;
  for (const auto& [relation, heap] : heaps_) rows += heap.rows.fresh_rows();
  return rows;
}

uint64_t LakeTable::fresh_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [relation, heap] : heaps_) bytes += heap.rows.fresh_bytes();
  return bytes;
}

}  // namespace tide::mirror
