#include "mirror/heap_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace tide::mirror {
namespace {

using columns::Batch;
using columns::Field;
using columns::Kind;
using columns::RowSet;
using pgformat::TupleId;

/// A row by the names of its columns; nulls are left out, as a file without the column reads null.
using Row = std::map<std::string, std::string>;
/// By TupleId::value.
using Rows = std::map<uint64_t, Row>;

std::string text_of(const columns::Column& column, size_t row) {
  return column.type().kind == Kind::kString ? std::string(column.bytes_at(row))
                                             : std::to_string(column.value<int64_t>(row));
}

Row row_of(const std::vector<Field>& fields, const Batch& batch, size_t row) {
  Row out;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (!batch.columns[i].is_null(row)) out[fields[i].name] = text_of(batch.columns[i], row);
  }
  return out;
}

TupleId id_of(const Batch& batch, size_t row) {
  return TupleId(static_cast<uint64_t>(batch.columns.back().value<int64_t>(row)));
}

/// Columns that are not among `fields` are no part of the table any more.
Row only(const std::vector<Field>& fields, const Row& row) {
  Row out;
  for (const Field& field : fields) {
    if (auto value = row.find(field.name); value != row.end()) out.insert(*value);
  }
  return out;
}

struct StoredFile {
  std::vector<std::pair<TupleId, Row>> rows;
};

