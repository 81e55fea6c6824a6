#include "mirror/catalog.h"

#include <algorithm>
#include <cstring>

#include "pgtypes/tuple.h"
#include "pgtypes/varlena.h"

namespace tide::mirror {
namespace {

using pgformat::HeapTuple;
using pgformat::TupleId;

constexpr uint32_t kArraySubscriptHandler = 6179;
constexpr uint32_t kRegclass = 2205;
constexpr uint32_t kRegtype = 2206;
constexpr uint32_t kRegrole = 4096;
constexpr uint32_t kRegnamespace = 4089;
constexpr uint32_t kPgCatalogSchema = 11;
constexpr uint32_t kPublicSchema = 2200;
constexpr size_t kNameSize = 64;

/// The fixed part of a catalog row, at the offsets of PostgreSQL 15's FormData structs.
class FixedPart {
 public:
  FixedPart(const HeapTuple& tuple, size_t size) {
    size_t skip = tuple.hoff - pgformat::kHeapTupleHeaderSize;
    if (tuple.body.size() >= skip + size) data_ = tuple.body.data() + skip;
  }
  bool is_whole() const { return data_ != nullptr; }
  template <typename T>
  T at(size_t offset) const {
    return load<T>(data_ + offset);
  }
  bool flag(size_t offset) const { return at<uint8_t>(offset) != 0; }
  std::string name(size_t offset) const {
    const char* text = reinterpret_cast<const char*>(data_) + offset;
    return std::string(text, ::strnlen(text, kNameSize));
  }

 private:
  const std::byte* data_ = nullptr;
};

Status cut_off(CatalogTable table) {
  return {Code::kCorrupt, fmt::format("a row of catalog {} is cut off", catalog_oid(table))};
}

/// The columns behind the fixed part, all of variable length, as plain payloads.
class VariablePart {
 public:
  /// `fixed_size` bytes hold the first `fixed_count` columns.
  VariablePart(int16_t fixed_size, int fixed_count, const std::vector<char>& aligns) {
    // The fixed columns only matter as a whole, but each has its bit in the null bitmap: one wide
    // column and as many single bytes as there are others.
    std::vector<pgtypes::Attribute> attributes;
    for (int i = 0; i < fixed_count; ++i) {
      pgtypes::Attribute attribute;
      attribute.number = static_cast<int16_t>(i + 1);
      attribute.type = 1;
      attribute.length = static_cast<int16_t>(i == 0 ? fixed_size - (fixed_count - 1) : 1);
      attribute.align = 'c';
      attributes.push_back(attribute);
    }
    for (char align : aligns) {
      pgtypes::Attribute attribute;
      attribute.number = static_cast<int16_t>(attributes.size() + 1);
      attribute.type = 1;
      attribute.length = -1;
      attribute.align = align;
      attributes.push_back(attribute);
    }
    reader_ = pgtypes::TupleReader(attributes);
  }

  /// The payload of column `number` (from 1); nothing if it is null or lies in a TOAST table.
  Result<std::optional<std::string>> payload(const HeapTuple& tuple, size_t number) const {
    pgtypes::TupleView view{tuple.infomask2, tuple.infomask, tuple.hoff, as_chars(tuple.body)};
    std::vector<pgtypes::AttributeValue> values;
    TIDE_TRY(reader_.read(view, values));
    const pgtypes::AttributeValue& value = values.at(number - 1);
    if (value.null || pgtypes::is_external(value.datum)) return std::optional<std::string>();
    std::string scratch;
    return std::optional<std::string>(TIDE_TRY(pgtypes::inline_payload(value.datum, scratch)));
  }

