#include "deltalog/data_skipping.h"

#include <algorithm>
#include <utility>

#include "deltalog/statistics.h"

namespace tide::deltalog {
namespace {

/// For one known value.
bool holds(Comparison comparison, const Value& value, const Value& operand) {
  if (comparison == Comparison::kIsNull) return is_null(value);
  if (is_null(value)) return false;
  if (comparison == Comparison::kIsNotNull) return true;
  if (is_null(operand)) return false;
  std::partial_ordering order = compare(value, operand);
  // NaN: DuckDB and PostgreSQL sort it above all others; the caller reads the file and sees.
  if (order == std::partial_ordering::unordered) return true;
  switch (comparison) {
    case Comparison::kEqual:
      return order == 0;
    case Comparison::kNotEqual:
      return order != 0;
    case Comparison::kLess:
      return order < 0;
    case Comparison::kLessOrEqual:
      return order <= 0;
    case Comparison::kGreater:
      return order > 0;
    case Comparison::kGreaterOrEqual:
      return order >= 0;
    default:
      return true;
  }
}

/// For some value between the bounds.
bool may_hold(Comparison comparison, const ColumnBounds& bounds, std::optional<int64_t> rows,
              const Value& operand) {
  // With wide bounds (a deletion vector came later) counts are those of all rows of the file: none
  // and all still mean that, and whatever lies between excludes nothing here.
  bool all_null = rows && bounds.null_count && *bounds.null_count == *rows;
  if (comparison == Comparison::kIsNull) return !bounds.null_count || *bounds.null_count > 0;
  if (all_null) return false;
  if (comparison == Comparison::kIsNotNull) return true;
  if (is_null(operand)) return false;
  std::partial_ordering low = compare(bounds.min, operand);  // unordered if unknown
  std::partial_ordering high = compare(bounds.max, operand);
  switch (comparison) {
    case Comparison::kEqual:
      return !(low > 0) && !(high < 0);
    case Comparison::kNotEqual:
      return !(low == 0 && high == 0);
    case Comparison::kLess:
      return !(low >= 0);
    case Comparison::kLessOrEqual:
      return !(low > 0);
    case Comparison::kGreater:
      return !(high <= 0);
    case Comparison::kGreaterOrEqual:
      return !(high < 0);
    default:
      return true;
  }
}

}  // namespace

FileFilter::FileFilter(const Schema& schema, const std::vector<std::string>& partition_columns,
                       std::vector<Predicate> predicates) {
  for (Predicate& predicate : predicates) {
    Condition condition;
    Schema level = schema;
    bool known = !predicate.column.empty();
    for (const std::string& name : predicate.column) {
      const SchemaField* field = level.find(name);
      known = known && field != nullptr;
      if (!known) break;
      condition.physical.push_back(physical_name(*field));
      condition.type = field->type;
      level.fields.clear();
      if (condition.type.kind == TypeKind::kStruct) level.fields = condition.type.children;
    }
    if (!known) continue;
    if (condition.type.kind == TypeKind::kStruct) continue;
    condition.partition =
        predicate.column.size() == 1 &&
        std::any_of(partition_columns.begin(), partition_columns.end(),
                    [&](const std::string& name) {
                      return schema.find(name) == schema.find(predicate.column[0]);
                    });
    condition.predicate = std::move(predicate);
    conditions_.push_back(std::move(condition));
  }
}

bool FileFilter::may_match(const AddFile& file) const {
  if (conditions_.empty()) return true;
  std::optional<FileStatistics> statistics;
  for (const Condition& condition : conditions_) {
    const Predicate& predicate = condition.predicate;
    if (condition.partition) {
      auto text = file.partition_values.find(condition.physical[0]);
      if (text == file.partition_values.end()) continue;
      Result<Value> value = parse_value(text->second, condition.type);
      if (value.ok() && !holds(predicate.comparison, *value, predicate.operand)) return false;
      continue;
    }
    if (!file.stats) continue;
    if (!statistics) statistics = FileStatistics::parse(*file.stats);
    if (!may_hold(predicate.comparison, statistics->bounds(condition.physical, condition.type),
                  statistics->num_records(), predicate.operand)) {
      return false;
    }
  }
  return true;
}

}  // namespace tide::deltalog
