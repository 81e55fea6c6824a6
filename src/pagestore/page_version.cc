#include "pagestore/page_version.h"

#include <fmt/format.h>

#include <cstring>

#include "base/bytes.h"
#include "pgformat/page.h"

namespace tide::pagestore {
namespace {

bool is_zero(const std::byte* from, size_t size) {
  return size == 0 || (from[0] == std::byte{0} && std::memcmp(from, from + 1, size - 1) == 0);
}

template <typename Change, typename Apply>
Status for_each(BytesView changes, Apply apply) {
  if (changes.size() % sizeof(Change) != 0) {
    return {Code::kCorrupt, fmt::format("stored page change of {} bytes", changes.size())};
  }
  for (size_t at = 0; at < changes.size(); at += sizeof(Change)) {
    apply(load<Change>(changes.data() + at));
  }
  return {};
}

}  // namespace

std::string encode_image(const std::byte* page) {
  if (is_zero(page, kPageSize)) return std::string(1, static_cast<char>(VersionTag::kZeros));
  const char* chars = reinterpret_cast<const char*>(page);
  uint16_t lower = load<uint16_t>(page + 12);
  uint16_t upper = load<uint16_t>(page + 14);
  bool has_hole =
      lower >= 24 && lower < upper && upper <= kPageSize && is_zero(page + lower, upper - lower);
  std::string version;
  if (!has_hole) {
    version.reserve(1 + kPageSize);
    version.push_back(static_cast<char>(VersionTag::kImage));
    version.append(chars, kPageSize);
    return version;
  }
  uint16_t length = upper - lower;
  version.reserve(5 + kPageSize - length);
  version.push_back(static_cast<char>(VersionTag::kImageWithHole));
  append(version, lower);
  append(version, length);
  version.append(chars, lower);
  version.append(chars + upper, kPageSize - upper);
  return version;
}

std::string encode_record(BytesView record, bool will_init) {
  std::string version;
  version.reserve(1 + record.size());
  version.push_back(static_cast<char>(will_init ? VersionTag::kInitRecord : VersionTag::kRecord));
  version.append(as_chars(record));
  return version;
}

bool is_base(std::string_view version) {
  switch (static_cast<VersionTag>(version.front())) {
    case VersionTag::kImage:
    case VersionTag::kImageWithHole:
    case VersionTag::kZeros:
    case VersionTag::kInitRecord:
    case VersionTag::kGone:
      return true;
    default:
      return false;
  }
}

bool is_record(std::string_view version) {
  return version.front() == static_cast<char>(VersionTag::kRecord) ||
         version.front() == static_cast<char>(VersionTag::kInitRecord);
}

Status decode_image(std::string_view version, std::byte* page) {
  switch (static_cast<VersionTag>(version.front())) {
    case VersionTag::kZeros:
    case VersionTag::kGone:
      std::memset(page, 0, kPageSize);
      return {};
    case VersionTag::kImage:
      if (version.size() != 1 + kPageSize) break;
      std::memcpy(page, version.data() + 1, kPageSize);
      return {};
    case VersionTag::kImageWithHole: {
      if (version.size() < 5) break;
      size_t offset = load<uint16_t>(version.data() + 1);
      size_t length = load<uint16_t>(version.data() + 3);
      if (offset + length > kPageSize || version.size() != 5 + kPageSize - length) break;
      std::memcpy(page, version.data() + 5, offset);
      std::memset(page + offset, 0, length);
      std::memcpy(page + offset + length, version.data() + 5 + offset, kPageSize - offset - length);
      return {};
    }
    default:
      break;
  }
  return {Code::kCorrupt,
          fmt::format("stored page image of {} bytes is malformed", version.size())};
}

Status apply_change(std::string_view version, Lsn lsn, std::byte* page) {
  using namespace pgformat;
  ByteReader reader(as_bytes(version.substr(1)));
  auto tag = static_cast<VersionTag>(version.front());
  switch (tag) {
    case VersionTag::kVmClear: {
      uint8_t flags = reader.read<uint8_t>();
      TIDE_TRY(for_each<uint32_t>(reader.rest(),
                                  [&](uint32_t block) { vm_clear_bits(page, block, flags); }));
      break;
    }
    case VersionTag::kVmTail:
      vm_clear_tail(page, reader.read<uint32_t>());
      break;
    case VersionTag::kFsmTail:
      fsm_clear_tail(page, reader.read<uint32_t>());
      break;
    case VersionTag::kXactStatus: {
      auto state = static_cast<XidStatus>(reader.read<uint8_t>() & 3);
      return for_each<uint32_t>(reader.rest(),
                                [&](uint32_t xid) { set_clog_status(page, xid, state); });
    }
    case VersionTag::kMultixactOffsets:
      return for_each<OffsetChange>(reader.rest(), [&](OffsetChange change) {
        set_multixact_offset(page, change.multi, change.offset);
      });
    case VersionTag::kMultixactMembers:
      return for_each<MemberChange>(reader.rest(), [&](MemberChange change) {
        set_multixact_member(page, change.offset, {change.xid, change.status});
      });
    case VersionTag::kCommitTimestamps: {
      CommitTimestamp timestamp;
      timestamp.time = reader.read<int64_t>();
      timestamp.origin = reader.read<uint16_t>();
      return for_each<uint32_t>(reader.rest(),
                                [&](uint32_t xid) { set_commit_timestamp(page, xid, timestamp); });
    }
    default:
      return {Code::kCorrupt, fmt::format("stored page change has tag '{}'", version.front())};
  }
  if (reader.failed()) return {Code::kCorrupt, "stored page change is cut short"};
  if (!page_is_new(page)) set_page_lsn(page, lsn);
  return {};
}

}  // namespace tide::pagestore
