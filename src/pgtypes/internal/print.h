#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "pgtypes/text.h"
#include "pgtypes/type_tree.h"

/// One function per output function of PostgreSQL. `payload` is a varlena's payload or all bytes of
/// a fixed-length value, of the right length already. Each appends to `out`; kCorrupt if the bytes
/// are no value of the type.
namespace tide::pgtypes {

Status corrupt_value(std::string_view type, std::string_view reason);

// print_number.cc
void print_float4(float value, std::string& out);
void print_float8(double value, std::string& out);
Status print_numeric(std::string_view payload, std::string& out);
void print_money(int64_t value, std::string& out);

// print_time.cc
void print_date(int32_t days, std::string& out);
void print_time(int64_t microseconds, std::string& out);
void print_timetz(int64_t microseconds, int32_t seconds_west, std::string& out);
void print_timestamp(int64_t microseconds, bool with_zone, std::string& out);
void print_interval(int64_t microseconds, int32_t days, int32_t months, IntervalStyle style,
                    std::string& out);

// print_json.cc
/// A JSON string with its quotes, escaped as escape_json() does.
void print_json_string(std::string_view text, std::string& out);
Status print_jsonb(std::string_view payload, std::string& out);
// print_jsonpath.cc
Status print_jsonpath(std::string_view payload, std::string& out);

// print_misc.cc
void print_hex(std::string_view bytes, std::string& out);
void print_uuid(std::string_view bytes, std::string& out);
void print_macaddr(std::string_view bytes, std::string& out);
Status print_inet(std::string_view payload, bool cidr, std::string& out);
Status print_bits(std::string_view payload, std::string& out);
Status print_int_vector(std::string_view payload, bool oids, std::string& out);
Status print_snapshot(std::string_view payload, std::string& out);
void print_xml(std::string_view payload, std::string& out);
Status print_aclitem(const TypeCatalog& catalog, std::string_view bytes, std::string& out);
void print_reg(const TypeTree& type, uint32_t oid, std::string& out);
Status print_ndistinct(std::string_view payload, std::string& out);
Status print_dependencies(std::string_view payload, std::string& out);

// print_geometry.cc: point, lseg, path, box, polygon, line, circle
Status print_geometry(Format format, std::string_view payload, std::string& out);

// print_search.cc
Status print_tsvector(std::string_view payload, std::string& out);
Status print_tsquery(std::string_view payload, std::string& out);

// print_extension.cc
Status print_hstore(std::string_view payload, std::string& out);
Status print_ltree(std::string_view payload, std::string& out);
Status print_vector(std::string_view payload, std::string& out);

// print_container.cc
Status print_array(const TypeTree& type, std::string_view payload, const TextSettings& settings,
                   std::string& out);
Status print_composite(const TypeTree& type, std::string_view payload, const TextSettings& settings,
                       std::string& out);
Status print_range(const TypeTree& type, std::string_view payload, const TextSettings& settings,
                   std::string& out);
Status print_multirange(const TypeTree& type, std::string_view payload,
                        const TextSettings& settings, std::string& out);

}  // namespace tide::pgtypes
