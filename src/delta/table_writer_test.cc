#include "delta/table_writer.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <time.h>

#include <filesystem>
#include <thread>

#include "delta/file_statistics.h"
#include "delta/internal/test_lake.h"
#include "deltalog/deletion_vector.h"
#include "deltalog/path.h"
#include "deltalog/protocol.h"
#include "deltalog/statistics.h"
#include "duck/parquet_writer.h"
#include "objectstore/object_store.h"

namespace tide::delta {
namespace {

using deltalog::Action;
using deltalog::AddFile;

constexpr int64_t kNow = 1'700'000'000'000;
constexpr int64_t kHour = 3'600'000;

std::vector<columns::Field> fields() {
  return {{"id", columns::Kind::kInt64},
          {"name", columns::Kind::kString},
          {"price", columns::Type::decimal(12, 2)},
          {"at", columns::Kind::kTimestamp},
          {"tags", columns::Type::list(columns::Kind::kString)},
          {"pos", columns::Type::structure({{"x", columns::Kind::kDouble}})}};
}

class TableWriterTest : public LakeTest {
 protected:
  void SetUp() override {
    LakeTest::SetUp();
    root_ = scratch_ + "/lake/t able%";
    directory_ = local_directory(root_);
  }

  NewTable new_table() {
    NewTable table;
    table.schema = deltalog::from_columns(fields());
    table.id = "11111111-2222-3333-4444-555555555555";
    return table;
  }

  void create() {
    Result<std::unique_ptr<TableWriter>> writer =
        TableWriter::create(*directory_, *engine_, new_table(), {}, kNow, options_);
    ASSERT_OK(writer);
    writer_ = std::move(writer).value();
  }

  /// A data file with ids [begin, end).
  AddFile data_file(const std::string& name, int begin, int end) {
    auto batch = std::make_shared<columns::Batch>(fields());
    for (int i = begin; i < end; ++i) {
      batch->columns[0].append<int64_t>(i);
      batch->columns[1].append_bytes(fmt::format("name {}", i));
      batch->columns[2].append<int64_t>(i * 125);
      batch->columns[3].append<int64_t>(i * 1'500'000LL + 7);
      for (int k = 0; k < i % 3; ++k) batch->columns[4].child(0).append_bytes("t");
      batch->columns[4].end_list();
      batch->columns[5].child(0).append<double>(i / 2.0);
      batch->columns[5].end_struct();
    }
    deltalog::StatisticsBuilder statistics(fields());
    statistics.add(*batch);
    Result<std::unique_ptr<duck::Connection>> connection = engine_->connect();
    EXPECT_TRUE(connection.ok());
    EXPECT_TRUE(env::make_directories(root_).ok());
    Result<duck::WrittenFile> written = duck::write_parquet(
        *engine_, **connection, {{batch, nullptr}}, fields(), root_ + "/" + name, {});
    EXPECT_TRUE(written.ok()) << text_of(written);
    AddFile add;
    add.path = deltalog::percent_encode(name);
    add.size = static_cast<int64_t>(written->bytes);
    add.modification_time = kNow;
    add.stats = statistics.json();
    // The Parquet writer knows the same, but not how many lists are null.
    std::string same = statistics.json();
    constexpr std::string_view kLists = ",\"tags\":0";
    same.erase(same.find(kLists), kLists.size());
    EXPECT_EQ(statistics_of(*written, fields()), same);
    return add;
  }

  void commit(std::vector<Action> actions, int64_t now = kNow) {
    Result<CommitOutcome> outcome =
        writer_->commit(writer_->next_version(), std::move(actions), now);
    ASSERT_OK(outcome);
    ASSERT_TRUE(outcome->committed);
  }

  /// count and sum of ids by a fresh reader.
  std::string ids(std::optional<int64_t> version = std::nullopt) {
    Table table(*directory_, *engine_);
    Result<deltalog::TableState> state = table.state(version);
    if (!state.ok()) return text_of(state);
    Result<Scan> scan = table.scan(*state);
    if (!scan.ok()) return text_of(scan);
    return rows_of("SELECT count(*), sum(id) FROM (" + scan->sql + ")");
  }

