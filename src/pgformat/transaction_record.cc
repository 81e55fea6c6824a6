#include "pgformat/transaction_record.h"

#include <cstring>

namespace tide::pgformat {
namespace {

constexpr uint32_t kHasDatabase = 1U << 0;
constexpr uint32_t kHasSubxids = 1U << 1;
constexpr uint32_t kHasFiles = 1U << 2;
constexpr uint32_t kHasInvalidations = 1U << 3;
constexpr uint32_t kHasTwophase = 1U << 4;
constexpr uint32_t kHasOrigin = 1U << 5;
constexpr uint32_t kHasAccessExclusiveLocks = 1U << 6;
constexpr uint32_t kHasGid = 1U << 7;
constexpr uint32_t kHasDroppedStats = 1U << 8;
constexpr uint32_t kCompletionFlags = 7U << 29;
constexpr uint32_t kKnownFlags = ((1U << 9) - 1) | kCompletionFlags;
static_assert((kHasAccessExclusiveLocks & kKnownFlags) != 0);

constexpr size_t kInvalidationSize = 16;
constexpr uint32_t kTwophaseMagic = 0x57F94534;

/// An int32 count, then as many elements.
BytesView take_counted(ByteReader& reader, size_t element_size) {
  auto count = reader.read<int32_t>();
  if (count < 0) return reader.take(SIZE_MAX);
  return reader.take(static_cast<size_t>(count) * element_size);
}

}  // namespace

Result<TransactionEnd> parse_transaction_end(const WalRecord& record) {
  auto corrupt = [&](std::string_view reason) {
    return Status(Code::kCorrupt, fmt::format("{}: {}", record.describe(), reason));
  };
  uint8_t op = record.info() & xact::kOpMask;
  TransactionEnd end;
  end.committed = op == xact::kCommit || op == xact::kCommitPrepared;
  end.prepared = op == xact::kCommitPrepared || op == xact::kAbortPrepared;
  if (!record.is(Rmgr::kXact) || (!end.committed && !end.prepared && op != xact::kAbort)) {
    return corrupt("does not end a transaction");
  }
  ByteReader reader(record.main_data());
  end.time = reader.read<int64_t>();
  end.xid = record.xid();
  uint32_t flags = (record.info() & xact::kHasInfo) != 0 ? reader.read<uint32_t>() : 0;
  if ((flags & ~kKnownFlags) != 0)
    return corrupt(fmt::format("unknown flags in xinfo {:X}", flags));
  if ((flags & kHasDatabase) != 0) {
    end.db = reader.read<uint32_t>();
    end.spc = reader.read<uint32_t>();
  }
  if ((flags & kHasSubxids) != 0) {
    end.subxids = PackedArray<uint32_t>(take_counted(reader, sizeof(uint32_t)));
  }
  if ((flags & kHasFiles) != 0) {
    end.dropped_files = PackedArray<FileNode>(take_counted(reader, sizeof(FileNode)));
  }
  // The order on disk is not the order of the flags: dropped statistics come before invalidations.
  if ((flags & kHasDroppedStats) != 0) {
    end.dropped_stats = PackedArray<DroppedStats>(take_counted(reader, sizeof(DroppedStats)));
  }
  if ((flags & kHasInvalidations) != 0) {
    if (!end.committed) return corrupt("an abort with invalidations");
    end.invalidations = take_counted(reader, kInvalidationSize);
  }
  if ((flags & kHasTwophase) != 0) {
    end.xid = reader.read<uint32_t>();
    if ((flags & kHasGid) != 0) {
      std::string_view rest = as_chars(reader.rest());
      size_t length = rest.find('\0');
      if (length == std::string_view::npos) return corrupt("its GID has no end");
      end.gid = rest.substr(0, length);
      reader.take(length + 1);
    }
  }
  if ((flags & kHasOrigin) != 0) {
    end.has_origin = true;
    end.origin_lsn = Lsn(reader.read<uint64_t>());
    end.origin_time = reader.read<int64_t>();
  }
  if (reader.failed() || reader.remaining() != 0) return corrupt("its parts do not add up");
  if (end.prepared != ((flags & kHasTwophase) != 0)) return corrupt("prepared or not prepared");
  if (end.xid == 0) return corrupt("names no transaction");
  return end;
}

Result<PrepareRecord> parse_twophase_state(BytesView content) {
  auto corrupt = [](std::string_view reason) {
    return Status(Code::kCorrupt, fmt::format("two-phase state: {}", reason));
  };
  ByteReader reader(content);
  auto magic = reader.read<uint32_t>();
  auto total_length = reader.read<uint32_t>();
  PrepareRecord prepare;
  prepare.xid = reader.read<uint32_t>();
  prepare.db = reader.read<uint32_t>();
  prepare.time = reader.read<int64_t>();
  reader.read<uint32_t>();  // owner
  int32_t counts[6];        // subxids, commit drops, abort drops, statistics twice, invalidations
  for (int32_t& count : counts) count = reader.read<int32_t>();
  reader.read<uint16_t>();  // initfileinval and a hole
  auto gid_length = reader.read<uint16_t>();
  prepare.origin_lsn = Lsn(reader.read<uint64_t>());
  prepare.origin_time = reader.read<int64_t>();
  if (reader.failed() || magic != kTwophaseMagic) return corrupt("no state file of PostgreSQL 15");
  if (total_length != content.size() && total_length != content.size() + sizeof(uint32_t)) {
    return corrupt(fmt::format("{} bytes, its header says {}", content.size(), total_length));
  }
  // Every part is padded to 8 bytes.
  auto take = [&](int32_t count, size_t element_size) {
    if (count < 0) return reader.take(SIZE_MAX);
    size_t size = static_cast<size_t>(count) * element_size;
    BytesView padded = reader.take(max_align(size));
    return padded.first(std::min(size, padded.size()));
  };
  prepare.gid = as_chars(take(gid_length, 1));
  prepare.gid = prepare.gid.substr(0, prepare.gid.find('\0'));
  prepare.subxids = PackedArray<uint32_t>(take(counts[0], sizeof(uint32_t)));
  prepare.commit_drops = PackedArray<FileNode>(take(counts[1], sizeof(FileNode)));
  prepare.abort_drops = PackedArray<FileNode>(take(counts[2], sizeof(FileNode)));
  if (reader.failed()) return corrupt("its parts do not fit");
  if (prepare.xid == 0) return corrupt("names no transaction");
  return prepare;
}

Result<PrepareRecord> parse_prepare(const WalRecord& record) {
  Result<PrepareRecord> prepare = parse_twophase_state(record.main_data());
  if (!prepare.ok()) return std::move(prepare).status().with_context(record.describe());
  return prepare;
}

}  // namespace tide::pgformat
