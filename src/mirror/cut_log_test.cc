#include "mirror/cut_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace tide::mirror {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> keys_of(const std::vector<CutLog::Commit>& commits) {
  std::vector<std::string> keys;
  for (const CutLog::Commit& commit : commits) keys.push_back(commit.key);
  return keys;
}

LakeFile file_of(const std::string& name, uint32_t rows = 10) {
  LakeFile file;
  file.name = name;
  file.size = rows * 7;
  file.rows = rows;
  file.modified_ms = 1'700'000'000'123;
  file.stats = R"({"numRecords":10,"minValues":{"a":"\"é"}})";
  return file;
}

deltalog::DeletionVectorDescriptor vector_of(const std::string& place, int64_t rows) {
  deltalog::DeletionVectorDescriptor vector;
  vector.path_or_inline = place;
  vector.offset = 1;
  vector.size_in_bytes = 34;
  vector.cardinality = rows;
  return vector;
}

/// A cut's dirty file with its first `deleted` rows gone.
HeapCut::DirtyFile dirty(const LakeFile& file, uint32_t deleted) {
  columns::RowSet rows;
  for (uint32_t row = 0; row < deleted; ++row) rows.add(row);
  return {1, file, std::make_shared<const columns::RowSet>(std::move(rows))};
}

std::vector<std::string> files_of(const CutState& state, uint32_t oid, uint32_t relation) {
  std::vector<std::string> names;
  for (const auto& [name, file] : state.tables.at({5, oid}).heaps.at(relation).files) {
    names.push_back(name);
  }
  return names;
}

/// Everything that a state says, to compare two.
std::string text_of(const std::optional<CutState>& state) {
  if (!state) return "none";
  std::string out = fmt::format("{} {} {} {}\n", state->number, state->lsn, state->restart_lsn,
                                state->timestamp_ms);
  for (const auto& [key, table] : state->tables) {
    const Publication& p = table.publication;
    out +=
        fmt::format("{}/{} {}.{} {} next {} used {} in {} {} {} {}\n", table.database, table.oid,
                    table.schema, table.name, table.kind, table.next_column_id,
                    fmt::join(table.used_names, ","), p.directory, p.id, p.version, p.created_ms);
    for (const LakeColumn& c : table.columns) {
      out += fmt::format(" {} {} {} {} {} {} {}\n", c.name, c.physical, c.id, c.number,
                         columns::to_string(c.type), c.nullable, c.pg_type);
    }
    for (const auto& [relation, heap] : table.heaps) {
      out += fmt::format(" heap {} {}\n", relation, heap.file);
      for (const auto& [name, f] : heap.files) {
        out += fmt::format("  {} {} {} {} {} {}", name, f.size, f.rows, f.modified_ms, f.stats,
                           f.deletion_vector.has_value());
        if (f.deletion_vector) {
          out +=
              fmt::format(" {}{} {} {} {}", f.deletion_vector->storage_type,
                          f.deletion_vector->path_or_inline, f.deletion_vector->offset.value_or(-1),
                          f.deletion_vector->size_in_bytes, f.deletion_vector->cardinality);
        }
        out += "\n";
      }
    }
  }
  return out;
}

