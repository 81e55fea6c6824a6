#include "warehouse/lake_types.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "deltalog/schema.h"

namespace tide::warehouse {

Result<columns::Type> type_of_json(const nlohmann::json& json) {
  return deltalog::to_columns(TIDE_TRY(deltalog::parse_type(json.dump())));
}

namespace {

/// Intervals are stored in ISO 8601 ("P1Y2M3DT4H5M6.5S"), which the engine does not read.
std::string interval_expression(const std::string& column) {
  auto part = [&](std::string_view pattern) {
    return fmt::format("TRY_CAST(coalesce(nullif(regexp_extract({}, '{}', 1), ''), '0') AS {})",
                       column, pattern, pattern.ends_with("S") ? "DECIMAL(18,6)" : "BIGINT");
  };
  return fmt::format(
      "CASE WHEN {0} IS NULL THEN NULL ELSE to_months(CAST({1} * 12 + {2} AS INTEGER)) + "
      "to_days(CAST({3} AS INTEGER)) + to_microseconds({4} * 3600000000 + {5} * 60000000 + "
      "CAST({6} * 1000000 AS BIGINT)) END",
      column, part("^P[^T]*?(-?[0-9]+)Y"), part("^P[^T]*?(-?[0-9]+)M"), part("^P[^T]*?(-?[0-9]+)D"),
      part("T[^S]*?(-?[0-9]+)H"), part("T[^S]*?(-?[0-9]+)M"), part("T.*?(-?[0-9.]+)S"));
}

}  // namespace

std::string typed_expression(const std::string& column, const columns::Type& stored,
                             const std::string& pg_type) {
  if (stored.kind != columns::Kind::kString) return column;
  std::string_view base = std::string_view(pg_type).substr(0, pg_type.find('('));
  if (base == "uuid") return fmt::format("CAST({} AS UUID)", column);
  if (base == "json" || base == "jsonb") return fmt::format("CAST({} AS JSON)", column);
  if (pg_type.starts_with("time") && pg_type.find("without time zone") != pg_type.npos &&
      !pg_type.starts_with("timestamp")) {
    return fmt::format("CAST({} AS TIME)", column);
  }
  if (base == "time") return fmt::format("CAST({} AS TIME)", column);
  if (base == "interval" || pg_type.starts_with("interval")) {
    return pg_type.ends_with("[]") ? column : interval_expression(column);
  }
  return column;
}

}  // namespace tide::warehouse
