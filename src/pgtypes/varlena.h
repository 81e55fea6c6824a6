#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

/// Values of variable length as PostgreSQL stores them (postgres.h, varatt_external).
///
/// A *datum* is a value as it lies in a tuple: for varlena types with its header. A *payload* is
/// what follows the header, decompressed.
namespace tide::pgtypes {

enum class VarlenaForm : uint8_t {
  kPlain,       ///< 4-byte header
  kShort,       ///< 1-byte header, payload up to 126 bytes, not aligned
  kCompressed,  ///< inline, pglz or LZ4
  kExternal,    ///< a pointer into the TOAST table
};

enum class Compression : uint8_t { kPglz = 0, kLz4 = 1, kUnknown = 2 };

inline constexpr size_t kVarlenaHeaderSize = 4;
/// Bytes of an external datum: header, tag, varatt_external.
inline constexpr size_t kExternalSize = 18;
inline constexpr uint8_t kExternalOnDiskTag = 18;

/// Form by the first header byte.
inline VarlenaForm varlena_form(uint8_t first) {
  if (first == 0x01) return VarlenaForm::kExternal;
  if ((first & 0x01) != 0) return VarlenaForm::kShort;
  return (first & 0x03) == 0 ? VarlenaForm::kPlain : VarlenaForm::kCompressed;
}

/// Bytes of the datum that begins at `at`, header included; 0 if it does not fit into `available`
/// or has no form that can lie on disk.
inline size_t varlena_size(const char* at, size_t available) {
  if (available == 0) return 0;
  auto first = static_cast<uint8_t>(*at);
  size_t size = 0;
  if ((first & 0x01) == 0) {
    if (available < kVarlenaHeaderSize) return 0;
    size = load<uint32_t>(at) >> 2;
    if (size < ((first & 0x03) == 0 ? kVarlenaHeaderSize : 2 * kVarlenaHeaderSize)) return 0;
  } else if (first == 0x01) {
    if (available < 2 || static_cast<uint8_t>(at[1]) != kExternalOnDiskTag) return 0;
    size = kExternalSize;
  } else {
    size = first >> 1;
  }
  return size <= available ? size : 0;
}

/// True if the value lies in the TOAST table: fetch its chunks and assemble_external() them.
inline bool is_external(std::string_view datum) {
  return datum.size() == kExternalSize && static_cast<uint8_t>(datum[0]) == 0x01;
}

/// What an external datum says.
struct ToastPointer {
  uint32_t raw_size = 0;       ///< bytes of the payload once assembled and decompressed
  uint32_t external_size = 0;  ///< bytes of all chunks together
  uint32_t value_id = 0;       ///< chunk_id
  uint32_t toast_relation = 0;
  Compression compression = Compression::kPglz;  ///< meaningful if compressed()
  bool compressed() const { return external_size < raw_size; }
};
/// kCorrupt unless `datum` is an external one.
Result<ToastPointer> toast_pointer(std::string_view datum);

/// The payload of a datum in any inline form: a view into `datum`, or into `scratch` if it had to
/// be decompressed. kInvalid for an external datum, kCorrupt for bytes that contradict themselves.
Result<std::string_view> inline_payload(std::string_view datum, std::string& scratch);

/// The value that `pointer` names as a plain datum (4-byte header), from the payloads of its
/// chunk_data in the order of chunk_seq. kCorrupt if their sizes do not add up.
Result<std::string> assemble_external(const ToastPointer& pointer,
                                      std::span<const std::string_view> chunks);

/// A plain datum around `payload`.
std::string plain_datum(std::string_view payload);

}  // namespace tide::pgtypes