class CutLogTest : public testing::Test {
 protected:
  CutLogTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tide-cuts-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    store_ = objectstore::open("file://" + root_).value();
  }
  ~CutLogTest() override { std::filesystem::remove_all(root_); }

  Result<std::unique_ptr<CutLog>> reopen() { return CutLog::open(*store_, "lake/_mirror/t1"); }
  /// The log as somebody who just starts sees it.
  std::unique_ptr<CutLog> log() {
    auto opened = reopen();
    EXPECT_TRUE(opened.ok()) << opened.status().to_string();
    return opened.ok() ? std::move(opened).value() : nullptr;
  }
  std::string key(uint64_t number, const char* kind = "cut") {
    return fmt::format("lake/_mirror/t1/{:016x}.{}", number, kind);
  }
  std::vector<std::string> objects() {
    std::vector<std::string> names;
    for (const auto& object : store_->list("lake/_mirror/t1/").value()) {
      names.push_back(object.key.substr(std::string("lake/_mirror/t1/").size()));
    }
    return names;
  }

  static Cut cut_of(uint64_t number) {
    Cut cut;
    cut.number = number;
    cut.lsn = Lsn(0x1'0000'0000 + number * 1000);
    cut.restart_lsn = Lsn(number * 1000 - 8);
    cut.timestamp_ms = static_cast<int64_t>(1'700'000'000'000 + number);
    return cut;
  }
  static TableCut table_of(uint32_t oid, int64_t version) {
    TableCut table;
    table.database = 5;
    table.oid = oid;
    table.schema = "öffentlich";
    table.name = "table \"one\"";
    table.kind = 'p';
    LakeColumn a{"a", "a", 1, 1, columns::Type::decimal(10, 2), false, "numeric(10,2)"};
    LakeColumn b{"B", "b_2", 3, 4, columns::Type::list(columns::Kind::kString), true, "text[]"};
    LakeColumn c{
        "c",  "c", 4, 5, columns::Type::structure({{"x", columns::Kind::kTimestampNtz, true}}),
        true, "s"};
    table.columns = {a, b, c};
    table.next_column_id = 5;
    table.used_names = {"a", "b", "b_2", "c"};
    table.publication = {"main/app/public/one", "0a-id", version, 1'600'000'000'000, false};
    table.commit = fmt::format("{{\"add\":\"of version {}\"}}\n", version + 1);
    TableCut::Heap heap;
    heap.relation = oid;
    heap.file = {1663, 5, oid + 1, Fork::kMain};
    table.heaps.push_back(std::move(heap));
    return table;
  }

  std::string root_;
  std::unique_ptr<objectstore::ObjectStore> store_;
};

TEST_F(CutLogTest, AnEmptyLogHasNoState) {
  auto log = this->log();
  EXPECT_FALSE(log->state().has_value());
  EXPECT_THAT(log->unpublished(), IsEmpty());
}

TEST_F(CutLogTest, WhatCutsDoToFilesIsReadBack) {
  auto log = this->log();
  // 1: two files, in two heaps.
  Cut cut = cut_of(1);
  cut.tables.push_back(table_of(100, -1));
  cut.tables[0].heaps[0].written = {file_of("one"), file_of("two"), file_of("three")};
  cut.tables[0].heaps.push_back(cut.tables[0].heaps[0]);
  cut.tables[0].heaps[1].relation = 101;
  cut.tables[0].heaps[1].written = {file_of("other", 20), file_of("small", 2)};
  ASSERT_TRUE(log->append(cut).ok());
  EXPECT_THAT(files_of(*log->state(), 100, 100), ElementsAre("one", "three", "two"));
  EXPECT_EQ(text_of(this->log()->state()), text_of(log->state()));
  EXPECT_EQ(log->state()->tables.at({5, 100}).publication.version, 0);

  // 2: a vector, a file that is gone row by row, one that is dropped, a merge into one.
  cut = cut_of(2);
  cut.tables.push_back(table_of(100, 0));
  TableCut::Heap& heap = cut.tables[0].heaps[0];
  heap.rows.dirty_files = {dirty(file_of("one"), 3), dirty(file_of("two"), 10)};
  heap.vectors = {vector_of("v", 3), {}};
  heap.rows.removed = {file_of("three")};
  heap.written = {file_of("four")};
  cut.tables[0].heaps.push_back(table_of(100, 0).heaps[0]);
  cut.tables[0].heaps[1].relation = 101;
  cut.tables[0].heaps[1].merge.dirty_files = {dirty(file_of("other", 20), 0),
                                              dirty(file_of("small", 2), 1)};
  cut.tables[0].heaps[1].merged = file_of("merged", 21);
  ASSERT_TRUE(log->append(cut).ok());
  EXPECT_THAT(files_of(*log->state(), 100, 100), ElementsAre("four", "one"));
  EXPECT_THAT(files_of(*log->state(), 100, 101), ElementsAre("merged"));
  EXPECT_EQ(log->state()->tables.at({5, 100}).heaps.at(100).files.at("one").deletion_vector,
            vector_of("v", 3));
  EXPECT_EQ(text_of(this->log()->state()), text_of(log->state()));

  // 3: a heap that the cut does not name has left the table; another one has nothing new.
  cut = cut_of(3);
  cut.tables.push_back(table_of(100, 1));
  cut.tables[0].commit.clear();
  ASSERT_TRUE(log->append(cut).ok());
  EXPECT_EQ(log->state()->tables.at({5, 100}).heaps.size(), 1U);
  EXPECT_THAT(files_of(*log->state(), 100, 100), ElementsAre("four", "one"));
  EXPECT_EQ(log->state()->tables.at({5, 100}).publication.version, 1);
  EXPECT_EQ(text_of(this->log()->state()), text_of(log->state()));

  // 4: a cut of other tables leaves it as it is; 5: it is dropped.
  cut = cut_of(4);
  cut.tables.push_back(table_of(200, -1));
  ASSERT_TRUE(log->append(cut).ok());
  EXPECT_THAT(files_of(*log->state(), 100, 100), ElementsAre("four", "one"));
  cut = cut_of(5);
  cut.tables.push_back(table_of(100, 1));
  cut.tables[0].dropped = true;
  ASSERT_TRUE(log->append(cut).ok());
  EXPECT_FALSE(log->state()->tables.contains({5, 100}));
  EXPECT_TRUE(log->state()->tables.contains({5, 200}));
  auto again = this->log();
  EXPECT_EQ(text_of(again->state()), text_of(log->state()));
  EXPECT_EQ(again->state()->lsn, cut.lsn);
  EXPECT_EQ(again->state()->restart_lsn, cut.restart_lsn);
  EXPECT_THAT(keys_of(again->unpublished()),
              ElementsAre("main/app/public/one/_delta_log/00000000000000000002.json"));
}

