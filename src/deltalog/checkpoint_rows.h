#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "columns/column.h"
#include "deltalog/action.h"
#include "deltalog/table_state.h"

namespace tide::deltalog {

/// A checkpoint's content as flat rows, one per action: what a Parquet file of nested columns is
/// made from, and what reading one gives. Maps are two lists of equal length, null where the action
/// has no map; members of another kind of action are null.
std::vector<columns::Field> checkpoint_fields();

/// Places of the columns in checkpoint_fields().
enum class CheckpointColumn : size_t {
  kKind,  ///< short, a CheckpointKind
  // add, remove, sidecar
  kPath,
  kPartitionKeys,
  kPartitionValues,
  kSize,
  kModificationTime,
  kDataChange,
  kStats,
  kTagKeys,
  kTagValues,
  kVectorType,
  kVectorPath,
  kVectorOffset,
  kVectorSize,
  kVectorCardinality,
  kBaseRowId,
  kDefaultRowCommitVersion,
  kClusteringProvider,
  kDeletionTimestamp,
  kExtendedFileMetadata,
  // protocol
  kMinReaderVersion,
  kMinWriterVersion,
  kReaderFeatures,
  kWriterFeatures,
  // metaData
  kId,
  kName,
  kDescription,
  kProvider,
  kFormatKeys,
  kFormatValues,
  kSchemaString,
  kPartitionColumns,
  kConfigurationKeys,
  kConfigurationValues,
  kCreatedTime,
  // txn, checkpointMetadata; domainMetadata
  kAppId,
  kVersion,
  kLastUpdated,
  kDomain,
  kConfiguration,
  kRemoved,
  kCount,
};

enum class CheckpointKind : int16_t {
  kAdd = 1,
  kRemove = 2,
  kProtocol = 3,
  kMetadata = 4,
  kTransaction = 5,
  kDomain = 6,
  kSidecar = 7,
  kCheckpointMetadata = 8,
};

/// All that a checkpoint of the state holds: protocol, metadata, transactions, domains, tombstones
/// (without statistics), live files (dataChange false).
columns::Batch checkpoint_rows(const TableState& state);

/// The actions of rows whose columns are checkpoint_fields(). kCorrupt for rows that lack what
/// their action must have.
Result<std::vector<Action>> actions_of_rows(const columns::Batch& rows);

}  // namespace tide::deltalog
