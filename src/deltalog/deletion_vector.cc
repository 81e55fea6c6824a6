#include "deltalog/deletion_vector.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <utility>

#include "deltalog/path.h"

namespace tide::deltalog {
namespace {

using columns::RowSet;

constexpr uint32_t kMagicPortable = 1681511377;
constexpr uint32_t kMagicNative = 1681511376;
constexpr char kFileVersion = 1;
constexpr std::string_view kZ85 =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
constexpr size_t kUuidChars = 20;

/// Row numbers end below 2^63, so a vector never needs more; a damaged descriptor must not make us
/// allocate for it.
constexpr int64_t kVectorBytesMax = int64_t{1} << 31;

uint32_t crc32_of(BytesView bytes) {
  return static_cast<uint32_t>(
      ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

Status too_long() {
  return Status(Code::kInvalid, "deletion vectors for rows from 2^32 on cannot be read");
}

Result<RowSet> read_portable(BytesView bytes) {
  ByteReader reader(bytes);
  auto count = reader.read<uint64_t>();
  RowSet rows;
  int64_t previous = -1;
  for (uint64_t i = 0; i < count; ++i) {
    auto key = reader.read<uint32_t>();
    if (reader.failed()) return Status(Code::kCorrupt, "64-bit bitmap is cut short");
    if (key <= previous) return Status(Code::kCorrupt, "64-bit bitmap's keys are not ascending");
    previous = key;
    size_t size = TIDE_TRY(RowSet::encoded_size(reader.rest()));
    RowSet part = TIDE_TRY(RowSet::decode(reader.take(size)));
    if (key == 0) {
      rows = std::move(part);
    } else if (!part.empty()) {
      return too_long();
    }
  }
  if (reader.failed() || reader.remaining() != 0) {
    return Status(Code::kCorrupt, "64-bit bitmap is cut short or has bytes behind it");
  }
  return rows;
}

Result<RowSet> read_native(BytesView bytes) {
  ByteReader reader(bytes);
  auto count = reader.read<uint32_t>();
  RowSet rows;
  for (uint32_t key = 0; key < count; ++key) {
    auto size = reader.read<uint32_t>();
    BytesView bitmap = reader.take(size);
    if (reader.failed()) return Status(Code::kCorrupt, "native bitmap is cut short");
    RowSet part = TIDE_TRY(RowSet::decode(bitmap));
    if (key == 0) {
      rows = std::move(part);
    } else if (!part.empty()) {
      return too_long();
    }
  }
  if (reader.failed() || reader.remaining() != 0) {
    return Status(Code::kCorrupt, "native bitmap is cut short or has bytes behind it");
  }
  return rows;
}

Result<RowSet> checked(const DeletionVectorDescriptor& descriptor, BytesView bytes) {
  RowSet rows = TIDE_TRY(read_deletion_vector(bytes));
  if (rows.size() != static_cast<uint64_t>(descriptor.cardinality)) {
    return Status(Code::kCorrupt,
                  fmt::format("deletion vector {} has {} rows, its descriptor says {}",
                              descriptor.unique_id(), rows.size(), descriptor.cardinality));
  }
  return rows;
}

}  // namespace

std::string to_string(const Uuid& uuid) {
  std::string text;
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", uuid[i]);
  }
  return text;
}

std::optional<Uuid> parse_uuid(std::string_view text) {
  Uuid uuid{};
  size_t digits = 0;
  for (char c : text) {
    if (c == '-') continue;
    int value = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (value < 0 || digits >= 32) return std::nullopt;
    uuid[digits / 2] = static_cast<uint8_t>(uuid[digits / 2] << 4 | value);
    ++digits;
  }
  if (digits != 32) return std::nullopt;
  return uuid;
}

std::string z85_encode(BytesView bytes) {
  TIDE_CHECK(bytes.size() % 4 == 0);
  std::string text;
  text.reserve(bytes.size() / 4 * 5);
  for (size_t i = 0; i < bytes.size(); i += 4) {
    uint32_t word = load_be32(bytes.data() + i);
    for (uint32_t divisor : {85U * 85 * 85 * 85, 85U * 85 * 85, 85U * 85, 85U, 1U}) {
      text += kZ85[word / divisor % 85];
    }
  }
  return text;
}

std::optional<std::string> z85_decode(std::string_view text) {
  if (text.size() % 5 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 5 * 4);
  for (size_t i = 0; i < text.size(); i += 5) {
    uint64_t word = 0;
    for (size_t k = 0; k < 5; ++k) {
      size_t digit = kZ85.find(text[i + k]);
      if (digit == std::string_view::npos) return std::nullopt;
      word = word * 85 + digit;
    }
    if (word > 0xFFFFFFFF) return std::nullopt;
    append_be32(bytes, static_cast<uint32_t>(word));
  }
  return bytes;
}

std::string write_deletion_vector(const RowSet& rows) {
  std::string bytes;
  append(bytes, kMagicPortable);
  append(bytes, uint64_t{rows.empty() ? 0U : 1U});
  if (!rows.empty()) {
    append(bytes, uint32_t{0});
    bytes += rows.encode();
  }
  return bytes;
}

Result<RowSet> read_deletion_vector(BytesView bytes) {
  ByteReader reader(bytes);
  auto magic = reader.read<uint32_t>();
  if (magic == kMagicPortable) return read_portable(reader.rest());
  if (magic == kMagicNative) return read_native(reader.rest());
  return Status(Code::kCorrupt,
                fmt::format("deletion vector begins with {:#x}, no known magic", magic));
}

Result<DeletionVectorPlace> place_of(const DeletionVectorDescriptor& descriptor) {
  DeletionVectorPlace place;
  if (descriptor.size_in_bytes < 0 || descriptor.size_in_bytes > kVectorBytesMax ||
      descriptor.cardinality < 0 || descriptor.offset.value_or(0) < 0) {
    return Status(Code::kCorrupt, "deletion vector descriptor with impossible numbers");
  }
  switch (descriptor.storage_type) {
    case 'u': {
      std::string_view text = descriptor.path_or_inline;
      std::optional<std::string> bytes;
      if (text.size() >= kUuidChars) bytes = z85_decode(text.substr(text.size() - kUuidChars));
      if (!bytes) {
        return Status(Code::kCorrupt, fmt::format("\"{}\" does not end with a Z85 UUID",
                                                  descriptor.path_or_inline));
      }
      Uuid uuid{};
      std::copy(bytes->begin(), bytes->end(), reinterpret_cast<char*>(uuid.data()));
      std::string prefix(text.substr(0, text.size() - kUuidChars));
      if (!prefix.empty()) prefix += '/';
      place.file = prefix + "deletion_vector_" + to_string(uuid) + ".bin";
      return place;
    }
    case 'p':
      place.file = file_name(descriptor.path_or_inline);
      return place;
    case 'i': {
      std::optional<std::string> bytes = z85_decode(descriptor.path_or_inline);
      if (!bytes || bytes->size() < static_cast<size_t>(descriptor.size_in_bytes)) {
        return Status(Code::kCorrupt, "inline deletion vector is no Z85 or too short");
      }
      bytes->resize(static_cast<size_t>(descriptor.size_in_bytes));
      place.inline_bytes = *std::move(bytes);
      return place;
    }
    default:
      return Status(Code::kInvalid, fmt::format("deletion vectors of storage type '{}' are unknown",
                                                descriptor.storage_type));
  }
}

Result<RowSet> read_from_file(const DeletionVectorDescriptor& descriptor, BytesView file,
                              uint64_t at) {
  uint64_t offset = static_cast<uint64_t>(descriptor.offset.value_or(1));
  if (at == 0 && (file.empty() || static_cast<char>(file[0]) != kFileVersion)) {
    return Status(Code::kCorrupt, "deletion vector file of an unknown version");
  }
  if (offset < at || offset - at > file.size()) {
    return Status(Code::kCorrupt, "deletion vector lies beyond its file's end");
  }
  ByteReader reader(file.subspan(offset - at));
  auto size = __builtin_bswap32(reader.read<uint32_t>());
  BytesView bytes = reader.take(size);
  auto crc = __builtin_bswap32(reader.read<uint32_t>());
  if (reader.failed()) return Status(Code::kCorrupt, "deletion vector file is cut short");
  if (size != static_cast<uint64_t>(descriptor.size_in_bytes)) {
    return Status(Code::kCorrupt,
                  fmt::format("deletion vector has {} bytes, its descriptor says {}", size,
                              descriptor.size_in_bytes));
  }
  if (crc != crc32_of(bytes)) {
    return Status(Code::kCorrupt, "deletion vector contradicts its checksum");
  }
  return checked(descriptor, bytes);
}

Result<RowSet> read_inline(const DeletionVectorDescriptor& descriptor) {
  DeletionVectorPlace place = TIDE_TRY(place_of(descriptor));
  return checked(descriptor, as_bytes(place.inline_bytes));
}

DeletionVectorFile::DeletionVectorFile(const Uuid& uuid) : uuid_(uuid), bytes_(1, kFileVersion) {}

DeletionVectorDescriptor DeletionVectorFile::add(const RowSet& rows) {
  std::string vector = write_deletion_vector(rows);
  DeletionVectorDescriptor descriptor;
  descriptor.storage_type = 'u';
  descriptor.path_or_inline = z85_encode(std::as_bytes(std::span(uuid_)));
  descriptor.offset = static_cast<int64_t>(bytes_.size());
  descriptor.size_in_bytes = static_cast<int64_t>(vector.size());
  descriptor.cardinality = static_cast<int64_t>(rows.size());
  append_be32(bytes_, static_cast<uint32_t>(vector.size()));
  bytes_ += vector;
  append_be32(bytes_, crc32_of(as_bytes(vector)));
  return descriptor;
}

std::string DeletionVectorFile::name() const {
  return "deletion_vector_" + to_string(uuid_) + ".bin";
}

DeletionVectorDescriptor inline_deletion_vector(const RowSet& rows) {
  std::string vector = write_deletion_vector(rows);
  DeletionVectorDescriptor descriptor;
  descriptor.storage_type = 'i';
  descriptor.size_in_bytes = static_cast<int64_t>(vector.size());
  descriptor.cardinality = static_cast<int64_t>(rows.size());
  vector.resize((vector.size() + 3) / 4 * 4);
  descriptor.path_or_inline = z85_encode(as_bytes(vector));
  return descriptor;
}

}  // namespace tide::deltalog
