#pragma once

#include <string>
#include <vector>

#include "deltalog/action.h"
#include "deltalog/schema.h"
#include "deltalog/value.h"

namespace tide::deltalog {

enum class Comparison {
  kEqual,
  kNotEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kIsNull,
  kIsNotNull,
};

/// `column OP operand`, as SQL understands it: a comparison with null is not true.
struct Predicate {
  /// Logical names, outermost first: a column, or a field inside structs.
  std::vector<std::string> column;
  Comparison comparison = Comparison::kEqual;
  Value operand;  ///< Of the column's type (value.h); ignored for kIsNull, kIsNotNull.
};

/// Says which files can hold rows for which all predicates are true, by partition values and
/// statistics. Unknown columns, missing or wide statistics: the file may.
class FileFilter {
 public:
  FileFilter(const Schema& schema, const std::vector<std::string>& partition_columns,
             std::vector<Predicate> predicates);
  bool may_match(const AddFile& file) const;

 private:
  struct Condition {
    Predicate predicate;
    std::vector<std::string> physical;
    DataType type;
    bool partition;
  };
  std::vector<Condition> conditions_;
};

}  // namespace tide::deltalog
