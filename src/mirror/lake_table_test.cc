#include "mirror/lake_table.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "mirror/internal/data_directory.h"

namespace tide::mirror {
namespace {

using pgformat::TupleId;

constexpr RelFork kFile{1663, 5, 20'000, Fork::kMain};
constexpr uint32_t kPartition = 200;

/// A table of one bigint whose rows are put in by hand, and what Delta's log says of its files.
class LakeTableTest : public testing::Test {
 protected:
  LakeTableTest() {
    CutState::Table state;
    state.database = 5;
    state.oid = 100;
    state.name = "t";
    state.columns = {{"a", "a", 1, 1, columns::Kind::kInt64, true, "bigint"}};
    state.publication = {"main/app/public/t", "id", 0, 1, false};
    table_ = std::make_unique<LakeTable>(state, next_segment_);
    table_->add_heap(kPartition, kFile);
  }

  HeapRows& rows() { return table_->heaps().at(kPartition).rows; }
  void insert(uint16_t offset) {
    rows().fresh().columns[0].append(static_cast<int64_t>(offset));
    rows().added(TupleId(0, offset));
  }
  /// What writing the cut does, without the writing.
  TableCut begin_cut() {
    TableCut cut = table_->begin_cut(false);
    cut.commit = "{}";
    for (TableCut::Heap& heap : cut.heaps) {
      if (heap.rows.live_rows() > 0) {
        LakeFile file;
        file.name = "part-" + std::to_string(next_file_++);
        file.rows = static_cast<uint32_t>(heap.rows.live_rows());
        heap.written = {file};
      }
      heap.vectors.resize(heap.rows.dirty_files.size());
    }
    return cut;
  }
  void finish(const TableCut& cut) {
    table_->finish_cut(cut);
    for (const LakeFile& file : cut.orphans) log_.erase(file.name);
    for (const TableCut::Heap& heap : cut.heaps) {
      for (const LakeFile& file : heap.written) log_.insert(file.name);
      for (const LakeFile& file : heap.rows.removed) log_.erase(file.name);
      for (const HeapCut::DirtyFile& file : heap.rows.dirty_files) {
        if (file.all_deleted()) log_.erase(file.file.name);
      }
    }
  }
  uint64_t live() { return table_->snapshot()->heaps.at(kPartition)->live_rows; }
  std::set<std::string> files() {
    std::set<std::string> names;
    for (const auto& file : rows().version()->files) names.insert(file.file.name);
    return names;
  }

  uint64_t next_segment_ = 1;
  int next_file_ = 0;
  std::unique_ptr<LakeTable> table_;
  std::set<std::string> log_;
};

TEST_F(LakeTableTest, AHeapThatLeavesTakesItsFilesAlong) {
  for (uint16_t i = 1; i <= 10; ++i) insert(i);
  finish(begin_cut());
  EXPECT_EQ(log_.size(), 1U);
  EXPECT_EQ(table_->publication().version, 1);
  table_->remove_heap(kPartition);
  EXPECT_TRUE(table_->is_dirty());
  finish(begin_cut());
  EXPECT_TRUE(log_.empty());
  EXPECT_FALSE(table_->is_dirty());
}

// DETACH PARTITION, ATTACH PARTITION: quicker than a cut is written.
TEST_F(LakeTableTest, AHeapThatCameBackDuringACutIsAnotherOne) {
  for (uint16_t i = 1; i <= 10; ++i) insert(i);
  TableCut cut = begin_cut();
  table_->remove_heap(kPartition);
  table_->add_heap(kPartition, kFile);
  for (uint16_t i = 1; i <= 12; ++i) insert(i);
  finish(cut);
  EXPECT_EQ(live(), 12U);
  EXPECT_TRUE(files().empty());
  for (uint16_t i = 1; i <= 12; ++i) {
    ASSERT_TRUE(rows().in_memory(TupleId(0, i)).has_value());
    EXPECT_TRUE(rows().remove(TupleId(0, i)).ok());
    insert(i);
  }
  finish(begin_cut());
  EXPECT_EQ(files(), log_);
  EXPECT_EQ(live(), 12U);

  // The same while the cut fails.
  rows().clear();
  insert(1);
  cut = begin_cut();
  table_->remove_heap(kPartition);
  table_->add_heap(kPartition, kFile);
  insert(2);
  table_->abandon_cut(cut);
  finish(begin_cut());
  EXPECT_EQ(files(), log_);
  EXPECT_EQ(live(), 1U);
}

}  // namespace
}  // namespace tide::mirror
