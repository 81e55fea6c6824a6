#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "deltalog/action.h"
#include "deltalog/schema.h"

namespace tide::deltalog {

/// Names of the table features that we speak of.
namespace feature {
inline constexpr char kDeletionVectors[] = "deletionVectors";
inline constexpr char kColumnMapping[] = "columnMapping";
inline constexpr char kTimestampNtz[] = "timestampNtz";
inline constexpr char kV2Checkpoint[] = "v2Checkpoint";
inline constexpr char kInCommitTimestamp[] = "inCommitTimestamp";
inline constexpr char kDomainMetadata[] = "domainMetadata";
inline constexpr char kChangeDataFeed[] = "changeDataFeed";
}  // namespace feature

enum class ColumnMapping { kNone, kName, kId };
/// From delta.columnMapping.mode; kInvalid for another mode. kNone where the protocol does not have
/// column mapping, whatever the property says.
Result<ColumnMapping> column_mapping(const Protocol& protocol, const Metadata& metadata);

/// What the protocol's versions and lists amount to.
bool reader_has(const Protocol& protocol, std::string_view feature);
bool writer_has(const Protocol& protocol, std::string_view feature);

/// kInvalid, naming the version or features, unless we can read such a table.
Status check_readable(const Protocol& protocol);
/// The same for its columns: kInvalid with the column's name for variant, interval and others.
Status check_readable(const Schema& schema);
/// kInvalid, naming what, unless our commits would keep every promise of the table: writer features
/// and properties (constraints, invariants, generated and identity columns ...).
Status check_writable(const Protocol& protocol, const Metadata& metadata, const Schema& schema);

/// True if the property is "true".
bool is_on(const Metadata& metadata, const std::string& property);
/// A Delta interval ("interval 30 days", "interval 1 week 2 hours") in milliseconds, or `missing`
/// where the property is absent or not understood.
int64_t interval_ms(const Metadata& metadata, const std::string& property, int64_t missing);

/// Protocol and properties of a table that the lake makes: reader 3, writer 7, deletion vectors,
/// column mapping by name, in-commit timestamps, domain metadata, timestampNtz if a column needs
/// it.
Protocol lake_protocol(const Schema& schema);
/// The same for a table whose schema gains its first timestamp_ntz column: the protocol with the
/// feature added, or nothing if it is there already or not needed.
std::optional<Protocol> protocol_for_schema(const Protocol& protocol, const Schema& schema);
Properties lake_properties(int32_t max_column_id);

}  // namespace tide::deltalog
