#include "pagestore/template_import.h"

#include <rocksdb/write_batch.h>

#include <chrono>
#include <map>
#include <random>
#include <regex>

#include "base/bytes.h"
#include "env/file.h"
#include "pagestore/page_version.h"

namespace tide::pagestore {
namespace {

constexpr TimelineId kRoot{1};
constexpr uint32_t kDefaultTablespace = 1663;
constexpr uint32_t kGlobalTablespace = 1664;
constexpr uint32_t kBlocksPerSegmentFile = 131072;
constexpr size_t kBatchBytes = 4 << 20;

int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

class Import {
 public:
  Import(PageStore& store, std::string cluster) : store_(store), cluster_(std::move(cluster)) {}

  Result<ImportedTemplate> run() {
    if (store_.tree().find(kRoot)) return Status(Code::kExists, "the project exists already");
    std::string control_bytes = TIDE_TRY(env::read_file(cluster_ + "/global/pg_control"));
    pgformat::ControlFile control = TIDE_TRY(pgformat::parse_control_file(as_bytes(control_bytes)));
    if (control.state != pgformat::ClusterState::kShutDown) {
      return Status(Code::kInvalid, fmt::format("{} was not shut down cleanly", cluster_))
          .with_hint("Remove it; the next start makes it anew.");
    }
    // A fresh segment: above every page's LSN, and its begin needs no bytes of the old WAL.
    at_ = Lsn((control.checkpoint_lsn / kWalSegmentSize + 1) * kWalSegmentSize);
    // PostgreSQL's own recipe: time in the upper half, noise in the lower.
    std::random_device noise;
    control.system_id = static_cast<uint64_t>(now_us() / 1000000) << 32 | noise();

    TIDE_TRY(import_relations("global", kGlobalTablespace, 0));
    TIDE_TRY(put(Kind::kDatabase, database_body(kGlobalTablespace, 0), "1"));
    for (const std::string& name : TIDE_TRY(env::list_directory(cluster_ + "/base"))) {
      if (!std::regex_match(name, std::regex("[0-9]{1,9}"))) continue;  // pgsql_tmp
      uint32_t db = static_cast<uint32_t>(std::stoul(name));
      TIDE_TRY(import_relations("base/" + name, kDefaultTablespace, db));
      TIDE_TRY(put(Kind::kDatabase, database_body(kDefaultTablespace, db), "1"));
    }
    TIDE_TRY(import_slru(Slru::kClog));
    TIDE_TRY(import_slru(Slru::kMultixactOffsets));
    TIDE_TRY(import_slru(Slru::kMultixactMembers));
    TIDE_TRY(put(Kind::kCheckpoint, "", encode_checkpoint(control.checkpoint)));
    TIDE_TRY(put(Kind::kControl, "", control.serialize()));
    TIDE_TRY(store_.write(kRoot, batch_, at_));
    TIDE_TRY(store_.flush());
    TimelineInfo info;
    info.id = kRoot;
    info.branch_lsn = at_;
    info.created_us = now_us();
    TIDE_TRY(store_.add_timeline(info));
    return ImportedTemplate{control.system_id, at_};
  }

 private:
  Status put(Kind kind, std::string_view body, std::string_view value) {
    batch_.Put(version_key(kind, kRoot, body, at_), rocksdb::Slice(value));
    if (batch_.GetDataSize() < kBatchBytes) return {};
    TIDE_TRY(store_.write(kRoot, batch_, at_));
    batch_.Clear();
    return {};
  }

  Status import_relations(const std::string& directory, uint32_t spc, uint32_t db) {
    static const std::regex kFileName(R"((\d+)(_fsm|_vm|_init)?(?:\.(\d+))?)");
    static const std::map<std::string, Fork> kForks = {{"", Fork::kMain},
                                                       {"_fsm", Fork::kFreeSpaceMap},
                                                       {"_vm", Fork::kVisibilityMap},
                                                       {"_init", Fork::kInit}};
    std::map<RelFork, uint32_t> sizes;
    for (const std::string& name : TIDE_TRY(env::list_directory(cluster_ + "/" + directory))) {
      std::string path = fmt::format("{}/{}/{}", cluster_, directory, name);
      if (name == "pg_filenode.map") {
        TIDE_TRY(put(Kind::kRelMap, database_body(spc, db), TIDE_TRY(env::read_file(path))));
        continue;
      }
      std::smatch match;
      if (!std::regex_match(name, match, kFileName)) continue;
      RelFork rel{spc, db, static_cast<uint32_t>(std::stoul(match[1])), kForks.at(match[2])};
      uint32_t first = match[3].matched ? std::stoul(match[3]) * kBlocksPerSegmentFile : 0;
      std::string content = TIDE_TRY(env::read_file(path));
      uint32_t blocks = static_cast<uint32_t>(content.size() / kPageSize);
      for (uint32_t block = 0; block < blocks; ++block) {
        TIDE_TRY(put(Kind::kPage, page_body({rel, first + block}),
                     encode_image(as_bytes(content).data() + block * kPageSize)));
      }
      sizes[rel] = std::max(sizes[rel], first + blocks);
    }
    for (const auto& [rel, blocks] : sizes) {
      std::string value;
      append(value, blocks);
      TIDE_TRY(put(Kind::kRelSize, rel_body(rel), value));
      if (rel.fork == Fork::kInit) TIDE_TRY(put(Kind::kInitFork, rel_body(rel), "1"));
    }
    return {};
  }

  Status import_slru(Slru slru) {
    std::string directory(pgformat::slru_directory(slru));
    for (const std::string& name : TIDE_TRY(env::list_directory(cluster_ + "/" + directory))) {
      if (!std::regex_match(name, std::regex("[0-9A-F]{4,6}"))) continue;
      uint32_t first =
          static_cast<uint32_t>(std::stoul(name, nullptr, 16)) * pgformat::kSlruPagesPerSegment;
      std::string content =
          TIDE_TRY(env::read_file(fmt::format("{}/{}/{}", cluster_, directory, name)));
      for (uint32_t page = 0; page < content.size() / kPageSize; ++page) {
        TIDE_TRY(put(Kind::kSlru, slru_body(slru, first + page),
                     encode_image(as_bytes(content).data() + page * kPageSize)));
      }
    }
    return {};
  }

  PageStore& store_;
  std::string cluster_;
  Lsn at_;
  rocksdb::WriteBatch batch_;
};

}  // namespace

Result<ImportedTemplate> import_template(PageStore& store, const std::string& cluster_directory) {
  return Import(store, cluster_directory).run();
}

}  // namespace tide::pagestore
