#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "columns/column.h"
#include "pgtypes/mapping.h"
#include "pgtypes/type_tree.h"

namespace tide::pgtypes {

enum class Appended : uint8_t {
  kStored,
  /// NULL was appended, because the value has no place in the column's type: NaN or infinity in a
  /// decimal, an infinite date, an array with several dimensions, ... Its text (append_text()) goes
  /// aside. The list is in docs/guide/types.md.
  kDiverted,
};

/// Appends values of one PostgreSQL type to columns of the type it maps to. Everything about the
/// type is looked up once; labels of enums and names that reg* types print are asked of the catalog
/// for every value. One thread at a time.
class ValueWriter {
 public:
  /// Errors of TypeTree::resolve() and map_type(). The catalog outlives the writer.
  static Result<ValueWriter> create(const TypeCatalog& catalog, uint32_t type, int32_t typmod);

  const columns::Type& column_type() const { return column_type_; }
  const TypeTree& type() const { return *type_; }

  /// Appends one value to a column of column_type(). `datum` as stored, in any inline form. After
  /// an error (as of append_text()) the column is as it was.
  Result<Appended> append(std::string_view datum, columns::Column& column) const;

 private:
  ValueWriter() = default;

  std::unique_ptr<const TypeTree> type_;
  columns::Type column_type_;
};

/// The same for one value, looking everything up.
Result<Appended> append_value(const TypeCatalog& catalog, uint32_t type, int32_t typmod,
                              std::string_view datum, columns::Column& column);

}  // namespace tide::pgtypes
