#pragma once

#include <cstdint>

#include "base/result.h"
#include "columns/type.h"
#include "pgtypes/type_catalog.h"
#include "pgtypes/type_tree.h"

namespace tide::pgtypes {

/// The lake's type for a PostgreSQL type; the whole table is docs/guide/types.md. kInvalid with the
/// reason for a base type of an extension that has no mapping: the relation cannot be mirrored.
Result<columns::Type> map_type(const TypeTree& type);
Result<columns::Type> map_type(const TypeCatalog& catalog, uint32_t type, int32_t typmod);

}  // namespace tide::pgtypes
