#include "pagestore/ingest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "page_mask.h"
#include "pagestore/base_backup.h"
#include "pagestore/internal/test_store.h"
#include "pagestore/template_import.h"
#include "pgformat/internal/test_cluster.h"

namespace tide::pagestore {
namespace {

namespace fs = std::filesystem;
using pgformat::Rmgr;
using walstore::TestWal;

constexpr RelFork kRel{1663, 5, 1000, Fork::kMain};
constexpr RelFork kMap{1663, 5, 1000, Fork::kVisibilityMap};

/// A block reference without image or data.
std::string block_ref(const PageTag& tag, uint8_t flags = 0) {
  std::string block;
  append(block, uint8_t{0});
  append(block, static_cast<uint8_t>(static_cast<uint8_t>(tag.rel.fork) | flags));
  append(block, uint16_t{0});
  append(block, tag.rel.spc);
  append(block, tag.rel.db);
  append(block, tag.rel.rel);
  append(block, tag.block);
  return block;
}

class IngestTest : public testing::Test {
 protected:
  void SetUp() override {
    store_.add_root();
    wal_ = std::make_unique<TestWal>(kRootLsn, Lsn());
    start();
  }
  void start() {
    ingest_ = std::make_unique<Ingest>(*store_, kRootTimeline, images_);
    reader_ = std::make_unique<pgformat::WalReader>(
        pgformat::WalReader::Options{.start = ingest_->applied()});
    fed_ = ingest_->applied() - kRootLsn;
  }
  /// Brings everything written so far in.
  Status ingest(bool commit = true) {
    reader_->feed(as_bytes(wal_->bytes()).subspan(fed_));
    fed_ = wal_->bytes().size();
    while (auto record = TIDE_TRY(reader_->next())) TIDE_TRY(ingest_->apply(*record));
    return commit ? ingest_->commit() : Status();
  }
  std::optional<uint32_t> size(const RelFork& rel, Lsn at = Lsn::max()) {
    auto blocks = store_->rel_size(kRootTimeline, rel, at);
    EXPECT_OK(blocks);
    return blocks.ok() ? *blocks : std::nullopt;
  }
  std::string page(const PageTag& tag, Lsn at = Lsn::max()) {
    std::string out(kPageSize, 'x');
    EXPECT_OK(store_->pages().read(kRootTimeline, {&tag, 1}, at,
                                   reinterpret_cast<std::byte*>(out.data())));
    return out;
  }
  Lsn truncate(uint32_t blocks) {
    std::string data;
    append(data, blocks);
    append(data, kRel.spc);
    append(data, kRel.db);
    append(data, kRel.rel);
    append(data, uint32_t{7});
    return wal_->add(Rmgr::kSmgr, 0x20, data);
  }

