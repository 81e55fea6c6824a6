#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "learner/source.h"
#include "pgformat/internal/test_cluster.h"
#include "pgformat/page.h"

/// For tests only.
namespace tide::mirror {

/// The files of a data directory as a source of pages: what a cluster has written at its last
/// CHECKPOINT, whatever LSN is asked for. Tablespaces other than the default ones are not known.
class DataDirectory : public learner::PageSource {
 public:
  explicit DataDirectory(std::string path) : path_(std::move(path)) {}

  Result<std::string> pages(const RelFork& rel, uint32_t first, uint32_t count, Lsn) override {
    std::string bytes;
    for (uint32_t block = first; block < first + count; ++block) {
      bytes += page_of(segment(rel, block / kBlocksPerSegment), block % kBlocksPerSegment)
                   .value_or(std::string(kPageSize, '\0'));
    }
    return bytes;
  }
  Result<std::optional<uint32_t>> rel_size(const RelFork& rel, Lsn) override {
    if (!std::filesystem::exists(segment(rel, 0))) return std::optional<uint32_t>();
    uint64_t bytes = 0;
    for (uint32_t i = 0; std::filesystem::exists(segment(rel, i)); ++i) {
      bytes += std::filesystem::file_size(segment(rel, i));
    }
    return std::optional(static_cast<uint32_t>(bytes / kPageSize));
  }
  Result<std::optional<std::string>> slru_page(pgformat::Slru slru, uint32_t page, Lsn) override {
    return page_of(path_ + "/" + std::string(pgformat::slru_directory(slru)) + "/" +
                       pgformat::slru_segment_name(page),
                   page % pgformat::kSlruPagesPerSegment);
  }
  Result<std::optional<std::string>> relation_map(uint32_t spc, uint32_t db, Lsn) override {
    std::string bytes = pgformat::read_whole_file(directory(spc, db) + "/pg_filenode.map");
    return bytes.empty() ? std::optional<std::string>() : std::optional(bytes);
  }
  Result<std::vector<Database>> databases(Lsn) override {
    std::vector<Database> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_ + "/base")) {
      found.push_back({1663, static_cast<uint32_t>(std::stoul(entry.path().filename()))});
    }
    return found;
  }
  Result<std::vector<Relation>> relations(uint32_t db, Lsn at) override {
    std::vector<Relation> found;
    uint32_t spc = db == 0 ? 1664 : 1663;
    for (const auto& entry : std::filesystem::directory_iterator(directory(spc, db))) {
      std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      RelFork rel{spc, db, static_cast<uint32_t>(std::stoul(name)), Fork::kMain};
      found.push_back({rel, TIDE_TRY(rel_size(rel, at)).value_or(0)});
    }
    return found;
  }

 private:
  static constexpr uint32_t kBlocksPerSegment = 131'072;

  std::string directory(uint32_t spc, uint32_t db) const {
    return spc == 1664 ? path_ + "/global" : path_ + "/base/" + std::to_string(db);
  }
  std::string segment(const RelFork& rel, uint32_t number) const {
    std::string path = directory(rel.spc, rel.db) + "/" + std::to_string(rel.rel);
    if (rel.fork != Fork::kMain) path += "_" + std::string(fork_name(rel.fork));
    return number == 0 ? path : path + "." + std::to_string(number);
  }
  static std::optional<std::string> page_of(const std::string& file, uint32_t page) {
    std::ifstream in(file, std::ios::binary);
    std::string bytes(kPageSize, '\0');
    in.seekg(static_cast<std::streamoff>(uint64_t{page} * kPageSize));
    if (!in.read(bytes.data(), kPageSize)) return std::nullopt;
    return bytes;
  }

  std::string path_;
};

/// The main fork of a relation of database `postgres`.
inline RelFork file_of(pgformat::TestCluster& cluster, const std::string& relation) {
  std::string found;
  bool ok = cluster.sql("SELECT oid || ' ' || pg_relation_filenode('" + relation +
                            "') FROM pg_database WHERE datname = current_database()",
                        &found);
  if (!ok) return {};
  std::istringstream in(found);
  RelFork file{1663, 0, 0, Fork::kMain};
  in >> file.db >> file.rel;
  return file;
}

}  // namespace tide::mirror