  /// The writer's own state equals what a fresh replay gives.
  void expect_replay_is_state() {
    Table table(*directory_, *engine_);
    Result<deltalog::TableState> state = table.state();
    ASSERT_OK(state);
    EXPECT_EQ(state->version(), writer_->state().version());
    std::unordered_map<std::string, AddFile> files = writer_->state().files();
    // What comes from a checkpoint is no change of data any more.
    for (auto& [key, add] : files) add.data_change = state->files().at(key).data_change;
    EXPECT_TRUE(state->files() == files);
    EXPECT_TRUE(state->protocol() == writer_->state().protocol());
    EXPECT_TRUE(state->metadata() == writer_->state().metadata());
    EXPECT_TRUE(state->transactions() == writer_->state().transactions());
    EXPECT_TRUE(state->domains() == writer_->state().domains());
    EXPECT_EQ(state->in_commit_timestamp(), writer_->state().in_commit_timestamp());
  }

  std::string root_;
  WriterOptions options_;
  std::unique_ptr<TableDirectory> directory_;
  std::unique_ptr<TableWriter> writer_;
};

TEST_F(TableWriterTest, WhatIsWrittenIsRead) {
  create();
  AddFile first = data_file("part 1%.parquet", 0, 100);
  commit({first, deltalog::Transaction{"main", 16, {}},
          deltalog::DomainMetadata{"tidewater.mirror", R"({"lsn":"0/10"})", false}});
  EXPECT_EQ(ids(), "100|4950");

  columns::RowSet deleted;
  for (uint32_t row = 0; row < 50; ++row) deleted.add(row);
  deltalog::DeletionVectorFile vectors(
      *deltalog::parse_uuid("00112233-4455-6677-8899-aabbccddeeff"));
  AddFile with_vector = first;
  with_vector.deletion_vector = vectors.add(deleted);
  with_vector.stats = deltalog::with_wide_bounds(*first.stats);
  ASSERT_OK(directory_->put(vectors.name(), as_bytes(vectors.bytes())));
  commit({deltalog::remove_of(first, kNow, true), with_vector,
          data_file("part-2.parquet", 100, 110), deltalog::Transaction{"main", 32, {}}});
  EXPECT_EQ(ids(), "60|4770");
  EXPECT_EQ(ids(1), "100|4950");
  EXPECT_EQ(ids(0), "0|NULL");
  EXPECT_EQ(writer_->state().transaction("main"), 32);
  expect_replay_is_state();

  ASSERT_OK(writer_->checkpoint(kNow));
  expect_replay_is_state();
  // From the checkpoint alone.
  for (int64_t version = 0; version <= 1; ++version) {
    ASSERT_OK(directory_->remove("_delta_log/" + deltalog::commit_name(version)));
  }
  expect_replay_is_state();
  EXPECT_EQ(ids(), "60|4770");
  EXPECT_EQ(Table(*directory_, *engine_).state(1).status().code(), Code::kNotFound);
}

TEST_F(TableWriterTest, PredicatesSkipFiles) {
  create();
  commit({data_file("a.parquet", 0, 10), data_file("b.parquet", 10, 20)});
  Table table(*directory_, *engine_);
  ScanOptions options;
  options.predicates = {{{"id"}, deltalog::Comparison::kGreaterOrEqual, int64_t{10}}};
  options.columns = {"POS", "id"};
  Result<Scan> scan = table.scan(writer_->state(), options);
  ASSERT_OK(scan);
  EXPECT_EQ(scan->files.size(), 1U);
  EXPECT_EQ(scan->files_skipped, 1U);
  EXPECT_EQ(rows_of(scan->sql + " LIMIT 1"), "{'x': 5.0}|10");
  options.columns = {"nope"};
  EXPECT_EQ(table.scan(writer_->state(), options).status().code(), Code::kNotFound);
}

TEST_F(TableWriterTest, OneOfTwoWritersWins) {
  create();
  EXPECT_EQ(TableWriter::create(*directory_, *engine_, new_table(), {}, kNow, {}).status().code(),
            Code::kExists);
  Result<std::unique_ptr<TableWriter>> other = TableWriter::open(*directory_, *engine_, {});
  ASSERT_OK(other);
  commit({data_file("a.parquet", 0, 10)});
  Result<CommitOutcome> lost = (*other)->commit(1, {data_file("b.parquet", 10, 20)}, kNow);
  ASSERT_OK(lost);
  EXPECT_FALSE(lost->committed);
  EXPECT_EQ(lost->version, 1);
  EXPECT_EQ((*other)->state().files().size(), 1U);
  Result<CommitOutcome> won = (*other)->commit(2, {data_file("c.parquet", 20, 30)}, kNow);
  ASSERT_OK(won);
  EXPECT_TRUE(won->committed);
  lost = writer_->commit(2, {}, kNow);
  ASSERT_OK(lost);
  EXPECT_FALSE(lost->committed);
  EXPECT_EQ(writer_->next_version(), 3);
  EXPECT_EQ(ids(), "20|290");
}

TEST_F(TableWriterTest, PublishingAgainAfterACrashIsTheSameCommit) {
  create();
  AddFile file = data_file("a.parquet", 0, 10);
  Result<std::string> text = writer_->prepare({file}, kNow);
  ASSERT_OK(text);
  ASSERT_TRUE(writer_->publish(1, *text)->committed);
  // A writer that does not remember.
  Result<std::unique_ptr<TableWriter>> again = TableWriter::open(*directory_, *engine_, {});
  ASSERT_OK(again);
  Result<CommitOutcome> outcome = (*again)->publish(1, *text);
  ASSERT_OK(outcome);
  EXPECT_TRUE(outcome->committed);
  EXPECT_FALSE((*again)->publish(1, *text + "\n")->committed);
  EXPECT_EQ((*again)->publish(3, *text).status().code(), Code::kInvalid);
}

TEST_F(TableWriterTest, RulesAreKept) {
  create();
  AddFile file = data_file("a.parquet", 0, 10);
  commit({file});
  AddFile other = file;
  other.path = "never-added.parquet";
  EXPECT_EQ(writer_->commit(2, {deltalog::remove_of(other, kNow, true)}, kNow).status().code(),
            Code::kInvalid);
  EXPECT_EQ(writer_->commit(2, {other, other}, kNow).status().code(), Code::kInvalid);
  EXPECT_EQ(writer_->next_version(), 2);
}

TEST_F(TableWriterTest, TimesRiseAndAreTravelledTo) {
  create();
  // The clock goes back; a whole cut shares one later time.
  for (int64_t now : {kNow + 1000, kNow + 500, kNow + 5000}) commit({}, now);
  deltalog::CommitInfo info;
  info.in_commit_timestamp = kNow + 9000;
  commit({info}, kNow);
  EXPECT_EQ(writer_->state().in_commit_timestamp(), kNow + 9000);
  Table table(*directory_, *engine_);
  EXPECT_EQ(table.version_at(kNow - 1).status().code(), Code::kOutOfRange);
  EXPECT_EQ(*table.version_at(kNow), 0);
  EXPECT_EQ(*table.version_at(kNow + 1000), 1);
  EXPECT_EQ(*table.version_at(kNow + 1001), 2);
  EXPECT_EQ(*table.version_at(kNow + 8999), 3);
  EXPECT_EQ(*table.version_at(kNow + 99999), 4);
}

TEST_F(TableWriterTest, TheLogIsCleanedBehindACheckpoint) {
  options_.checkpoint_interval = 4;
  create();
  for (int i = 1; i <= 12; ++i) {
    commit({data_file(fmt::format("{}.parquet", i), i, i + 1)}, kNow + i * kHour);
    if (writer_->checkpoint_due()) ASSERT_OK(writer_->checkpoint(kNow + i * kHour));
  }
  std::string before = ids();
  // 24 hours after version 9: the checkpoint of version 7 must stay.
  Result<size_t> removed = writer_->clean_log(kNow + (9 + 24) * kHour);
  ASSERT_OK(removed);
  Result<std::vector<TableDirectory::Entry>> log = list_log(*directory_);
  ASSERT_OK(log);
  std::vector<std::string> names;
  for (const TableDirectory::Entry& entry : *log) names.push_back(entry.name);
  deltalog::LogListing listing(names);
  EXPECT_EQ(listing.checkpoint_versions().front(), 7);
  EXPECT_EQ(listing.commit_versions().front(), 7);
  EXPECT_EQ(ids(), before);
  EXPECT_EQ(ids(9), "9|45");
  EXPECT_EQ(*writer_->clean_log(kNow + (9 + 24) * kHour), 0U);
  // Damage the newest checkpoint: an older one and the commits behind it give the same.
  std::string newest = deltalog::checkpoint_name(listing.checkpoint_versions().back());
  ASSERT_OK(directory_->put("_delta_log/" + newest, as_bytes("PAR1 torn")));
  ASSERT_OK(directory_->put("_delta_log/_last_checkpoint", as_bytes("{\"version\":99")));
  EXPECT_EQ(ids(), before);
}

TEST_F(TableWriterTest, VacuumTakesOnlyWhatNobodyNeeds) {
  create();
  AddFile kept = data_file("kept.parquet", 0, 10);
  AddFile old = data_file("old.parquet", 10, 20);
  AddFile young = data_file("young.parquet", 20, 30);
  data_file("orphan.parquet", 30, 40);
  commit({kept, old, young});
  int64_t now = int64_t{time(nullptr)} * 1000 + 48 * kHour;
  commit({deltalog::remove_of(old, now - 25 * kHour, true),
          deltalog::remove_of(young, now - 23 * kHour, true)});
  TableWriter::VacuumOptions options;
  options.dry_run = true;
  Result<TableWriter::Vacuumed> vacuumed = writer_->vacuum(now, options);
  ASSERT_OK(vacuumed);
  EXPECT_EQ(vacuumed->files, (std::vector<std::string>{"old.parquet", "orphan.parquet"}));
  EXPECT_TRUE(env::exists(root_ + "/old.parquet"));
  options.dry_run = false;
  options.in_use = [](const std::string& name) { return name == "orphan.parquet"; };
  ASSERT_OK(writer_->vacuum(now, options));
  EXPECT_FALSE(env::exists(root_ + "/old.parquet"));
  EXPECT_TRUE(env::exists(root_ + "/orphan.parquet"));
  EXPECT_TRUE(env::exists(root_ + "/young.parquet"));
  EXPECT_TRUE(env::exists(root_ + "/_delta_log/00000000000000000000.json"));
  // Files of today are nobody's orphans yet: a writer may be about to name them.
  options.in_use = nullptr;
  EXPECT_TRUE(writer_->vacuum(int64_t{time(nullptr)} * 1000, options)->files.empty());
  EXPECT_EQ(ids(), "10|45");
}

TEST_F(TableWriterTest, AnObjectStoreHoldsATableToo) {
  ASSERT_OK(env::make_directories(scratch_ + "/store"));
  Result<std::unique_ptr<objectstore::ObjectStore>> store =
      objectstore::open("file://" + scratch_ + "/store");
  ASSERT_OK(store);
  directory_ = store_directory(**store, "lake/main/t", scratch_ + "/cache");
  root_ = scratch_ + "/made";
  create();
  AddFile file = data_file("a.parquet", 0, 10);
  ASSERT_OK((*store)->put_file("lake/main/t/a.parquet", root_ + "/a.parquet"));
  commit({file});
  ASSERT_OK(writer_->checkpoint(kNow));
  EXPECT_EQ(ids(), "10|45");
  expect_replay_is_state();
  EXPECT_TRUE(*(*store)->exists("lake/main/t/_delta_log/_last_checkpoint"));
}

TEST_F(TableWriterTest, ACommitCostsLittle) {
  create();
  std::vector<Action> files;
  for (int i = 0; i < 10'000; ++i) {
    AddFile add;
    add.path = fmt::format("part-{:06}-0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f.parquet", i);
    add.size = 1;
    add.stats =
        R"({"numRecords":100,"tightBounds":true,"minValues":{"id":1},"maxValues":{"id":2}})";
    files.emplace_back(add);
  }
  commit(files);
  // Ours, not the kernel's for the file system.
  auto cpu_us = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec * 1'000'000L + usage.ru_utime.tv_usec;
  };
  constexpr int kCommits = 200;
  long begin = cpu_us();
  for (int i = 0; i < kCommits; ++i) {
    AddFile add = std::get<AddFile>(files[0]);
    add.path = fmt::format("new-{}.parquet", i);
    commit({add, deltalog::remove_of(std::get<AddFile>(files[static_cast<size_t>(i)]), kNow, true),
            deltalog::Transaction{"main", i, {}}});
  }
  long per_commit = (cpu_us() - begin) / kCommits;
  begin = cpu_us();
  ASSERT_OK(writer_->checkpoint(kNow));
  long checkpoint = cpu_us() - begin;
  begin = cpu_us();
  expect_replay_is_state();
  long replay = cpu_us() - begin;
  std::printf("10,000 files: %ld us CPU a commit, checkpoint %ld ms, replay from it %ld ms\n",
              per_commit, checkpoint / 1000, replay / 1000);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(per_commit, 1000);  // sanitizers take their own time
#endif
}

TEST_F(TableWriterTest, TablesOfOthersAreRefusedIfTheyAskTooMuch) {
  create();
  deltalog::Metadata metadata = writer_->state().metadata();
  metadata.configuration["delta.constraints.c"] = "id > 0";
  commit({metadata});
  EXPECT_EQ(TableWriter::open(*directory_, *engine_, {}).status().code(), Code::kInvalid);
}

}  // namespace
}  // namespace tide::delta