  TestStore store_;
  ImageQueue images_;
  std::unique_ptr<TestWal> wal_;
  std::unique_ptr<Ingest> ingest_;
  std::unique_ptr<pgformat::WalReader> reader_;
  size_t fed_ = 0;
};

/// pd_lsn is set by ingest.
std::string with_lsn(std::string page, Lsn lsn) {
  pgformat::set_page_lsn(reinterpret_cast<std::byte*>(page.data()), lsn);
  return page;
}

TEST_F(IngestTest, ImagesExtendWithZerosAndAreReadAtTheirLsn) {
  Lsn one = wal_->image({kRel, 0}, page_of('a'));
  Lsn two = wal_->image({kRel, 3}, page_of('b'));
  Lsn three = wal_->image({kRel, 0}, page_of('c'));
  ASSERT_OK(ingest());
  EXPECT_EQ(store_->ingested(kRootTimeline), three);
  EXPECT_EQ(size(kRel, one), 1U);
  EXPECT_EQ(size(kRel, two), 4U);
  EXPECT_FALSE(size(kRel, one - 1));
  EXPECT_EQ(page({kRel, 0}, one), with_lsn(page_of('a'), one));
  EXPECT_EQ(page({kRel, 0}), with_lsn(page_of('c'), three));
  EXPECT_EQ(page({kRel, 3}, one), page_of('\0'));
  EXPECT_EQ(page({kRel, 2}), page_of('\0'));
  EXPECT_EQ(page({kRel, 3}), with_lsn(page_of('b'), two));
}

TEST_F(IngestTest, NothingIsSeenBeforeTheCommitOfItsBatch) {
  Lsn end = wal_->image({kRel, 0}, page_of('a'));
  ASSERT_OK(ingest(false));
  EXPECT_EQ(ingest_->applied(), end);
  EXPECT_EQ(store_->ingested(kRootTimeline), kRootLsn);
  EXPECT_FALSE(size(kRel));
  ASSERT_OK(ingest_->commit());
  EXPECT_TRUE(size(kRel));
}

TEST_F(IngestTest, OldPagesOfATruncatedPartNeverShowAgain) {
  // A map of two pages, the second with all bits set; the heap is cut to one map page and grows
  // again. The first record that then sets a bit on map page 1 does not initialise it: PostgreSQL
  // extends maps without WAL.
  PageTag second{kMap, 1};
  std::string full(kPageSize, '\xFF');
  store<uint16_t>(full.data() + 14, 8192);
  wal_->image({kRel, pgformat::kHeapBlocksPerVmPage + 10}, page_of('h'));
  wal_->image(second, full);
  Lsn cut = truncate(100);
  std::string visible;
  append(visible, uint32_t{0});
  append(visible, uint8_t{1});
  Lsn again = wal_->add(Rmgr::kHeap2, 0x40, visible, block_ref(second));
  ASSERT_OK(ingest());
  EXPECT_EQ(size(kMap, cut), 1U);
  EXPECT_EQ(size(kMap, again), 2U);
  // The chain that PostgreSQL is given begins with zeros, not with the page from before the cut.
  std::vector<std::string> tags;
  ASSERT_OK(store_->versions().walk(kRootTimeline, Kind::kPage, page_body(second), again,
                                    [&](Lsn, std::string_view value) {
                                      tags.emplace_back(value.substr(0, 1));
                                      return !is_base(value);
                                    }));
  EXPECT_THAT(tags, testing::ElementsAre("R", "Z"));
}

TEST_F(IngestTest, AHugeGapDoesNotFillTheMemory) {
  constexpr uint32_t kFar = 300000;
  Lsn end = wal_->image({kRel, kFar}, page_of('a'));
  ASSERT_OK(ingest(false));
  EXPECT_FALSE(ingest_->is_full()) << "most of it is in the store already, unseen";
  EXPECT_FALSE(size(kRel, store_->ingested(kRootTimeline)));
  ASSERT_OK(ingest_->commit());
  EXPECT_EQ(size(kRel), kFar + 1);
  EXPECT_EQ(page({kRel, kFar - 1}), page_of('\0'));
  EXPECT_EQ(page({kRel, kFar}), with_lsn(page_of('a'), end));
}

TEST_F(IngestTest, PartsThatCameInAheadAreNotTakenForWhatIsThere) {
  constexpr uint32_t kFar = 200000;
  wal_->image({kRel, 0}, page_of('a'));
  ASSERT_OK(ingest());
  ASSERT_OK(store_->flush());
  wal_->image({kRel, 1}, page_of('b'));
  Lsn far = wal_->image({kRel, kFar}, page_of('c'));
  ASSERT_OK(ingest(false));
  rocksdb::FlushOptions flush;
  ASSERT_TRUE(store_->db().Flush(flush).ok());
  ingest_.reset();
  store_.reopen_as_killed();
  EXPECT_EQ(size(kRel, store_->ingested(kRootTimeline)), 1U);
  start();
  ASSERT_OK(ingest());
  EXPECT_EQ(size(kRel, far - 1), 2U);
  EXPECT_EQ(size(kRel), kFar + 1);
}

TEST_F(IngestTest, IngestContinuesAfterACrashWithTheSameResult) {
  std::map<Lsn, std::string> expected;
  for (int i = 0; i < 300; ++i) {
    std::string content = page_of(static_cast<char>('a' + i % 26));
    Lsn end = wal_->image({kRel, static_cast<uint32_t>(i % 7)}, content);
    expected[end] = with_lsn(content, end);
    if (i % 100 == 50) {
      ASSERT_OK(ingest());
      ASSERT_OK(store_->flush());
    }
    if (i % 100 == 80) {
      ASSERT_OK(ingest());
      ingest_.reset();
      store_.reopen_as_killed();
      start();
    }
  }
  ASSERT_OK(ingest());
  int i = 0;
  for (const auto& [end, content] : expected) {
    EXPECT_EQ(page({kRel, static_cast<uint32_t>(i++ % 7)}, end), content);
  }
}

TEST_F(IngestTest, DropsAndCommitTimes) {
  wal_->image({kRel, 2}, page_of('a'));
  std::string data;
  append(data, int64_t{1000});  // microseconds since 2000
  append(data, uint32_t{4});    // has file nodes
  append(data, uint32_t{1});
  append(data, kRel.spc);
  append(data, kRel.db);
  append(data, kRel.rel);
  Lsn before = wal_->at();
  wal_->add(Rmgr::kXact, 0x80, data, {}, {}, 2000);
  ASSERT_OK(ingest());
  EXPECT_EQ(size(kRel, before), 3U);
  EXPECT_FALSE(size(kRel));
  auto point = store_->lsn_for_time(kRootTimeline, 946684800LL * 1000000 + 999);
  ASSERT_OK(point);
  EXPECT_EQ(point->lsn, before);
  std::byte clog[kPageSize];
  ASSERT_TRUE(*store_->pages().read_slru(kRootTimeline, {Slru::kClog, 0}, Lsn::max(), clog));
  EXPECT_EQ(pgformat::clog_status(clog, 2000), pgformat::XidStatus::kCommitted);
  EXPECT_EQ(store_->checkpoint(kRootTimeline, Lsn::max())->next_xid, 2048U)
      << "rounded up, see tracked_checkpoint.h";
}

TEST_F(IngestTest, CommitTimestampsBeginWithTheRecordThatTurnsThemOn) {
  wal_->commit(1100, 5'000'000);
  std::string change;
  for (int32_t value : {100, 8, 10, 0, 64, 2}) append(change, value);
  append(change, uint8_t{0});
  append(change, uint8_t{1});
  append(change, uint16_t{0});
  wal_->add(Rmgr::kXlog, pgformat::xlog::kParameterChange, change);
  wal_->commit(1101, 946684800LL * 1000000 + 77);
  ASSERT_OK(ingest());  // all in one batch
  std::byte page[kPageSize];
  ASSERT_TRUE(*store_->pages().read_slru(
      kRootTimeline, {Slru::kCommitTs, pgformat::commit_ts_page(1101)}, Lsn::max(), page));
  EXPECT_EQ(pgformat::commit_timestamp(page, 1101).time, 77);
  EXPECT_EQ(pgformat::commit_timestamp(page, 1100).time, 0);
}

TEST_F(IngestTest, AnUnknownRecordStopsAndNamesItself) {
  Lsn good = wal_->image({kRel, 0}, page_of('a'));
  wal_->add(Rmgr::kSmgr, 0x50, "what?");
  Status stopped = ingest();
  EXPECT_EQ(stopped.code(), Code::kCorrupt);
  EXPECT_THAT(stopped.message(), testing::HasSubstr("Storage"));
  start();
  EXPECT_EQ(ingest().code(), Code::kCorrupt) << "and again: it is never skipped";
  EXPECT_LE(store_->ingested(kRootTimeline), good);
}

TEST_F(IngestTest, ABranchSeesItsParentAndGoesItsOwnWay) {
  wal_->image({kRel, 5}, page_of('a'));
  ASSERT_OK(ingest());
  Lsn at = wal_->at();
  Lsn prev = wal_->prev();
  store_.add_branch(2, 1, at);
  wal_->image({kRel, 9}, page_of('p'));  // the parent goes on
  ASSERT_OK(ingest());

  TestWal own(at, prev);
  own.image({kRel, 6}, page_of('b'));
  Ingest branch(*store_, TimelineId{2}, images_);
  pgformat::WalReader reader({.start = at});
  reader.feed(as_bytes(own.bytes()));
  while (true) {
    auto record = reader.next();
    ASSERT_OK(record);
    if (!*record) break;
    ASSERT_OK(branch.apply(**record));
  }
  ASSERT_OK(branch.commit());
  EXPECT_EQ(*store_->rel_size(TimelineId{2}, kRel, Lsn::max()), 7U);
  EXPECT_EQ(*store_->rel_size(kRootTimeline, kRel, Lsn::max()), 10U);
  std::string out(kPageSize, 'x');
  PageTag tag{kRel, 5};
  ASSERT_OK(store_->pages().read(TimelineId{2}, {&tag, 1}, Lsn::max(),
                                 reinterpret_cast<std::byte*>(out.data())));
  EXPECT_EQ(out.substr(100, 10), std::string(10, 'a'));
}

/// A real cluster: imported as template, its WAL ingested, and every page, SLRU and map compared
/// with its files.
class RealClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!pgformat::postgres_is_installed()) GTEST_SKIP() << "no PostgreSQL";
    ASSERT_TRUE(
        cluster_.init("wal_level=logical\nmax_prepared_transactions=5\ntrack_commit_timestamp=on\n"
                      "full_page_writes=off\nmax_worker_processes=8\nautovacuum=off\n"));
    // The parameters go to pg_control, and the template ends with a clean shutdown.
    ASSERT_TRUE(cluster_.start());
    ASSERT_TRUE(cluster_.stop());
    auto pool = redo::RedoPool::open({.directory = scratch_ / "redo",
                                      .postgres = std::string(TIDE_TEST_PG_BIN) + "/postgres",
                                      .library = TIDE_TEST_LIBRARY,
                                      .template_directory = cluster_.data(),
                                      .instance = "ingest-test",
                                      .helpers = 1});
    ASSERT_OK(pool);
    pool_ = std::move(pool).value();
    auto store = PageStore::open({.directory = scratch_ / "pages"}, *pool_);
    ASSERT_OK(store);
    store_ = std::move(store).value();
    auto imported = import_template(*store_, cluster_.data());
    ASSERT_OK(imported);
    imported_ = *imported;
    EXPECT_EQ(import_template(*store_, cluster_.data()).status().code(), Code::kExists);
  }

  void run_workload() {
    ASSERT_TRUE(cluster_.start());
    ASSERT_TRUE(cluster_.sql("SELECT pg_switch_wal();"));  // to where the import ends
    ASSERT_TRUE(cluster_.sql(pgformat::kWorkload));
    ASSERT_TRUE(cluster_.sql(
        "SELECT pg_relation_filepath(c.oid) || ' ' || coalesce(a.amname, 'sequence') FROM pg_class "
        "c LEFT JOIN pg_am a "
        "ON a.oid = c.relam WHERE c.relkind IN ('r','i','t','m','S') AND c.relpersistence = 'p';",
        &relations_));
    ASSERT_TRUE(cluster_.sql(kQuestion, &answer_));
    ASSERT_TRUE(cluster_.stop());
  }

  void ingest_all() {
    uint64_t segment = pgformat::segment_number(imported_.lsn);
    pgformat::WalReader reader({.start = imported_.lsn});
    Ingest ingest(*store_, kRootTimeline, images_);
    for (; env::exists(cluster_.wal() + "/" + pgformat::segment_file_name(segment)); ++segment) {
      reader.feed(as_bytes(
          env::read_file(cluster_.wal() + "/" + pgformat::segment_file_name(segment)).value()));
      while (true) {
        auto record = reader.next();
        if (!record.ok() || reader.ended() || !*record) break;
        ASSERT_OK(ingest.apply(**record));
        ++records_;
        if (ingest.is_full()) ASSERT_OK(ingest.commit());
      }
    }
    ASSERT_OK(ingest.commit());
    end_ = ingest.applied();
  }

  /// All pages of a fork, in one string.
  std::string pages_of(const RelFork& rel) {
    auto blocks = store_->rel_size(kRootTimeline, rel, end_);
    EXPECT_OK(blocks);
    if (!blocks.ok() || !*blocks) return "";
    std::string out(size_t{**blocks} * kPageSize, '\0');
    for (uint32_t begin = 0; begin < **blocks; begin += 64) {
      std::vector<PageTag> tags;
      for (uint32_t block = begin; block < std::min(**blocks, begin + 64); ++block)
        tags.push_back({rel, block});
      EXPECT_OK(store_->pages().read(
          kRootTimeline, tags, end_,
          reinterpret_cast<std::byte*>(out.data()) + size_t{begin} * kPageSize));
    }
    return out;
  }

  static RelFork rel_of_path(const std::string& path) {
    unsigned db = 0;
    unsigned rel = 0;
    if (sscanf(path.c_str(), "base/%u/%u", &db, &rel) == 2) return {1663, db, rel, Fork::kMain};
    EXPECT_EQ(sscanf(path.c_str(), "global/%u", &rel), 1) << path;
    return {1664, 0, rel, Fork::kMain};
  }

  static constexpr const char* kQuestion =
      "SELECT count(*), sum(a), max(b) FROM t; SELECT count(*) FROM copied; SELECT count(*), "
      "sum(x) FROM frozen; "
      "SELECT count(*) FROM pg_class; SELECT count(*) FROM t WHERE c @> ARRAY[3]; SELECT count(*) "
      "FROM m; "
      "SELECT gid FROM pg_prepared_xacts; SELECT nextval('t_id_seq') > 200000; "
      "SELECT datname FROM pg_database ORDER BY 1; SELECT count(pg_xact_commit_timestamp(xmin)) > "
      "0 FROM frozen;";

  pgformat::TestCluster cluster_;
  walstore::TestDirectory scratch_;
  std::unique_ptr<redo::RedoPool> pool_;
  std::unique_ptr<PageStore> store_;
  ImageQueue images_;
  ImportedTemplate imported_;
  std::string relations_;
  std::string answer_;
  Lsn end_;
  uint64_t records_ = 0;
};