TEST_F(CutLogTest, CommitsOfTheNewestCutAreHandedOutAfterARestart) {
  auto log = this->log();
  Cut cut = cut_of(1);
  cut.tables = {table_of(100, -1), table_of(200, 6), table_of(300, 3)};
  cut.tables[1].publication.directory = "main/app/public/two";
  cut.tables[2].commit.clear();
  ASSERT_TRUE(log->append(cut).ok());
  EXPECT_THAT(log->unpublished(), IsEmpty());  // whoever appends publishes
  auto again = this->log();
  EXPECT_THAT(keys_of(again->unpublished()),
              ElementsAre("main/app/public/one/_delta_log/00000000000000000000.json",
                          "main/app/public/two/_delta_log/00000000000000000007.json"));
  EXPECT_EQ(again->unpublished()[1].bytes, cut.tables[1].commit);
  // A cut comes only after the one before was published.
  ASSERT_TRUE(log->append(cut_of(2)).ok());
  EXPECT_THAT(this->log()->unpublished(), IsEmpty());
}

TEST_F(CutLogTest, AStateEvery64CutsTakesThePlaceOfWhatIsBefore) {
  auto log = this->log();
  std::string expected;
  for (uint64_t number = 1; number <= 200; ++number) {
    Cut cut = cut_of(number);
    cut.tables.push_back(table_of(100, static_cast<int64_t>(number) - 2));
    cut.tables[0].heaps[0].written = {file_of(fmt::format("f{:03}", number))};
    if (number > 3) {
      cut.tables[0].heaps[0].rows.removed = {file_of(fmt::format("f{:03}", number - 3))};
    }
    ASSERT_TRUE(log->append(cut).ok());
    if (number % 64 <= 1 || number == 100) {
      // The cut that a state is of stays: it may be published only in part.
      auto again = this->log();
      EXPECT_EQ(text_of(again->state()), text_of(log->state())) << number;
      EXPECT_THAT(
          keys_of(again->unpublished()),
          ElementsAre(fmt::format("main/app/public/one/_delta_log/{:020}.json", number - 1)));
    }
    if (number == 63) {
      EXPECT_EQ(objects().size(), 63U);
    }
    if (number == 64 || number == 128) {
      EXPECT_THAT(objects(), ElementsAre(fmt::format("{:016x}.cut", number),
                                         fmt::format("{:016x}.state", number)));
    }
    // Somebody else's turn now and then.
    if (number == 90) log = this->log();
  }
  EXPECT_THAT(files_of(*this->log()->state(), 100, 100), ElementsAre("f198", "f199", "f200"));
  EXPECT_EQ(objects().size(), 1U + 200 - 192 + 1);
}

