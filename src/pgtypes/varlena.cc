#include "pgtypes/varlena.h"

#include <fmt/format.h>

#include "pgformat/wal_record.h"

namespace tide::pgtypes {
namespace {

constexpr uint32_t kSizeMask = 0x3FFFFFFF;

Compression method_of(uint32_t info) {
  uint32_t method = info >> 30;
  return method == 0 ? Compression::kPglz : method == 1 ? Compression::kLz4 : Compression::kUnknown;
}

/// `packed`: the word with raw size and method, then the compressed bytes.
Status decompress(std::string_view packed, char* output, size_t raw_size) {
  auto info = load<uint32_t>(packed.data());
  BytesView input = as_bytes(packed.substr(4));
  auto* bytes = reinterpret_cast<std::byte*>(output);
  bool whole = (info & kSizeMask) == raw_size;
  switch (method_of(info)) {
    case Compression::kPglz:
      whole = whole && pgformat::pglz_decompress(input, bytes, raw_size);
      break;
    case Compression::kLz4:
      whole = whole && pgformat::lz4_decompress(input, bytes, raw_size);
      break;
    case Compression::kUnknown:
      whole = false;
  }
  if (!whole) {
    return Status(Code::kCorrupt, "a compressed value cannot be decompressed")
        .with_detail(fmt::format("{} bytes for {}, info 0x{:08X}.", input.size(), raw_size, info));
  }
  return {};
}

/// Neither method makes more than 255 bytes of one: keeps a forged size from taking memory.
bool plausible(size_t packed_size, size_t raw_size) { return raw_size / 256 <= packed_size; }

Status implausible(size_t packed_size, size_t raw_size) {
  return {Code::kCorrupt,
          fmt::format("{} compressed bytes cannot become {}", packed_size, raw_size)};
}

}  // namespace

Result<ToastPointer> toast_pointer(std::string_view datum) {
  if (!is_external(datum) || static_cast<uint8_t>(datum[1]) != kExternalOnDiskTag) {
    return Status(Code::kCorrupt, "not a TOAST pointer");
  }
  auto raw_size = load<uint32_t>(datum.data() + 2);
  auto info = load<uint32_t>(datum.data() + 6);
  if (raw_size < kVarlenaHeaderSize || raw_size > kSizeMask) {
    return Status(Code::kCorrupt, fmt::format("a TOAST pointer's raw size is {}", raw_size));
  }
  ToastPointer pointer;
  pointer.raw_size = raw_size - kVarlenaHeaderSize;
  pointer.external_size = info & kSizeMask;
  pointer.compression = method_of(info);
  pointer.value_id = load<uint32_t>(datum.data() + 10);
  pointer.toast_relation = load<uint32_t>(datum.data() + 14);
  if (pointer.external_size > pointer.raw_size) {
    return Status(Code::kCorrupt, fmt::format("a TOAST pointer's {} bytes are to become {}",
                                              pointer.external_size, pointer.raw_size));
  }
  return pointer;
}

Result<std::string_view> inline_payload(std::string_view datum, std::string& scratch) {
  if (varlena_size(datum.data(), datum.size()) != datum.size() || datum.empty()) [[unlikely]] {
    return Status(Code::kCorrupt,
                  fmt::format("a datum of {} bytes has another size in its header", datum.size()));
  }
  switch (varlena_form(static_cast<uint8_t>(datum[0]))) {
    case VarlenaForm::kPlain:
      return datum.substr(kVarlenaHeaderSize);
    case VarlenaForm::kShort:
      return datum.substr(1);
    case VarlenaForm::kCompressed: {
      std::string_view packed = datum.substr(kVarlenaHeaderSize);
      size_t raw_size = load<uint32_t>(packed.data()) & kSizeMask;
      if (!plausible(packed.size(), raw_size)) return implausible(packed.size(), raw_size);
      scratch.resize(raw_size);
      TIDE_TRY(decompress(packed, scratch.data(), raw_size));
      return std::string_view(scratch);
    }
    case VarlenaForm::kExternal:
      break;
  }
  return Status(Code::kInvalid, "the value lies in the TOAST table: assemble it first");
}

Result<std::string> assemble_external(const ToastPointer& pointer,
                                      std::span<const std::string_view> chunks) {
  size_t size = 0;
  for (std::string_view chunk : chunks) size += chunk.size();
  if (size != pointer.external_size) {
    return Status(
        Code::kCorrupt,
        fmt::format("chunks of TOAST value {} of relation {} have {} bytes, not {}",
                    pointer.value_id, pointer.toast_relation, size, pointer.external_size));
  }
  std::string stored;
  stored.reserve(kVarlenaHeaderSize + size);
  if (!pointer.compressed()) {
    append(stored, static_cast<uint32_t>((size + kVarlenaHeaderSize) << 2));
    for (std::string_view chunk : chunks) stored += chunk;
    return stored;
  }
  for (std::string_view chunk : chunks) stored += chunk;
  if (stored.size() < 4 || !plausible(stored.size(), pointer.raw_size)) {
    return implausible(stored.size(), pointer.raw_size);
  }
  std::string datum(kVarlenaHeaderSize + pointer.raw_size, '\0');
  store(datum.data(), static_cast<uint32_t>(datum.size() << 2));
  TIDE_TRY(decompress(stored, datum.data() + kVarlenaHeaderSize, pointer.raw_size));
  return datum;
}

std::string plain_datum(std::string_view payload) {
  std::string datum;
  datum.reserve(kVarlenaHeaderSize + payload.size());
  append(datum, static_cast<uint32_t>((payload.size() + kVarlenaHeaderSize) << 2));
  datum += payload;
  return datum;
}

}  // namespace tide::pgtypes