TEST_F(RealClusterTest, EveryPageIsTheClustersAndItStartsFromOurBackup) {
  run_workload();
  ingest_all();
  ASSERT_GT(records_, 10000U);
  auto control = pgformat::parse_control_file(as_bytes(cluster_.control_file()));
  ASSERT_OK(control);
  EXPECT_EQ(control->state, pgformat::ClusterState::kShutDown);

  uint64_t pages = 0;
  uint64_t different = 0;
  std::istringstream lines(relations_);
  for (std::string path, kind_name; lines >> path >> kind_name;) {
    redo_oracle::PageKind kind;
    ASSERT_TRUE(redo_oracle::parse_page_kind(kind_name, &kind)) << kind_name;
    std::string ours = pages_of(rel_of_path(path));
    std::string theirs = env::read_file(cluster_.data() + "/" + path).value();
    EXPECT_LE(ours.size(), theirs.size()) << path;
    for (uint32_t block = 0; block < theirs.size() / kPageSize; ++block) {
      std::string their_page = theirs.substr(block * kPageSize, kPageSize);
      if (block >= ours.size() / kPageSize) {
        // Extended without WAL: nothing may be on it.
        EXPECT_LE(pgformat::page_lower(reinterpret_cast<std::byte*>(their_page.data())), 24)
            << path << " " << block;
        continue;
      }
      std::string our_page = ours.substr(block * kPageSize, kPageSize);
      redo_oracle::mask_page(kind, block, reinterpret_cast<std::byte*>(their_page.data()));
      redo_oracle::mask_page(kind, block, reinterpret_cast<std::byte*>(our_page.data()));
      ++pages;
      if (our_page != their_page && different++ < 5)
        ADD_FAILURE() << path << " " << kind_name << " block " << block;
    }
  }
  EXPECT_GT(pages, 1000U);
  EXPECT_EQ(different, 0U) << "of " << pages;

  // SLRUs byte by byte, as far as the cluster has them on disk.
  for (Slru slru :
       {Slru::kClog, Slru::kMultixactOffsets, Slru::kMultixactMembers, Slru::kCommitTs}) {
    std::string directory = cluster_.data() + "/" + std::string(pgformat::slru_directory(slru));
    const auto names = env::list_directory(directory);
    ASSERT_OK(names);
    for (const std::string& name : *names) {
      std::string content = env::read_file(directory + "/" + name).value();
      uint32_t first =
          static_cast<uint32_t>(std::stoul(name, nullptr, 16)) * pgformat::kSlruPagesPerSegment;
      for (uint32_t i = 0; i < content.size() / kPageSize; ++i) {
        std::string ours(kPageSize, '\0');
        auto exists = store_->pages().read_slru(kRootTimeline, {slru, first + i}, end_,
                                                reinterpret_cast<std::byte*>(ours.data()));
        ASSERT_OK(exists);
        EXPECT_EQ(ours, content.substr(i * kPageSize, kPageSize))
            << directory << " page " << first + i;
      }
    }
  }

  // Everything at once: stock PostgreSQL starts from our backup, with the relations as we have
  // them.
  std::string data = scratch_ / "restored";
  pgformat::StartRecord start;
  start.at = end_;
  start.prev = end_ - 1;
  start.system_id = imported_.system_id;
  start.checkpoint = start_checkpoint(*store_, kRootTimeline, end_).value();
  auto pieces = pgformat::lay_start_record(start, {});
  ASSERT_OK(pieces);
  std::map<std::string, std::string> segments;
  for (const auto& piece : *pieces) {
    std::string& content = segments[pgformat::segment_file_name(piece.segment)];
    content.resize(kWalSegmentSize, '\0');
    content.replace(piece.offset, piece.bytes.size(), piece.bytes);
  }
  std::string archive = scratch_ / "backup.tar";
  std::ofstream tar_file(archive, std::ios::binary);
  TarWriter tar([&](std::string_view bytes) {
    tar_file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return Status();
  });
  ASSERT_OK(
      write_base_backup(*store_, kRootTimeline, end_, {segments.begin(), segments.end()}, tar));
  tar_file.close();
  ASSERT_OK(env::make_directories(data));
  ASSERT_EQ(pgformat::run_as_postgres("tar -xf " + archive + " -C " + data), 0);
  ASSERT_OK(store_->versions().list(
      kRootTimeline, Kind::kRelSize, "", end_,
      [&](std::string_view body, Lsn, std::string_view value) -> Status {
        RelFork rel = rel_of_body(body);
        if (load<uint32_t>(value.data()) == kNoRelation || rel.fork == Fork::kInit) return {};
        std::string suffix = rel.fork == Fork::kMain ? "" : fmt::format("_{}", fork_name(rel.fork));
        std::string directory = rel.spc == 1664 ? "global" : fmt::format("base/{}", rel.db);
        if (!env::is_directory(data + "/" + directory))
          return {Code::kBug, "no directory " + directory};
        return env::write_file(fmt::format("{}/{}/{}{}", data, directory, rel.rel, suffix),
                               pages_of(rel));
      }));
  fs::copy_file(cluster_.data() + "/postgresql.conf", data + "/postgresql.conf");
  fs::copy_file(cluster_.data() + "/pg_hba.conf", data + "/pg_hba.conf");
  fs::copy_file(cluster_.data() + "/pg_ident.conf", data + "/pg_ident.conf");
  fs::rename(cluster_.data(), scratch_ / "original");
  fs::rename(data, cluster_.data());
  ASSERT_TRUE(cluster_.start()) << cluster_.log();
  std::string answer;
  ASSERT_TRUE(cluster_.sql(kQuestion, &answer));
  EXPECT_EQ(answer, answer_);
  ASSERT_TRUE(cluster_.sql(
      "COMMIT PREPARED 'stays'; SELECT count(*) FROM on_commit; INSERT INTO t(a) VALUES (1); "
      "VACUUM t; CREATE EXTENSION IF NOT EXISTS plpgsql;"));
  ASSERT_TRUE(cluster_.stop());
}

