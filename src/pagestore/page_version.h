#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"

namespace tide::pagestore {

/// One stored version of a page (relation or SLRU): a whole image, a WAL record that PostgreSQL
/// redoes, or one of our own small changes for effects whose records carry no block reference.
///
/// Form: one tag byte, then
///   I  8,192 bytes
///   H  u16 hole offset, u16 hole length, the page without its hole of zeros
///   Z  nothing: a page of zeros
///   R  a raw WAL record that changes the page;   W  one that makes the page anew (older versions
///   are
///      not needed)
///   V  u8 flags, then u32 heap blocks: their bits are cleared on a visibility-map page
///   T  u32 heap blocks left: bits of later ones are cleared on the map's last kept page
///   F  u32 heap blocks left: leaves of later ones are cleared on the free-space map's last kept
///   page C  u8 state, then u32 xids: transaction states of a clog page O  pairs (u32 multixact,
///   u32 offset) of a multixact-offsets page M  MemberChange structs: of a multixact-members page
///   S  i64 time, u16 origin, then u32 xids: of a commit-timestamps page
///   -  the page was truncated away (SLRU)
enum class VersionTag : char {
  kImage = 'I',
  kImageWithHole = 'H',
  kZeros = 'Z',
  kRecord = 'R',
  kInitRecord = 'W',
  kVmClear = 'V',
  kVmTail = 'T',
  kFsmTail = 'F',
  kXactStatus = 'C',
  kMultixactOffsets = 'O',
  kMultixactMembers = 'M',
  kCommitTimestamps = 'S',
  kGone = '-',
};

struct OffsetChange {
  uint32_t multi;
  uint32_t offset;
};

struct MemberChange {
  uint32_t offset;  ///< of the member among all
  uint32_t xid;
  uint32_t status;  ///< PostgreSQL's MultiXactStatus
};

/// An image version in the shortest form that holds `page`.
std::string encode_image(const std::byte* page);
std::string encode_record(BytesView record, bool will_init);

/// True if no older version is needed to know the page.
bool is_base(std::string_view version);
/// True if PostgreSQL must redo it.
bool is_record(std::string_view version);

/// Writes an image version to `page` (kPageSize bytes). kCorrupt if it is none.
Status decode_image(std::string_view version, std::byte* page);

/// Applies one of our own changes (V, T, F, C, O, M, S) to `page`; `lsn` is the change's and
/// becomes the page's LSN where the page has a header (visibility and free-space map).
Status apply_change(std::string_view version, Lsn lsn, std::byte* page);

}  // namespace tide::pagestore
