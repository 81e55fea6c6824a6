#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "columns/column.h"
#include "pgformat/heap_record.h"
#include "pgtypes/append.h"
#include "pgtypes/tuple.h"
#include "pgtypes/type_catalog.h"
#include "pgtypes/varlena.h"

namespace tide::mirror {

/// Fetches a value from its TOAST table as a plain datum.
using FetchToasted = std::function<Result<std::string>(const pgtypes::ToastPointer& pointer)>;

/// Turns tuples of one heap into rows of a lake table. Belongs to one state of the catalog.
class RowReader {
 public:
  struct Target {
    int16_t number;  ///< attnum in the heap's relation; 0: the heap lacks the column, it is null
  };
  /// `attributes`: all of the heap's relation, by attnum. `targets`: one per column of the lake
  /// table, in order.
  static Result<std::unique_ptr<RowReader>> make(const pgtypes::TypeCatalog& catalog,
                                                 const std::vector<pgtypes::Attribute>& attributes,
                                                 const std::vector<Target>& targets);

  /// Appends one value to each of the batch's first columns. On an error the batch has to be taken
  /// back to where it was.
  Status append(const pgformat::HeapTuple& tuple, const FetchToasted& fetch, columns::Batch& batch);

  /// Values that had no home in their column's type and became null.
  uint64_t diverted() const { return diverted_; }

 private:
  RowReader() = default;
  struct Slot {
    int attribute = -1;  ///< place in values_; -1: always null
    bool is_varlena = false;
    std::optional<pgtypes::ValueWriter> writer;
  };
  pgtypes::TupleReader reader_;
  std::vector<Slot> slots_;
  std::vector<pgtypes::AttributeValue> values_;
  uint64_t diverted_ = 0;
};

}  // namespace tide::mirror
