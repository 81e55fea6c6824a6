#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"
#include "pgformat/wal_format.h"
#include "pgformat/wal_reader.h"

namespace tide::pgformat {

/// Flags of a block reference (high bits of fork_flags).
inline constexpr uint8_t kBlockHasImage = 0x10;
inline constexpr uint8_t kBlockHasData = 0x20;
inline constexpr uint8_t kBlockWillInit = 0x40;
inline constexpr uint8_t kBlockSameRel = 0x80;

/// Flags of a page image (bimg_info).
inline constexpr uint8_t kImageHasHole = 0x01;
inline constexpr uint8_t kImageApply = 0x02;
inline constexpr uint8_t kImagePglz = 0x04;
inline constexpr uint8_t kImageLz4 = 0x08;
inline constexpr uint8_t kImageZstd = 0x10;
inline constexpr uint8_t kImageCompressed = kImagePglz | kImageLz4 | kImageZstd;

/// One page that a record changes. Views point into the record's bytes.
struct BlockRef {
  uint8_t id;
  uint8_t flags;
  uint8_t image_info;  ///< 0 without an image
  bool has_image;      ///< of any kind; only an image to be applied is the page's new content
  bool apply_image;    ///< false for an image that is there for a consistency check only
  bool will_init;      ///< redo does not look at the page's old content
  uint16_t hole_offset;
  uint16_t hole_length;
  PageTag tag;
  BytesView image;  ///< as stored: without its hole, maybe compressed
  BytesView data;

  /// The page's history before this record does not matter for its content after it.
  bool replaces_page() const { return will_init || apply_image; }
};

/// A record taken apart. Views point into the bytes given to parse(), which must outlive them.
/// Meant to be reused: parse() allocates nothing.
class WalRecord {
 public:
  static constexpr size_t kMaxBlocks = 33;

  /// `view.bytes` must be a whole record; its CRC is not checked again. kCorrupt if the parts do
  /// not add up to the record's length.
  Status parse(const WalRecordView& view);

  Lsn start() const { return start_; }
  /// The LSN of the record's changes.
  Lsn end() const { return end_; }
  Lsn prev() const { return Lsn(header_.prev); }
  uint32_t xid() const { return header_.xid; }
  uint8_t rmgr() const { return header_.rmgr; }
  bool is(Rmgr rmgr) const { return header_.rmgr == static_cast<uint8_t>(rmgr); }
  /// The resource manager's four bits of xl_info.
  uint8_t info() const { return header_.info & 0xF0; }
  uint16_t origin() const { return origin_; }         ///< 0: none
  uint32_t toplevel_xid() const { return top_xid_; }  ///< 0: not given
  BytesView main_data() const { return main_data_; }
  BytesView bytes() const { return bytes_; }

  /// In the order of their ids, which may have gaps.
  std::span<const BlockRef> blocks() const { return {blocks_.data(), block_count_}; }
  /// The block with this id or null.
  const BlockRef* block(uint8_t id) const;

  /// "Heap record (info 0x20) at 0/1528F98", for messages.
  std::string describe() const;

 private:
  Status corrupt(std::string_view reason) const;

  WalRecordHeader header_;
  Lsn start_;
  Lsn end_;
  BytesView bytes_;
  BytesView main_data_;
  uint16_t origin_ = 0;
  uint32_t top_xid_ = 0;
  size_t block_count_ = 0;
  std::array<BlockRef, kMaxBlocks> blocks_;
};

/// Writes the page that the block's image holds to `page` (kPageSize bytes): decompressed, its hole
/// filled with zeros, pd_lsn as it was when the image was taken. kInvalid without an image,
/// kCorrupt if it cannot be decompressed.
Status restore_image(const BlockRef& block, std::byte* page);

/// Decompresses PostgreSQL's own format; true if exactly `output_size` bytes came out and all input
/// was used.
bool pglz_decompress(BytesView input, std::byte* output, size_t output_size);
/// The same for an LZ4 block.
bool lz4_decompress(BytesView input, std::byte* output, size_t output_size);

}  // namespace tide::pgformat
