#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "pgtypes/type_catalog.h"
#include "pgtypes/type_tree.h"

/// Values as PostgreSQL's output functions print them, under fixed settings: DateStyle ISO,
/// TimeZone UTC, extra_float_digits 1 (shortest exact form), bytea_output hex, lc_monetary C.
namespace tide::pgtypes {

enum class IntervalStyle : uint8_t { kIso8601, kPostgres };

struct TextSettings {
  IntervalStyle interval_style = IntervalStyle::kIso8601;
};

/// Appends the text of a datum in any inline form (varlena: with its header). kCorrupt for bytes
/// that are no value of the type, kNotFound for an enum value the catalog does not know, kInvalid
/// for types we cannot print and for external datums. After an error `out` may have grown.
Status append_text(const TypeTree& type, std::string_view datum, const TextSettings& settings,
                   std::string& out);

/// The same for one value, looking everything up.
Result<std::string> to_text(const TypeCatalog& catalog, uint32_t type, int32_t typmod,
                            std::string_view datum, const TextSettings& settings = {});

}  // namespace tide::pgtypes
