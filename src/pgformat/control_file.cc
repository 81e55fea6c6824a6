#include "pgformat/control_file.h"

#include "base/crc32c.h"
#include "base/page_tag.h"
#include "pgformat/xid.h"

namespace tide::pgformat {

std::string ControlFile::serialize() const {
  ControlFile copy = *this;
  copy.crc = crc32c({reinterpret_cast<const std::byte*>(&copy), offsetof(ControlFile, crc)});
  std::string bytes(kControlFileSize, '\0');
  store(bytes.data(), copy);
  return bytes;
}

Result<ControlFile> parse_control_file(BytesView bytes) {
  if (bytes.size() < sizeof(ControlFile)) {
    return Status(Code::kCorrupt, fmt::format("pg_control has only {} bytes", bytes.size()));
  }
  auto file = load<ControlFile>(bytes.data());
  if (file.control_version != kControlVersion) {
    return Status(Code::kInvalid, fmt::format("pg_control is of version {}, not {}",
                                              file.control_version, kControlVersion))
        .with_hint("Only clusters of PostgreSQL 15 can be read.");
  }
  uint32_t crc = crc32c(bytes.first(offsetof(ControlFile, crc)));
  if (crc != file.crc) {
    return Status(Code::kCorrupt,
                  fmt::format("pg_control has checksum {:08X}, its content {:08X}", file.crc, crc));
  }
  if (file.catalog_version != kCatalogVersion) {
    return Status(Code::kInvalid, fmt::format("the cluster's catalog version is {}, not {}",
                                              file.catalog_version, kCatalogVersion))
        .with_hint("Only clusters of a released PostgreSQL 15 can be read.");
  }
  if (file.block_size != kPageSize || file.wal_block_size != kWalPageSize ||
      file.wal_segment_size != kWalSegmentSize || file.relation_segment_blocks != 131072 ||
      file.max_align != 8 || file.float_format != 1234567.0) {
    return Status(Code::kInvalid,
                  "the cluster was made with other sizes than PostgreSQL's defaults")
        .with_detail(
            fmt::format("Block size {}, WAL block size {}, WAL segment size {}, blocks per "
                        "relation segment {}.",
                        file.block_size, file.wal_block_size, file.wal_segment_size,
                        file.relation_segment_blocks))
        .with_hint("Make the cluster with initdb's defaults (16 MB WAL segments).");
  }
  return file;
}

void advance_next_xid(CheckPoint* checkpoint, uint32_t xid) {
  checkpoint->next_xid = advance_full_xid(checkpoint->next_xid, xid);
}

void advance_next_multi(CheckPoint* checkpoint, uint32_t next_multi, uint32_t next_offset) {
  if (multixact_precedes(checkpoint->next_multi, next_multi)) checkpoint->next_multi = next_multi;
  if (multixact_precedes(checkpoint->next_multi_offset, next_offset)) {
    checkpoint->next_multi_offset = next_offset;
  }
}

void merge_checkpoint(CheckPoint* tracked, const CheckPoint& record, bool shutdown) {
  if (shutdown) {
    tracked->next_xid = record.next_xid;
    tracked->next_oid = record.next_oid;
    tracked->next_multi = record.next_multi;
    tracked->next_multi_offset = record.next_multi_offset;
  } else {
    if (tracked->next_xid < record.next_xid) tracked->next_xid = record.next_xid;
    advance_next_multi(tracked, record.next_multi, record.next_multi_offset);
  }
  if (xid_precedes(tracked->oldest_xid, record.oldest_xid)) {
    tracked->oldest_xid = record.oldest_xid;
    tracked->oldest_xid_db = record.oldest_xid_db;
  }
  if (multixact_precedes(tracked->oldest_multi, record.oldest_multi)) {
    tracked->oldest_multi = record.oldest_multi;
    tracked->oldest_multi_db = record.oldest_multi_db;
  }
  tracked->oldest_commit_ts_xid = record.oldest_commit_ts_xid;
  tracked->newest_commit_ts_xid = record.newest_commit_ts_xid;
  tracked->oldest_active_xid = record.oldest_active_xid;
  tracked->full_page_writes = record.full_page_writes;
  tracked->redo = record.redo;
  tracked->tli = record.tli;
  tracked->prev_tli = record.prev_tli;
  tracked->time = record.time;
}

}  // namespace tide::pgformat