 private:
  pgtypes::TupleReader reader_;
};

/// relacl, reloptions, relpartbound behind pg_class's fixed columns.
const VariablePart& class_tail() {
  static const VariablePart tail(140, 30, {'i', 'i', 'i'});
  return tail;
}
/// attacl, attoptions, attfdwoptions, attmissingval.
const VariablePart& attribute_tail() {
  static const VariablePart tail(112, 22, {'i', 'i', 'i', 'd'});
  return tail;
}

/// The one element of an attmissingval array (arrays: ArrayType in array.h), as a datum.
std::optional<std::string> missing_value(std::string_view array,
                                         const pgtypes::Attribute& attribute) {
  // The payload lacks the array's varlena header, so its offsets are 4 lower.
  constexpr size_t kHeader = 4;
  ByteReader in(as_bytes(array));
  auto dimensions = in.read<int32_t>();
  auto data_offset = in.read<int32_t>();
  in.read<uint32_t>();  // element type
  if (in.failed() || dimensions != 1) return std::nullopt;
  size_t at = data_offset != 0 ? static_cast<size_t>(data_offset) - kHeader : 12 + 8;
  size_t align = attribute.align == 'd'   ? 8
                 : attribute.align == 'i' ? 4
                 : attribute.align == 's' ? 2
                                          : 1;
  at = (at + kHeader + align - 1) / align * align - kHeader;
  if (at > array.size()) return std::nullopt;
  std::string_view rest = array.substr(at);
  if (attribute.length >= 0) {
    auto length = static_cast<size_t>(attribute.length);
    return rest.size() < length ? std::nullopt : std::optional<std::string>(rest.substr(0, length));
  }
  if (attribute.length == -2) return std::string(rest.substr(0, rest.find('\0') + 1));
  size_t size = pgtypes::varlena_size(rest.data(), rest.size());
  return size == 0 ? std::nullopt : std::optional<std::string>(rest.substr(0, size));
}

uint64_t attribute_key(uint32_t relation, int16_t number) {
  return uint64_t{relation} << 16 | static_cast<uint16_t>(number);
}

/// As quote_identifier() writes it, keywords aside.
std::string quoted(std::string_view name) {
  bool plain =
      !name.empty() && (std::islower(static_cast<unsigned char>(name[0])) || name[0] == '_');
  for (char c : name) {
    plain = plain && (std::islower(static_cast<unsigned char>(c)) ||
                      std::isdigit(static_cast<unsigned char>(c)) || c == '_');
  }
  if (plain) return std::string(name);
  std::string out = "\"";
  for (char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace

uint32_t catalog_oid(CatalogTable table) {
  switch (table) {
    case CatalogTable::kClass:
      return 1259;
    case CatalogTable::kAttribute:
      return 1249;
    case CatalogTable::kType:
      return 1247;
    case CatalogTable::kNamespace:
      return 2615;
    case CatalogTable::kEnum:
      return 3501;
    case CatalogTable::kRange:
      return 3541;
    case CatalogTable::kInherits:
      return 2611;
    case CatalogTable::kIndex:
      return 2610;
    case CatalogTable::kDatabase:
      return 1262;
    case CatalogTable::kAuthId:
      return 1260;
    case CatalogTable::kAuthMembers:
      return 1261;
  }
  return 0;
}

Status Catalog::insert(CatalogTable table, TupleId id, const HeapTuple& tuple) {
  switch (table) {
    case CatalogTable::kClass: {
      FixedPart row(tuple, 140);
      if (!row.is_whole()) return cut_off(table);
      Relation relation;
      relation.oid = row.at<uint32_t>(0);
      relation.name = row.name(4);
      relation.schema = row.at<uint32_t>(68);
      relation.owner = row.at<uint32_t>(80);
      relation.file_node = row.at<uint32_t>(88);
      relation.tablespace = row.at<uint32_t>(92);
      relation.toast = row.at<uint32_t>(108);
      relation.persistence = row.at<char>(114);
      relation.kind = row.at<char>(115);
      relation.row_security = row.flag(123);
      relation.populated = row.flag(125);
      relation.is_partition = row.flag(127);
      relation.rewrite = row.at<uint32_t>(128);
      relation.acl = TIDE_TRY(class_tail().payload(tuple, 31)).value_or("");
      changes_.relations.insert(relation.oid);
      uint32_t oid = relation.oid;
      relations_.insert(id, oid, std::move(relation));
      return {};
    }
    case CatalogTable::kAttribute:
      return insert_attribute(id, tuple);
    case CatalogTable::kType: {
      FixedPart row(tuple, 148);
      if (!row.is_whole()) return cut_off(table);
      pgtypes::TypeInfo type;
      type.oid = row.at<uint32_t>(0);
      type.name = row.name(4);
      type.schema = row.at<uint32_t>(68);
      type.length = row.at<int16_t>(76);
      type.by_value = row.flag(78);
      type.kind = row.at<char>(79);
      type.category = row.at<char>(80);
      type.delimiter = row.at<char>(83);
      type.relation = row.at<uint32_t>(84);
      type.element = row.at<uint32_t>(92);
      type.is_array = row.at<uint32_t>(88) == kArraySubscriptHandler;
      type.align = row.at<char>(128);
      type.base_type = row.at<uint32_t>(132);
      type.base_typmod = row.at<int32_t>(136);
      if (const Range* range = ranges_.find(type.oid)) type.range_subtype = range->subtype;
      ranges_.for_each([&](uint32_t range, const Range& found) {
        if (found.multirange == type.oid) type.range_of_multirange = range;
      });
      uint32_t oid = type.oid;
      types_.insert(id, oid, std::move(type));
      return {};
    }
    case CatalogTable::kNamespace: {
      FixedPart row(tuple, 68);
      if (!row.is_whole()) return cut_off(table);
      schemas_.insert(id, row.at<uint32_t>(0), row.name(4));
      changes_.names = true;
      return {};
    }
    case CatalogTable::kEnum: {
      FixedPart row(tuple, 12 + kNameSize);
      if (!row.is_whole()) return cut_off(table);
      auto oid = row.at<uint32_t>(0);
      EnumLabel label{row.at<uint32_t>(4), row.name(12)};
      auto [old, is_new] = old_labels_.try_emplace(oid, label.label);
      if (!is_new && old->second != label.label) {
        changes_.relabeled_enums.insert(label.type);
        old->second = label.label;
      }
      enums_.insert(id, oid, std::move(label));
      return {};
    }
    case CatalogTable::kRange: {
      FixedPart row(tuple, 12);
      if (!row.is_whole()) return cut_off(table);
      Range range{row.at<uint32_t>(4), row.at<uint32_t>(8)};
      apply_range(row.at<uint32_t>(0), range);
      ranges_.insert(id, row.at<uint32_t>(0), range);
      return {};
    }
    case CatalogTable::kInherits: {
      FixedPart row(tuple, 13);
      if (!row.is_whole()) return cut_off(table);
      Inheritance link{row.at<uint32_t>(0), row.at<uint32_t>(4), row.at<int32_t>(8)};
      changes_.relations.insert(link.child);
      changes_.relations.insert(link.parent);
      inherits_.insert(id, uint64_t{link.child} << 32 | link.parent, link);
      return {};
    }
    case CatalogTable::kIndex: {
      FixedPart row(tuple, 23);
      if (!row.is_whole()) return cut_off(table);
      Index index{row.at<uint32_t>(0), row.at<uint32_t>(4), row.flag(14), row.flag(18)};
      changes_.relations.insert(index.relation);
      indexes_.insert(id, index.oid, index);
      return {};
    }
    default:
      return {Code::kBug, "a shared catalog's row in a database's catalog"};
  }
}

Status Catalog::insert_attribute(TupleId id, const HeapTuple& tuple) {
  FixedPart row(tuple, 112);
  if (!row.is_whole()) return cut_off(CatalogTable::kAttribute);
  auto relation = row.at<uint32_t>(0);
  auto number = row.at<int16_t>(78);
  if (relation < kFirstNormalOid || number <= 0) return {};
  pgtypes::Attribute attribute;
  attribute.name = row.name(4);
  attribute.number = number;
  attribute.type = row.at<uint32_t>(68);
  attribute.length = row.at<int16_t>(76);
  attribute.typmod = row.at<int32_t>(88);
  attribute.by_value = row.flag(92);
  attribute.align = row.at<char>(93);
  attribute.not_null = row.flag(96);
  attribute.generated = row.at<char>(100);
  attribute.dropped = row.flag(101);
  if (row.flag(98)) {
    auto array = TIDE_TRY(attribute_tail().payload(tuple, 26));
    if (array) attribute.missing = missing_value(*array, attribute);
  }
  attribute_keys_[relation][number] = attribute_key(relation, number);
  attribute_rows_.insert(id, attribute_key(relation, number), {relation, std::move(attribute)});
  attribute_changed(relation);
  return {};
}

void Catalog::attribute_changed(uint32_t relation) {
  attributes_.erase(relation);
  changes_.relations.insert(relation);
}

void Catalog::apply_range(uint32_t range, const Range& row) {
  // The type's row may come before or after the range's: types_ is completed in either case.
  if (const pgtypes::TypeInfo* type = types_.find(range)) {
    const_cast<pgtypes::TypeInfo*>(type)->range_subtype = row.subtype;
  }
  if (const pgtypes::TypeInfo* type = types_.find(row.multirange)) {
    const_cast<pgtypes::TypeInfo*>(type)->range_of_multirange = range;
  }
}

void Catalog::remove(CatalogTable table, TupleId id) {
  switch (table) {
    case CatalogTable::kClass:
      if (auto row = relations_.remove(id)) changes_.relations.insert(row->oid);
      return;
    case CatalogTable::kAttribute:
      if (auto row = attribute_rows_.remove(id)) {
        auto numbers = attribute_keys_.find(row->relation);
        numbers->second.erase(row->attribute.number);
        if (numbers->second.empty()) attribute_keys_.erase(numbers);
        attribute_changed(row->relation);
      }
      return;
    case CatalogTable::kType:
      types_.remove(id);
      return;
    case CatalogTable::kNamespace:
      if (schemas_.remove(id)) changes_.names = true;
      return;
    case CatalogTable::kEnum: {
      auto oid = enums_.key_at(id);
      if (enums_.remove(id)) old_labels_.erase(*oid);
      return;
    }
    case CatalogTable::kRange:
      ranges_.remove(id);
      return;
    case CatalogTable::kInherits:
      if (auto row = inherits_.remove(id)) {
        changes_.relations.insert(row->child);
        changes_.relations.insert(row->parent);
      }
      return;
    case CatalogTable::kIndex:
      if (auto row = indexes_.remove(id)) changes_.relations.insert(row->relation);
      return;
    default:
      return;
  }
}

void Catalog::clear(CatalogTable table) {
  switch (table) {
    case CatalogTable::kClass:
      relations_.for_each([&](uint32_t oid, const Relation&) { changes_.relations.insert(oid); });
      return relations_.clear();
    case CatalogTable::kAttribute:
      for (const auto& [relation, numbers] : attribute_keys_) changes_.relations.insert(relation);
      attribute_keys_.clear();
      attributes_.clear();
      return attribute_rows_.clear();
    case CatalogTable::kType:
      return types_.clear();
    case CatalogTable::kNamespace:
      return schemas_.clear();
    case CatalogTable::kEnum:
      return enums_.clear();
    case CatalogTable::kRange:
      return ranges_.clear();
    case CatalogTable::kInherits:
      return inherits_.clear();
    case CatalogTable::kIndex:
      return indexes_.clear();
    default:
      return;
  }
}

CatalogChanges Catalog::take_changes() { return std::exchange(changes_, {}); }

const Relation* Catalog::relation(uint32_t oid) const { return relations_.find(oid); }

std::string_view Catalog::schema_name(uint32_t oid) const {
  const std::string* name = schemas_.find(oid);
  return name == nullptr ? std::string_view() : *name;
}

std::vector<uint32_t> Catalog::parents(uint32_t relation) const {
  std::vector<std::pair<int32_t, uint32_t>> found;
  inherits_.for_each([&](uint64_t, const Inheritance& link) {
    if (link.child == relation) found.emplace_back(link.number, link.parent);
  });
  std::sort(found.begin(), found.end());
  std::vector<uint32_t> parents;
  for (const auto& [number, parent] : found) parents.push_back(parent);
  return parents;
}

std::vector<uint32_t> Catalog::children(uint32_t relation) const {
  std::vector<uint32_t> children;
  inherits_.for_each([&](uint64_t, const Inheritance& link) {
    if (link.parent == relation) children.push_back(link.child);
  });
  std::sort(children.begin(), children.end());
  return children;
}

std::vector<Index> Catalog::indexes(uint32_t relation) const {
  std::vector<Index> found;
  indexes_.for_each([&](uint32_t, const Index& index) {
    if (index.relation == relation) found.push_back(index);
  });
  return found;
}

const pgtypes::TypeInfo* Catalog::type(uint32_t oid) const { return types_.find(oid); }

std::optional<std::string_view> Catalog::enum_label(uint32_t oid) const {
  const EnumLabel* label = enums_.find(oid);
  return label == nullptr ? std::nullopt : std::optional<std::string_view>(label->label);
}

const std::vector<pgtypes::Attribute>* Catalog::attributes(uint32_t relation) const {
  auto made = attributes_.find(relation);
  if (made != attributes_.end()) return &made->second;
  auto numbers = attribute_keys_.find(relation);
  if (numbers == attribute_keys_.end()) return nullptr;
  std::vector<pgtypes::Attribute>& attributes = attributes_[relation];
  for (const auto& [number, key] : numbers->second) {
    attributes.push_back(attribute_rows_.find(key)->attribute);
  }
  return &attributes;
}

std::optional<std::string> Catalog::object_name(uint32_t reg, uint32_t oid) const {
  auto qualified = [&](uint32_t schema, const std::string& name) {
    if (schema == kPgCatalogSchema || schema == kPublicSchema) return quoted(name);
    return quoted(schema_name(schema)) + "." + quoted(name);
  };
  switch (reg) {
    case kRegclass:
      if (const Relation* found = relation(oid)) return qualified(found->schema, found->name);
      return std::nullopt;
    case kRegtype:
      if (const pgtypes::TypeInfo* found = type(oid); found != nullptr && found->kind != 'b') {
        return qualified(found->schema, found->name);
      }
      return std::nullopt;
    case kRegnamespace:
      if (std::string_view name = schema_name(oid); !name.empty()) return quoted(name);
      return std::nullopt;
    case kRegrole:
    default:
      return std::nullopt;
  }
}

Status SharedCatalog::insert(CatalogTable table, TupleId id, const HeapTuple& tuple) {
  if (table == CatalogTable::kDatabase) {
    FixedPart row(tuple, 96);
    if (!row.is_whole()) return cut_off(table);
    Database database;
    database.oid = row.at<uint32_t>(0);
    database.name = row.name(4);
    database.owner = row.at<uint32_t>(68);
    database.encoding = row.at<int32_t>(72);
    database.is_template = row.flag(77);
    database.allows_connections = row.flag(78);
    database.tablespace = row.at<uint32_t>(92);
    changed_ = true;
    uint32_t oid = database.oid;
    databases_.insert(id, oid, std::move(database));
  } else if (table == CatalogTable::kAuthId) {
    FixedPart row(tuple, 80);
    if (!row.is_whole()) return cut_off(table);
    roles_.insert(id, row.at<uint32_t>(0),
                  {row.at<uint32_t>(0), row.name(4), row.flag(68), row.flag(72)});
    changed_ = true;
  }
  return {};
}

void SharedCatalog::remove(CatalogTable table, TupleId id) {
  if (table == CatalogTable::kDatabase && databases_.remove(id)) changed_ = true;
  if (table == CatalogTable::kAuthId && roles_.remove(id)) changed_ = true;
}

void SharedCatalog::clear(CatalogTable table) {
  if (table == CatalogTable::kDatabase) databases_.clear();
  if (table == CatalogTable::kAuthId) roles_.clear();
  changed_ = true;
}

bool SharedCatalog::take_changed() { return std::exchange(changed_, false); }

}  // namespace tide::mirror
