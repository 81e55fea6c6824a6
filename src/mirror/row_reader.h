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
    int16_t number =
        0;  ///< attnum in the heap's relation; 0: the heap lacks the column, it is null
    /// The target keeps the text of values that this other target (its index) has no place for.
    int text_of = -1;
  };
  /// `attributes`: all of the heap's relation, by attnum. `targets`: one per column of the lake
  /// table, in order.
  static Result<std::unique_ptr<RowReader>> make(const pgtypes::TypeCatalog& catalog,
                                                 const std::vector<pgtypes::Attribute>& attributes,
                                                 const std::vector<Target>& targets);

  /// Appends one value to each of the batch's first columns. On an error the batch has to be taken
  /// back to where it was.
  Status append(const pgformat::HeapTuple& tuple, const FetchToasted& fetch, columns::Batch& batch);

  /// Targets of the last row whose value has no place in its column and that have no other target
  /// for its text: the value would be lost.
  const std::vector<size_t>& homeless() const { return homeless_; }

 private:
  RowReader() = default;
  struct Slot {
    int attribute = -1;  ///< place in values_; -1: always null
    bool is_varlena = false;
    std::optional<pgtypes::ValueWriter> writer;
    int text_of = -1;
    int text_slot = -1;  ///< the slot that keeps this one's texts
    std::string text;    ///< of the row in the making, if diverted
    bool diverted = false;
  };
  pgtypes::TupleReader reader_;
  std::vector<Slot> slots_;
  std::vector<pgtypes::AttributeValue> values_;
  std::vector<size_t> homeless_;
};

}  // namespace tide::mirror