TEST_F(CutLogTest, LeftoversBelowTheNewestStateDoNotMatter) {
  auto log = this->log();
  std::string old_cut;
  for (uint64_t number = 1; number <= 130; ++number) {
    ASSERT_TRUE(log->append(cut_of(number)).ok());
    if (number == 70) old_cut = store_->get(key(70)).value();
  }
  // A crash between writing a state and taking away what is before.
  ASSERT_TRUE(store_->put(key(70), as_bytes(old_cut)).ok());
  ASSERT_TRUE(store_->put(key(64, "state"), as_bytes("torn")).ok());
  EXPECT_EQ(text_of(this->log()->state()), text_of(log->state()));
}

TEST_F(CutLogTest, TheSameCutTwiceIsOneCut) {
  auto log = this->log();
  Cut cut = cut_of(1);
  cut.tables.push_back(table_of(100, -1));
  cut.tables[0].heaps[0].written = {file_of("one"), file_of("two")};
  ASSERT_TRUE(log->append(cut).ok());
  std::string once = text_of(log->state());
  ASSERT_TRUE(log->append(cut).ok());  // the first answer was lost
  EXPECT_EQ(text_of(log->state()), once);
  EXPECT_EQ(text_of(this->log()->state()), once);
}

TEST_F(CutLogTest, AnotherMirrorsCutIsAConflict) {
  auto ours = log();
  auto theirs = log();
  ASSERT_TRUE(theirs->append(cut_of(1)).ok());
  Cut cut = cut_of(1);
  cut.lsn = Lsn(77);
  Status appended = ours->append(cut);
  EXPECT_EQ(appended.code(), Code::kConflict) << appended.to_string();
  EXPECT_FALSE(ours->state().has_value());
  EXPECT_EQ(log()->state()->lsn, cut_of(1).lsn);
}

TEST_F(CutLogTest, ANameThatIsNoUtf8IsAnError) {
  auto log = this->log();
  Cut cut = cut_of(1);
  cut.tables.push_back(table_of(100, -1));
  cut.tables[0].name = "caf\xE9";
  EXPECT_EQ(log->append(cut).code(), Code::kInvalid);
  EXPECT_FALSE(log->state().has_value());
  EXPECT_TRUE(objects().empty());
}

TEST_F(CutLogTest, DamageIsFound) {
  auto log = this->log();
  for (uint64_t number = 1; number <= 66; ++number) {
    Cut cut = cut_of(number);
    cut.tables.push_back(table_of(100, static_cast<int64_t>(number) - 2));
    cut.tables[0].heaps[0].written = {file_of(fmt::format("f{:03}", number))};
    ASSERT_TRUE(log->append(cut).ok());
  }
  for (const std::string& object : {key(66), key(65), key(64), key(64, "state")}) {
    std::string whole = store_->get(object).value();
    auto damaged = [&](const std::string& bytes) {
      EXPECT_TRUE(store_->put(object, as_bytes(bytes)).ok());
      return reopen().status().code();
    };
    for (size_t size = 0; size < whole.size(); size += 1 + whole.size() / 9) {
      EXPECT_EQ(damaged(whole.substr(0, size)), Code::kCorrupt) << object << " torn at " << size;
    }
    EXPECT_EQ(damaged(whole.substr(0, whole.size() - 1)), Code::kCorrupt);
    EXPECT_EQ(damaged(whole + whole), Code::kCorrupt);
    for (size_t at = 0; at < whole.size(); at += at < 40 ? 1 : 1 + whole.size() / 17) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ 0x20);
      EXPECT_EQ(damaged(bytes), Code::kCorrupt) << object << " with another byte at " << at;
    }
    std::string bytes = whole;
    bytes.back() = ' ';
    EXPECT_EQ(damaged(bytes), Code::kCorrupt) << object << " with another end";
    ASSERT_TRUE(store_->put(object, as_bytes(whole)).ok());
  }
  EXPECT_TRUE(reopen().ok());
  std::string whole = store_->get(key(65)).value();
  ASSERT_TRUE(store_->remove(key(65)).ok());
  EXPECT_EQ(reopen().status().code(), Code::kCorrupt);
  ASSERT_TRUE(store_->put(key(65), as_bytes(whole)).ok());
  ASSERT_TRUE(reopen().ok());
  // A whole frame around something else.
  std::string other = store_->get(key(66)).value();
  ASSERT_TRUE(store_->put(key(66), as_bytes(store_->get(key(64, "state")).value())).ok());
  EXPECT_EQ(reopen().status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace tide::mirror
