#include "pagestore/base_backup.h"

#include <map>
#include <set>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "pagestore/page_version.h"

namespace tide::pagestore {
namespace {

constexpr uint32_t kGlobalTablespace = 1664;
constexpr uint32_t kDefaultTablespace = 1663;
using pgformat::kSlruPagesPerSegment;
constexpr uint64_t kFirstUnloggedLsn = 1000;             // xlogdefs.h, FirstNormalUnloggedLSN
constexpr uint32_t kReplicationStateMagic = 0x1257DADE;  // origin.c
constexpr std::string_view kVersionFile = "15\n";
/// What is brought along of relations: each byte delays every start a little.
constexpr uint64_t kOneRelationBytesMax = 1 << 20;
constexpr uint64_t kRelationBytesMax = 6 << 20;

constexpr const char* kDirectories[] = {
    "base",         "global",      "pg_commit_ts", "pg_dynshmem",          "pg_logical",
    "pg_notify",    "pg_replslot", "pg_serial",    "pg_logical/mappings",  "pg_logical/snapshots",
    "pg_snapshots", "pg_stat",     "pg_stat_tmp",  "pg_multixact",         "pg_multixact/members",
    "pg_subtrans",  "pg_tblspc",   "pg_twophase",  "pg_multixact/offsets", "pg_xact"};

constexpr Slru kSlrus[] = {Slru::kClog, Slru::kMultixactOffsets, Slru::kMultixactMembers,
                           Slru::kCommitTs};

/// Where PostgreSQL keeps a database's files, relative to the data directory.
std::string database_path(uint32_t spc, uint32_t db) {
  return spc == kGlobalTablespace ? "global" : fmt::format("base/{}", db);
}

class Backup {
 public:
  Backup(const PageStore& store, TimelineId timeline, Lsn at, TarWriter& tar)
      : store_(store), timeline_(timeline), at_(at), tar_(tar) {}

  Status write_skeleton() {
    for (const char* directory : kDirectories) TIDE_TRY(tar_.directory(directory));
    return tar_.file("PG_VERSION", kVersionFile);
  }

  Status write_databases() {
    TIDE_TRY(list(Kind::kDatabase, [&](std::string_view body, std::string_view value) -> Status {
      uint32_t spc = load_be32(body.data());
      if (value.empty() || spc != kDefaultTablespace) return {};
      uint32_t db = load_be32(body.data() + 4);
      std::string path = database_path(spc, db);
      databases_.insert(db);
      TIDE_TRY(tar_.directory(path));
      return tar_.file(path + "/PG_VERSION", kVersionFile);
    }));
    return list(Kind::kRelMap, [&](std::string_view body, std::string_view value) -> Status {
      if (value.empty()) return {};
      std::string path = database_path(load_be32(body.data()), load_be32(body.data() + 4));
      return tar_.file(path + "/pg_filenode.map", value);
    });
  }

  Status write_slrus() {
    for (Slru slru : kSlrus) {
      std::map<uint32_t, std::string> segments;
      TIDE_TRY(store_.versions().list(
          timeline_, Kind::kSlru, std::string(1, static_cast<char>(slru)), at_,
          [&](std::string_view body, Lsn, std::string_view value) -> Status {
            if (value.front() == static_cast<char>(VersionTag::kGone)) return {};
            SlruPage page = slru_of_body(body);
            std::byte content[kPageSize];
            if (!TIDE_TRY(store_.pages().read_slru(timeline_, page, at_, content))) return {};
            std::string& segment = segments[page.page / kSlruPagesPerSegment];
            size_t offset = page.page % kSlruPagesPerSegment * kPageSize;
            if (segment.size() < offset + kPageSize) segment.resize(offset + kPageSize, '\0');
            std::memcpy(segment.data() + offset, content, kPageSize);
            return {};
          }));
      for (const auto& [number, content] : segments) {
        TIDE_TRY(tar_.file(fmt::format("{}/{}", pgformat::slru_directory(slru),
                                       pgformat::slru_segment_name(number * kSlruPagesPerSegment)),
                           content));
      }
    }
    return {};
  }

  Status write_prepared_transactions() {
    return list(Kind::kTwoPhase, [&](std::string_view body, std::string_view value) -> Status {
      if (value.empty()) return {};
      return tar_.file(fmt::format("pg_twophase/{:08X}", load_be32(body.data())), value);
    });
  }

  Status write_replication_origins() {
    std::string content;
    append(content, kReplicationStateMagic);
    TIDE_TRY(list(Kind::kOrigin, [&](std::string_view body, std::string_view value) -> Status {
      if (value.size() != sizeof(uint64_t)) return {};
      append(content, uint64_t{load_be32(body.data())} & 0xFFFF);  // RepOriginId, padded
      content.append(value);
      return {};
    }));
    if (content.size() == sizeof kReplicationStateMagic) return {};
    append(content, crc32c(as_bytes(content)));
    return tar_.file("pg_logical/replorigin_checkpoint", content);
  }

