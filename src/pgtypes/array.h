#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tide::pgtypes {

/// The elements of an array's payload in storage order, as datums; nothing for NULL. `length` and
/// `align` are the element type's (typlen, typalign). For what catalogs keep in arrays:
/// pg_attribute.attmissingval (one element, the value), pg_class.relacl, reloptions. kCorrupt for
/// bytes that are no array.
Result<std::vector<std::optional<std::string_view>>> array_elements(std::string_view payload,
                                                                    int16_t length, char align);

}  // namespace tide::pgtypes