TEST_F(RealClusterTest, TemplateImportHasEveryFile) {
  end_ = imported_.lsn;
  int compared = 0;
  for (const char* directory : {"base/5", "base/1", "global"}) {
    const auto names = env::list_directory(cluster_.data() + "/" + directory);
    ASSERT_OK(names);
    for (const std::string& name : *names) {
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      EXPECT_EQ(pages_of(rel_of_path(std::string(directory) + "/" + name)),
                env::read_file(cluster_.data() + "/" + directory + "/" + name).value())
          << directory << "/" << name;
      ++compared;
    }
  }
  EXPECT_GT(compared, 300);
  auto control = stored_control_file(*store_, kRootTimeline, imported_.lsn);
  ASSERT_OK(control);
  EXPECT_EQ(control->system_id, imported_.system_id);
  EXPECT_EQ(store_->checkpoint(kRootTimeline, imported_.lsn - 1).status().code(),
            Code::kOutOfRange);
  EXPECT_EQ(store_->durable(kRootTimeline), imported_.lsn);
}

TEST_F(RealClusterTest, ABackupBringsWantedRelationsAlong) {
  end_ = imported_.lsn;
  std::string archive;
  TarWriter tar([&](std::string_view bytes) {
    archive += bytes;
    return Status();
  });
  const RelFork wanted[] = {{1663, 5, 1259},
                            {1664, 0, 1262},
                            {1663, 5, 999999},
                            {1663, 4711, 1259},
                            {1663, 5, 1259, Fork::kVisibilityMap}};
  ASSERT_OK(write_base_backup(*store_, kRootTimeline, end_, {}, tar, wanted));
  std::string file = scratch_ / "backup.tar";
  ASSERT_OK(env::write_file(file, archive, 0644));
  std::string data = scratch_ / "unpacked";
  ASSERT_OK(env::make_directories(data));
  ASSERT_EQ(pgformat::run_as_postgres("tar -xf " + file + " -C " + data), 0);
  EXPECT_EQ(env::read_file(data + "/base/5/1259").value(), pages_of(wanted[0]));
  EXPECT_EQ(env::read_file(data + "/global/1262").value(), pages_of(wanted[1]));
  for (const char* absent : {"/base/5/999999", "/base/4711", "/base/5/1259_vm", "/base/1/1259"}) {
    EXPECT_FALSE(env::exists(data + absent)) << absent;
  }
}

TEST_F(RealClusterTest, AClusterThatCrashedIsNoTemplate) {
  ASSERT_TRUE(cluster_.start());
  ASSERT_TRUE(cluster_.crash());
  auto other = PageStore::open({.directory = scratch_ / "other"}, *pool_);
  ASSERT_OK(other);
  EXPECT_EQ(import_template(**other, cluster_.data()).status().code(), Code::kInvalid);
  EXPECT_EQ(import_template(**other, scratch_ / "nothing").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace tide::pagestore
