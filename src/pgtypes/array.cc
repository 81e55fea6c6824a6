#include "pgtypes/array.h"

#include "pgtypes/internal/array_view.h"
#include "pgtypes/internal/print.h"

namespace tide::pgtypes {

Result<std::vector<std::optional<std::string_view>>> array_elements(std::string_view payload,
                                                                    int16_t length, char align) {
  ArrayView view;
  if (!view.parse(payload, length, align)) return corrupt_value("array", "not an array");
  std::vector<std::optional<std::string_view>> elements;
  for (int64_t i = 0; i < view.count; ++i) {
    bool null = false;
    std::string_view datum;
    if (!view.next(null, datum)) return corrupt_value("array", "an element does not fit");
    elements.push_back(null ? std::nullopt : std::optional(datum));
  }
  return elements;
}

}  // namespace tide::pgtypes