  Status write_unlogged_relations() {
    return list(Kind::kInitFork, [&](std::string_view body, std::string_view value) -> Status {
      if (value.empty()) return {};
      RelFork rel = rel_of_body(body);
      auto blocks = TIDE_TRY(store_.rel_size(timeline_, rel, at_));
      if (!blocks) return {};
      std::string content = TIDE_TRY(content_of(rel, *blocks));
      std::string path = fmt::format("{}/{}", database_path(rel.spc, rel.db), rel.rel);
      TIDE_TRY(tar_.file(path + "_init", content));
      return tar_.file(path, content);
    });
  }

  /// Whole files: the extension takes a file that is there for complete.
  Status write_relations(std::span<const RelFork> relations) {
    uint64_t left = kRelationBytesMax;
    for (const RelFork& rel : relations) {
      bool shared = rel.spc == kGlobalTablespace && rel.db == 0;
      bool known = rel.spc == kDefaultTablespace && databases_.contains(rel.db);
      if (rel.fork != Fork::kMain || !(shared || known)) continue;
      RelFork init = rel;
      init.fork = Fork::kInit;
      if (TIDE_TRY(store_.rel_size(timeline_, init, at_))) continue;
      uint32_t blocks = TIDE_TRY(store_.rel_size(timeline_, rel, at_)).value_or(0);
      uint64_t bytes = uint64_t{blocks} * kPageSize;
      if (blocks == 0 || bytes > kOneRelationBytesMax || bytes > left) continue;
      left -= bytes;
      TIDE_TRY(tar_.file(fmt::format("{}/{}", database_path(rel.spc, rel.db), rel.rel),
                         TIDE_TRY(content_of(rel, blocks))));
    }
    return {};
  }

  Status write_control_file() {
    pgformat::ControlFile control = TIDE_TRY(stored_control_file(store_, timeline_, at_));
    control.state = pgformat::ClusterState::kShutDown;
    control.checkpoint = TIDE_TRY(start_checkpoint(store_, timeline_, at_));
    control.checkpoint_lsn = control.checkpoint.redo;
    control.unlogged_lsn = kFirstUnloggedLsn;
    control.min_recovery_point = 0;
    control.min_recovery_point_tli = 0;
    control.backup_start_point = 0;
    control.backup_end_point = 0;
    control.backup_end_required = 0;
    // Last: a directory whose unpacking was cut short cannot start.
    return tar_.file("global/pg_control", control.serialize());
  }

 private:
  Result<std::string> content_of(const RelFork& rel, uint32_t blocks) {
    std::vector<PageTag> tags;
    for (uint32_t block = 0; block < blocks; ++block) tags.push_back({rel, block});
    std::string content(tags.size() * kPageSize, '\0');
    TIDE_TRY(
        store_.pages().read(timeline_, tags, at_, reinterpret_cast<std::byte*>(content.data())));
    return content;
  }

  template <typename Visit>
  Status list(Kind kind, Visit visit) {
    return store_.versions().list(
        timeline_, kind, "", at_,
        [&](std::string_view body, Lsn, std::string_view value) { return visit(body, value); });
  }

  const PageStore& store_;
  TimelineId timeline_;
  Lsn at_;
  TarWriter& tar_;
  std::set<uint32_t> databases_;
};

}  // namespace

Result<pgformat::CheckPoint> start_checkpoint(const PageStore& store, TimelineId timeline,
                                              Lsn start) {
  pgformat::CheckPoint checkpoint = TIDE_TRY(store.checkpoint(timeline, start));
  checkpoint.redo = record_start(start).value();
  checkpoint.oldest_active_xid = 0;  // as in every shutdown checkpoint
  return checkpoint;
}

Result<pgformat::ControlFile> stored_control_file(const PageStore& store, TimelineId timeline,
                                                  Lsn at) {
  auto stored = TIDE_TRY(store.versions().newest(timeline, Kind::kControl, "", at));
  if (!stored)
    return Status(Code::kCorrupt, fmt::format("{} has no control file at {}", timeline, at));
  return pgformat::parse_control_file(as_bytes(stored->value));
}

Status write_base_backup(const PageStore& store, TimelineId timeline, Lsn at,
                         const std::vector<std::pair<std::string, std::string>>& wal_files,
                         TarWriter& tar, std::span<const RelFork> relations) {
  Backup backup(store, timeline, at, tar);
  TIDE_TRY(backup.write_skeleton());
  TIDE_TRY(backup.write_databases());
  TIDE_TRY(backup.write_slrus());
  TIDE_TRY(backup.write_prepared_transactions());
  TIDE_TRY(backup.write_replication_origins());
  TIDE_TRY(backup.write_unlogged_relations());
  TIDE_TRY(backup.write_relations(relations));
  if (!wal_files.empty()) {
    TIDE_TRY(tar.directory("pg_wal"));
    TIDE_TRY(tar.directory("pg_wal/archive_status"));
    for (const auto& [name, content] : wal_files) TIDE_TRY(tar.file("pg_wal/" + name, content));
  }
  TIDE_TRY(backup.write_control_file());
  return tar.finish();
}

}  // namespace tide::pagestore
