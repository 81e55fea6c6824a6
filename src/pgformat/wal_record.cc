#include "pgformat/wal_record.h"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

namespace tide::pgformat {
namespace {

constexpr uint8_t kIdDataShort = 255;
constexpr uint8_t kIdDataLong = 254;
constexpr uint8_t kIdOrigin = 253;
constexpr uint8_t kIdTopXid = 252;
constexpr uint8_t kForkMask = 0x0F;

constexpr std::array<std::string_view, kRmgrCount> kRmgrNames = {
    "XLOG",       "Transaction",   "Storage", "CLOG",     "Database",
    "Tablespace", "MultiXact",     "RelMap",  "Standby",  "Heap2",
    "Heap",       "Btree",         "Hash",    "Gin",      "Gist",
    "Sequence",   "SPGist",        "BRIN",    "CommitTs", "ReplicationOrigin",
    "Generic",    "LogicalMessage"};

/// Why the image's sizes contradict its flags; empty if they do not.
std::string_view check_image(uint8_t info, size_t length, uint16_t hole_offset,
                             uint16_t hole_length) {
  bool compressed = (info & kImageCompressed) != 0;
  if ((info & kImageHasHole) != 0) {
    if (hole_offset == 0 || hole_length == 0 || length >= kPageSize) return "image has a bad hole";
    if (hole_offset + hole_length > kPageSize) return "image's hole leaves the page";
    if (!compressed && length + hole_length != kPageSize) return "image has a bad length";
  } else {
    if (hole_offset != 0 || hole_length != 0) return "image without a hole has one";
    if (!compressed && length != kPageSize) return "image has a bad length";
  }
  if (compressed && length >= kPageSize) return "compressed image is as long as a page";
  return {};
}

}  // namespace

std::string_view rmgr_name(uint8_t rmgr) {
  if (rmgr < kRmgrCount) return kRmgrNames[rmgr];
  return rmgr >= kFirstCustomRmgr ? "custom" : "unknown";
}

std::string WalRecord::describe() const {
  return fmt::format("{} record (rmgr {}, info 0x{:02X}) at {}", rmgr_name(rmgr()), rmgr(), info(),
                     start_);
}

Status WalRecord::corrupt(std::string_view reason) const {
  return Status(Code::kCorrupt, fmt::format("{}: {}", describe(), reason));
}

const BlockRef* WalRecord::block(uint8_t id) const {
  for (const BlockRef& block : blocks()) {
    if (block.id == id) return &block;
  }
  return nullptr;
}

Status WalRecord::parse(const WalRecordView& view) {
  start_ = view.start;
  end_ = view.end;
  bytes_ = view.bytes;
  main_data_ = {};
  origin_ = 0;
  top_xid_ = 0;
  block_count_ = 0;
  header_ = WalRecordHeader();
  if (bytes_.size() < kRecordHeaderSize) return corrupt("shorter than its header");
  header_ = load<WalRecordHeader>(bytes_.data());
  if (header_.total_length != bytes_.size()) return corrupt("length differs from its header's");

  ByteReader reader(bytes_.subspan(kRecordHeaderSize));
  std::array<uint16_t, kMaxBlocks> image_lengths;
  std::array<uint16_t, kMaxBlocks> data_lengths;
  uint64_t main_length = 0;
  uint64_t payload = 0;  // bytes behind the headers, as far as announced
  const RelFork* previous_rel = nullptr;

  while (reader.remaining() > payload && !reader.failed()) {
    auto id = reader.read<uint8_t>();
    if (id == kIdDataShort || id == kIdDataLong) {
      main_length = id == kIdDataShort ? reader.read<uint8_t>() : reader.read<uint32_t>();
      payload += main_length;
      break;  // always the last header
    }
    if (id == kIdOrigin) {
      origin_ = reader.read<uint16_t>();
      continue;
    }
    if (id == kIdTopXid) {
      top_xid_ = reader.read<uint32_t>();
      continue;
    }
    if (id >= kMaxBlocks) return corrupt(fmt::format("block id {}", id));
    if (block_count_ > 0 && id <= blocks_[block_count_ - 1].id) {
      return corrupt("block ids are out of order");
    }
    BlockRef& block = blocks_[block_count_];
    block = BlockRef{};
    block.id = id;
    auto fork_flags = reader.read<uint8_t>();
    if ((fork_flags & kForkMask) > static_cast<uint8_t>(Fork::kInit)) {
      return corrupt(fmt::format("fork {}", fork_flags & kForkMask));
    }
    block.flags = fork_flags & ~kForkMask;
    block.has_image = (fork_flags & kBlockHasImage) != 0;
    block.will_init = (fork_flags & kBlockWillInit) != 0;
    auto data_length = reader.read<uint16_t>();
    if (((fork_flags & kBlockHasData) != 0) != (data_length != 0)) {
      return corrupt("block data length contradicts its flag");
    }
    uint16_t image_length = 0;
    if (block.has_image) {
      image_length = reader.read<uint16_t>();
      block.hole_offset = reader.read<uint16_t>();
      block.image_info = reader.read<uint8_t>();
      block.apply_image = (block.image_info & kImageApply) != 0;
      if ((block.image_info & kImageHasHole) != 0) {
        bool compressed = (block.image_info & kImageCompressed) != 0;
        block.hole_length =
            compressed ? reader.read<uint16_t>() : static_cast<uint16_t>(kPageSize - image_length);
      }
      std::string_view problem =
          check_image(block.image_info, image_length, block.hole_offset, block.hole_length);
      if (!problem.empty() && !reader.failed()) return corrupt(problem);
    }
    if ((fork_flags & kBlockSameRel) == 0) {
      block.tag.rel.spc = reader.read<uint32_t>();
      block.tag.rel.db = reader.read<uint32_t>();
      block.tag.rel.rel = reader.read<uint32_t>();
    } else {
      if (previous_rel == nullptr) return corrupt("no block before to take the relation from");
      block.tag.rel = *previous_rel;
    }
    previous_rel = &block.tag.rel;
    block.tag.rel.fork = static_cast<Fork>(fork_flags & kForkMask);
    block.tag.block = reader.read<uint32_t>();
    image_lengths[block_count_] = image_length;
    data_lengths[block_count_] = data_length;
    payload += image_length + data_length;
    ++block_count_;
  }
  if (reader.failed() || reader.remaining() != payload) {
    return corrupt("its parts do not add up to its length");
  }
  for (size_t i = 0; i < block_count_; ++i) {
    blocks_[i].image = reader.take(image_lengths[i]);
    blocks_[i].data = reader.take(data_lengths[i]);
  }
  main_data_ = reader.take(main_length);
  return {};
}

bool pglz_decompress(BytesView input, std::byte* output, size_t output_size) {
  size_t in = 0;
  size_t out = 0;
  while (in < input.size() && out < output_size) {
    auto control = static_cast<uint8_t>(input[in++]);
    for (int bit = 0; bit < 8 && in < input.size() && out < output_size; ++bit, control >>= 1) {
      if ((control & 1) == 0) {
        output[out++] = input[in++];
        continue;
      }
      if (input.size() - in < 2) return false;
      auto first = static_cast<uint8_t>(input[in]);
      size_t length = (first & 0x0FU) + 3;
      size_t distance = (first & 0xF0U) << 4 | static_cast<uint8_t>(input[in + 1]);
      in += 2;
      if (length == 18) {
        if (in == input.size()) return false;
        length += static_cast<uint8_t>(input[in++]);
      }
      if (distance == 0 || distance > out) return false;
      length = std::min(length, output_size - out);
      // Byte by byte: source and target overlap whenever a pattern repeats.
      for (size_t i = 0; i < length; ++i, ++out) output[out] = output[out - distance];
    }
  }
  return in == input.size() && out == output_size;
}

bool lz4_decompress(BytesView input, std::byte* output, size_t output_size) {
  if (input.size() > INT32_MAX || output_size > INT32_MAX) return false;
  int size = LZ4_decompress_safe(reinterpret_cast<const char*>(input.data()),
                                 reinterpret_cast<char*>(output), static_cast<int>(input.size()),
                                 static_cast<int>(output_size));
  return size >= 0 && static_cast<size_t>(size) == output_size;
}

Status restore_image(const BlockRef& block, std::byte* page) {
  if (!block.has_image) {
    return Status(Code::kInvalid, fmt::format("no image of {} in this record", block.tag));
  }
  size_t stored = kPageSize - block.hole_length;
  std::array<std::byte, kPageSize> unpacked;
  const std::byte* content = block.image.data();
  if ((block.image_info & kImageCompressed) != 0) {
    bool whole = false;
    if ((block.image_info & kImagePglz) != 0) {
      whole = pglz_decompress(block.image, unpacked.data(), stored);
    } else if ((block.image_info & kImageLz4) != 0) {
      whole = lz4_decompress(block.image, unpacked.data(), stored);
    } else {
      whole = ZSTD_decompress(unpacked.data(), stored, block.image.data(), block.image.size()) ==
              stored;
    }
    if (!whole) {
      return Status(Code::kCorrupt, fmt::format("image of {} cannot be decompressed", block.tag))
          .with_detail(fmt::format("bimg_info 0x{:02X}, {} bytes for {}.", block.image_info,
                                   block.image.size(), stored));
    }
    content = unpacked.data();
  }
  std::memcpy(page, content, block.hole_offset);
  std::memset(page + block.hole_offset, 0, block.hole_length);
  std::memcpy(page + block.hole_offset + block.hole_length, content + block.hole_offset,
              stored - block.hole_offset);
  return {};
}

}  // namespace tide::pgformat
