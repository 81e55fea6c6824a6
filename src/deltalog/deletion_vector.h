#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "columns/row_set.h"
#include "deltalog/action.h"

namespace tide::deltalog {

/// 16 bytes, big-endian as printed.
using Uuid = std::array<uint8_t, 16>;
/// "0a1b...-...": lower case with hyphens.
std::string to_string(const Uuid& uuid);
std::optional<Uuid> parse_uuid(std::string_view text);

/// ZeroMQ's base 85 (rfc.zeromq.org/spec/32). Bytes must come in fours.
std::string z85_encode(BytesView bytes);
std::optional<std::string> z85_decode(std::string_view text);

/// One vector: magic and bitmap. Reads the portable form (u64 count of maps, per map u32 key and a
/// 32-bit Roaring bitmap) and the native one of old writers (u32 count, per map u32 size and a
/// bitmap, its place being the key); writes the portable one. kInvalid for rows from 2^32 on: no
/// file of ours is so long.
std::string write_deletion_vector(const columns::RowSet& rows);
Result<columns::RowSet> read_deletion_vector(BytesView bytes);

/// Where a descriptor's bytes are. `file` is relative to the table's root ('u') or absolute ('p'),
/// and empty for inline vectors.
struct DeletionVectorPlace {
  std::string file;
  std::string inline_bytes;
};
/// kCorrupt for a descriptor that contradicts itself, kInvalid for an unknown storage type.
Result<DeletionVectorPlace> place_of(const DeletionVectorDescriptor& descriptor);

/// The vector in the bytes of its file, checked: version byte, size, CRC-32, cardinality.
/// `at` is where `file` begins within the whole file (0 if it is all of it).
Result<columns::RowSet> read_from_file(const DeletionVectorDescriptor& descriptor, BytesView file,
                                       uint64_t at = 0);
/// The vector of an inline descriptor, checked.
Result<columns::RowSet> read_inline(const DeletionVectorDescriptor& descriptor);

/// Builds one file with the vectors of many data files.
class DeletionVectorFile {
 public:
  /// The file will be `deletion_vector_<uuid>.bin` in the table's root.
  explicit DeletionVectorFile(const Uuid& uuid);

  DeletionVectorDescriptor add(const columns::RowSet& rows);
  /// "deletion_vector_<uuid>.bin".
  std::string name() const;
  const std::string& bytes() const { return bytes_; }
  bool empty() const { return bytes_.size() == 1; }

 private:
  Uuid uuid_;
  std::string bytes_;
};

/// A descriptor that holds the vector itself.
DeletionVectorDescriptor inline_deletion_vector(const columns::RowSet& rows);

}  // namespace tide::deltalog