/// The heap, the model it is compared with, and the part that the cutter, the object store and
/// Delta's log play.
class Lake {
 public:
  explicit Lake(uint32_t seed) : random_(seed) {
    fields_ = {new_field(), new_field()};
    last_fields_ = fields_;
    heap_ = std::make_unique<HeapRows>(fields_, next_segment_);
  }

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) step();
    if (cut_) end_cut(true);
    begin_cut();
    end_cut(true);
    check_version();
    for (const Snapshot& snapshot : snapshots_)
      check(*snapshot.version, snapshot.fields, snapshot.rows);
  }

  size_t merges = 0, written = 0, removed = 0, vectors = 0, restarts = 0;

 private:
  struct Snapshot {
    std::shared_ptr<const HeapVersion> version;
    std::vector<Field> fields;
    Rows rows;
  };
  /// A file in Delta's log.
  struct Published {
    std::optional<deltalog::DeletionVectorDescriptor> vector;
    RowSet deleted;
  };
  struct CutInWork {
    HeapCut merge;
    HeapCut rows;
    std::vector<Field> fields;
    Rows model;
  };

  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

  Field new_field() {
    return {"c" + std::to_string(next_column_++), below(2) == 0 ? Kind::kInt64 : Kind::kString,
            true};
  }

  void step() {
    switch (below(60)) {
      case 0:
        return below(6) == 0 ? clear() : reshape();
      case 1:
      case 2:
        return check_version();
      case 3:
        snapshots_.push_back({heap_->version(), fields_, model_});
        if (snapshots_.size() > 20) {
          size_t oldest = below(static_cast<uint32_t>(snapshots_.size()));
          check(*snapshots_[oldest].version, snapshots_[oldest].fields, snapshots_[oldest].rows);
          snapshots_.erase(snapshots_.begin() + static_cast<std::ptrdiff_t>(oldest));
        }
        return;
      case 4:
      case 5:
      case 6:
      case 7:
        return cut_ ? end_cut(below(5) != 0) : begin_cut();
      case 8:
        return check_absent();
      case 9:
        return below(4) == 0 && !cut_ ? restart() : check_version();
      default: {
        uint32_t count = 1 + below(20);
        for (uint32_t i = 0; i < count; ++i) below(5) < 3 ? insert() : remove();
      }
    }
  }

  void insert() {
    TupleId id(below(40), static_cast<uint16_t>(1 + below(12)));
    if (model_.contains(id.value)) return update(id);
    append(id);
  }
  void update(TupleId old) {
    ASSERT_TRUE(heap_->remove(old).ok());
    model_.erase(old.value);
    append(old);
  }
  void append(TupleId id) {
    Row row;
    Batch& fresh = heap_->fresh();
    for (size_t i = 0; i < fields_.size(); ++i) {
      if (below(5) == 0) {
        fresh.columns[i].append_null();
      } else if (fields_[i].type.kind == Kind::kString) {
        std::string value(below(30), static_cast<char>('a' + below(26)));
        fresh.columns[i].append_bytes(value);
        row[fields_[i].name] = value;
      } else {
        auto value = static_cast<int64_t>(random_());
        fresh.columns[i].append(value);
        row[fields_[i].name] = std::to_string(value);
      }
    }
    heap_->added(id);
    model_[id.value] = row;
  }
  void remove() {
    if (model_.empty()) return;
    auto row = model_.lower_bound(TupleId(below(40), static_cast<uint16_t>(below(13))).value);
    if (row == model_.end()) row = model_.begin();
    Status done = heap_->remove(TupleId(row->first));
    ASSERT_TRUE(done.ok()) << done.to_string();
    model_.erase(row);
  }
  /// A row that is not there cannot be taken out, nor found.
  void check_absent() {
    TupleId id(below(42), static_cast<uint16_t>(1 + below(14)));
    if (model_.contains(id.value)) return;
    EXPECT_EQ(heap_->remove(id).code(), Code::kBug);
    EXPECT_FALSE(heap_->in_memory(id).has_value());
  }
  void clear() {
    heap_->clear();
    model_.clear();
  }
  void reshape() {
    std::vector<Field> fields;
    std::vector<int> from;
    for (size_t i = 0; i < fields_.size(); ++i) {
      if (below(4) == 0) continue;
      fields.push_back(fields_[i]);
      from.push_back(static_cast<int>(i));
    }
    if (fields.empty() || below(2) == 0) {
      fields.push_back(new_field());
      from.push_back(-1);
    }
    heap_->reshape(fields, from);
    fields_ = fields;
    for (auto& [id, row] : model_) row = only(fields_, row);
  }

  void check_version() {
    check(*heap_->version(), fields_, model_);
    EXPECT_EQ(heap_->live_rows(), model_.size());
    EXPECT_EQ(heap_->version(), heap_->version());
    for (const auto& [id, row] : model_) {
      auto place = heap_->in_memory(TupleId(id));
      if (place) {
        EXPECT_EQ(row_of(fields_, *place->rows, place->row), row);
      }
    }
  }
  void check(const HeapVersion& version, const std::vector<Field>& fields, const Rows& wanted) {
    Rows found;
    auto enter = [&](TupleId id, const Row& row) {
      EXPECT_TRUE(found.emplace(id.value, row).second)
          << id.block() << "," << id.offset() << " twice";
    };
    for (const HeapVersion::File& file : version.files) {
      const StoredFile& stored = store_.at(file.file.name);
      ASSERT_EQ(stored.rows.size(), file.file.rows);
      for (uint32_t row = 0; row < file.file.rows; ++row) {
        if (file.deleted != nullptr && file.deleted->contains(row)) continue;
        enter(stored.rows[row].first, only(fields, stored.rows[row].second));
      }
    }
    for (const HeapVersion::Segment& segment : version.segments) {
      ASSERT_EQ(segment.rows->columns.size(), fields.size() + 1);
      for (uint32_t row = 0; row < segment.rows->rows(); ++row) {
        if (segment.deleted != nullptr && segment.deleted->contains(row)) continue;
        enter(id_of(*segment.rows, row), row_of(fields, *segment.rows, row));
      }
      // One id, one content, for ever: readers keep segments by it.
      auto [known, is_new] = segments_.try_emplace(segment.id, columns::encode(*segment.rows));
      EXPECT_EQ(known->second, columns::encode(*segment.rows));
    }
    EXPECT_EQ(found, wanted);
    EXPECT_EQ(version.live_rows, wanted.size());
  }

  void begin_cut() {
    cut_.emplace();
    cut_->fields = fields_;
    cut_->model = model_;
    if (below(3) != 0) cut_->merge = heap_->begin_merge();
    cut_->rows = heap_->begin_cut();
    uint64_t live = 0;
    for (const HeapCut::Segment& segment : cut_->rows.segments) {
      live += segment.rows->rows() - (segment.deleted != nullptr ? segment.deleted->size() : 0);
    }
    EXPECT_EQ(cut_->rows.live_rows(), live);
  }

  LakeFile write(std::vector<std::pair<TupleId, Row>> rows) {
    LakeFile file;
    file.name = "part-" + std::to_string(store_.size());
    file.rows = static_cast<uint32_t>(rows.size());
    file.size = 100 + rows.size();
    store_[file.name] = {std::move(rows)};
    return file;
  }

  void publish(const LakeFile& file) {
    EXPECT_TRUE(log_.emplace(file.name, Published{}).second) << file.name << " added twice";
  }
  /// A remove must name the file with the vector that is live.
  void unpublish(const LakeFile& file) {
    auto found = log_.find(file.name);
    ASSERT_NE(found, log_.end()) << file.name << " is not in the log";
    EXPECT_EQ(found->second.vector, file.deletion_vector) << file.name;
    log_.erase(found);
    ++removed;
  }

  void end_cut(bool succeeds) {
    CutInWork cut = *std::exchange(cut_, std::nullopt);
    // The files are written, whether the cut succeeds or not.
    std::vector<LakeFile> files;
    std::vector<std::pair<TupleId, Row>> rows;
    for (const HeapCut::Segment& segment : cut.rows.segments) {
      for (uint32_t row = 0; row < segment.rows->rows(); ++row) {
        if (segment.deleted != nullptr && segment.deleted->contains(row)) continue;
        rows.emplace_back(id_of(*segment.rows, row), row_of(cut.fields, *segment.rows, row));
        if (below(60) == 0) files.push_back(write(std::exchange(rows, {})));
      }
    }
    if (!rows.empty()) files.push_back(write(std::move(rows)));
    std::vector<deltalog::DeletionVectorDescriptor> vectors;
    for (const HeapCut::DirtyFile& dirty : cut.rows.dirty_files) {
      deltalog::DeletionVectorDescriptor vector;
      vector.path_or_inline = "vector-" + std::to_string(next_vector_++);
      vector.cardinality = static_cast<int64_t>(dirty.deleted->size());
      vectors.push_back(vector);
    }
    std::optional<LakeFile> merged;
    std::vector<int64_t> merged_ids;
    for (const HeapCut::DirtyFile& old : cut.merge.dirty_files) {
      const StoredFile& stored = store_.at(old.file.name);
      for (uint32_t row = 0; row < old.file.rows; ++row) {
        if (old.deleted != nullptr && old.deleted->contains(row)) continue;
        rows.emplace_back(stored.rows[row].first, only(cut.fields, stored.rows[row].second));
        merged_ids.push_back(static_cast<int64_t>(stored.rows[row].first.value));
      }
    }
    if (!rows.empty()) merged = write(std::move(rows));
    if (!succeeds) {
      heap_->abandon_cut(cut.rows);
      heap_->abandon_cut(cut.merge);
      EXPECT_TRUE(heap_->is_dirty());
      return;
    }
    for (const LakeFile& file : files) publish(file);
    for (const HeapCut::DirtyFile& old : cut.merge.dirty_files) unpublish(old.file);
    if (merged) publish(*merged);
    for (size_t i = 0; i < cut.rows.dirty_files.size(); ++i) {
      const HeapCut::DirtyFile& dirty = cut.rows.dirty_files[i];
      unpublish(dirty.file);
      if (!dirty.all_deleted()) log_[dirty.file.name] = {vectors[i], *dirty.deleted};
    }
    for (const LakeFile& file : cut.rows.removed) unpublish(file);
    written += files.size();
    this->vectors += vectors_of(cut.rows);
    merges += cut.merge.dirty_files.empty() ? 0 : 1;
    heap_->finish_cut(cut.rows, files, vectors);
    if (!cut.merge.dirty_files.empty()) heap_->finish_merge(cut.merge, merged, merged_ids);
    check_log(cut);
    last_cut_ = cut.model;
    last_fields_ = cut.fields;
    if (model_ != cut.model) {
      EXPECT_TRUE(heap_->is_dirty());
    }
  }
  static size_t vectors_of(const HeapCut& cut) {
    return static_cast<size_t>(
        std::count_if(cut.dirty_files.begin(), cut.dirty_files.end(),
                      [](const HeapCut::DirtyFile& dirty) { return !dirty.all_deleted(); }));
  }
  /// What Delta's readers see is the table as of the cut.
  void check_log(const CutInWork& cut) {
    Rows found;
    for (const auto& [name, file] : log_) {
      const StoredFile& stored = store_.at(name);
      for (uint32_t row = 0; row < stored.rows.size(); ++row) {
        if (file.deleted.contains(row)) continue;
        EXPECT_TRUE(
            found.emplace(stored.rows[row].first.value, only(cut.fields, stored.rows[row].second))
                .second);
      }
    }
    EXPECT_EQ(found, cut.model);
  }

  /// The mirror comes back as the last cut left it, and follows the WAL from there.
  void restart() {
    ++restarts;
    heap_ = std::make_unique<HeapRows>(last_fields_, next_segment_);
    fields_ = last_fields_;
    model_ = last_cut_;
    for (const auto& [name, published] : log_) {
      const StoredFile& stored = store_.at(name);
      LakeFile file;
      file.name = name;
      file.rows = static_cast<uint32_t>(stored.rows.size());
      file.size = 100 + stored.rows.size();
      file.deletion_vector = published.vector;
      std::vector<int64_t> ids;
      for (const auto& [id, row] : stored.rows) ids.push_back(static_cast<int64_t>(id.value));
      heap_->load_file(file, ids, published.deleted);
    }
    EXPECT_FALSE(heap_->is_dirty());
    check_version();
  }

  std::mt19937 random_;
  uint64_t next_segment_ = 1;
  int next_column_ = 0;
  int next_vector_ = 0;
  std::vector<Field> fields_;
  std::unique_ptr<HeapRows> heap_;
  Rows model_;
  std::vector<Field> last_fields_;
  Rows last_cut_;
  std::optional<CutInWork> cut_;
  std::map<std::string, StoredFile> store_;
  std::map<std::string, Published> log_;
  std::vector<Snapshot> snapshots_;
  std::map<uint64_t, std::string> segments_;
};

TEST(HeapRows, AgreesWithAMapWhateverHappens) {
  size_t merges = 0, written = 0, removed = 0, vectors = 0, restarts = 0;
  for (uint32_t seed = 1; seed <= 40 && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Lake lake(seed);
    lake.run(1500);
    merges += lake.merges;
    written += lake.written;
    removed += lake.removed;
    vectors += lake.vectors;
    restarts += lake.restarts;
  }
  // All of it was there.
  EXPECT_GT(merges, 100U);
  EXPECT_GT(written, 1000U);
  EXPECT_GT(removed, 1000U);
  EXPECT_GT(vectors, 1000U);
  EXPECT_GT(restarts, 20U);
}

}  // namespace
}  // namespace tide::mirror
