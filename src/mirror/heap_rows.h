#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "columns/column.h"
#include "columns/row_set.h"
#include "deltalog/action.h"
#include "mirror/tuple_index.h"
#include "pgformat/heap_record.h"

namespace tide::mirror {

/// Name of the last column of every segment and of every file: where PostgreSQL keeps the row, as
/// TupleId::value. It is in no Delta schema, so readers do not see it.
inline constexpr std::string_view kTupleIdColumn = "__tide_ctid";

/// A data file of a Delta table.
struct LakeFile {
  std::string name;  ///< below the table's directory
  uint64_t size = 0;
  uint32_t rows = 0;
  int64_t modified_ms = 0;
  std::string stats;  ///< Delta's statistics (JSON)
  /// As of the last cut.
  std::optional<deltalog::DeletionVectorDescriptor> deletion_vector;
};

/// The rows of one heap as one moment sees them. Immutable; shared by snapshots.
struct HeapVersion {
  struct File {
    LakeFile file;
    std::shared_ptr<const columns::RowSet> deleted;  ///< null: none
  };
  struct Segment {
    uint64_t id;  ///< never used twice in a mirror's life
    std::shared_ptr<const columns::Batch> rows;
    std::shared_ptr<const columns::RowSet> deleted;
  };
  std::vector<File> files;
  std::vector<Segment> segments;
  uint64_t live_rows = 0;
};

/// What a cut takes of a heap: fixed, while the heap goes on changing.
struct HeapCut {
  struct Segment {
    uint32_t unit;
    std::shared_ptr<const columns::Batch> rows;
    std::shared_ptr<const columns::RowSet> deleted;
  };
  struct DirtyFile {
    uint32_t unit;
    LakeFile file;
    std::shared_ptr<const columns::RowSet> deleted;
    bool all_deleted() const { return deleted->size() == file.rows; }
  };
  uint64_t heap = 0;  ///< whose it is: HeapRows::began()
  std::vector<Segment> segments;
  std::vector<DirtyFile> dirty_files;
  std::vector<LakeFile> removed;  ///< files that were dropped as a whole since the last cut
  uint64_t live_rows() const;     ///< of the segments
};

/// A file that is to be removed got another deletion vector by a cut, or went with it: the remove
/// must name what is live.
void settle_removed(std::vector<LakeFile>& removed, const HeapCut::DirtyFile& dirty,
                    const deltalog::DeletionVectorDescriptor& vector);

/// One heap's rows in the lake: files, and segments in memory that no file has yet; which of their
/// rows are deleted; and where each row of PostgreSQL's is. One thread.
class HeapRows {
 public:
  /// `next_segment`: source of segment ids, shared by all heaps of a mirror.
  HeapRows(std::vector<columns::Field> fields, uint64_t& next_segment);

  const std::vector<columns::Field>& fields() const { return fields_; }

  /// Append one value to each column of fresh() but the last, then call added().
  columns::Batch& fresh() { return *fresh_; }
  void added(pgformat::TupleId id);
  /// Takes the row out. kBug if no live row is there: mirror and WAL contradict each other.
  Status remove(pgformat::TupleId id);
  /// The place of a live row, if it is in a segment still in memory.
  struct InMemory {
    const columns::Batch* rows;
    size_t row;
  };
  std::optional<InMemory> in_memory(pgformat::TupleId id) const;

  /// Forgets all rows; the files go with the next cut.
  void clear();
  /// The table has other columns now: column i of the new ones was column `from[i]`, or is new and
  /// null (-1). Files keep what they have.
  void reshape(std::vector<columns::Field> fields, const std::vector<int>& from);

  /// As of now. Cheap if nothing changed since the last call.
  std::shared_ptr<const HeapVersion> version();

  bool is_dirty() const { return dirty_; }
  /// Rows in memory, deleted ones included.
  uint64_t fresh_rows() const;
  uint64_t fresh_bytes() const;
  uint64_t live_rows() const { return live_rows_; }
  uint64_t file_count() const;
  uint64_t file_bytes() const;
  size_t index_bytes() const { return index_.bytes(); }

  HeapCut begin_cut();
  /// False for cuts and merges of other heaps, also of one whose place this one has taken.
  bool began(const HeapCut& cut) const { return cut.heap == id_; }
  /// The cut is durable: `written` have the live rows of its segments, in order; `vectors` are the
  /// dirty files' new descriptors, in their order.
  void finish_cut(const HeapCut& cut, const std::vector<LakeFile>& written,
                  const std::vector<deltalog::DeletionVectorDescriptor>& vectors);
  /// The cut failed: its content is dirty again.
  void abandon_cut(const HeapCut& cut);

  /// At start: a file as the last cut left it, with the ctid of each row and the deleted rows.
  void load_file(LakeFile file, const std::vector<int64_t>& ids, columns::RowSet deleted);

  /// Files that should become one, if there are any: many small ones, or one with many rows
  /// deleted. To be called before begin_cut(), which then leaves them out. finish_merge() gets the
  /// new file with the ctids of its rows: the live rows of the files, one file after the other.
  HeapCut begin_merge();
  void finish_merge(const HeapCut& merge, const std::optional<LakeFile>& merged,
                    const std::vector<int64_t>& ids);

 private:
  struct Unit {
    uint32_t rows = 0;
    bool is_file = false;
    LakeFile file;
    uint64_t segment = 0;
    std::shared_ptr<columns::Batch> batch;
    std::shared_ptr<columns::RowSet> deleted;  ///< null: none; shared with versions and cuts
    bool deletes_changed = false;              ///< since the last cut began
    bool in_cut = false;                       ///< a segment that a cut under way writes
  };
  void open_segment();
  void seal();
  void merge_segments();
  bool is_deleted(const Unit& unit, uint32_t row) const;
  static void mark_deleted(Unit& unit, uint32_t row);
  void changed();

  std::vector<columns::Field> fields_;
  uint64_t& next_segment_;
  uint64_t id_;  ///< from the same source as segment ids
  std::map<uint32_t, Unit> units_;
  uint32_t next_unit_ = 1;
  uint32_t open_unit_ = 0;
  columns::Batch* fresh_ = nullptr;  ///< of the open unit
  TupleIndex index_;
  std::vector<LakeFile> removed_;
  std::shared_ptr<const HeapVersion> version_;
  uint64_t live_rows_ = 0;
  bool dirty_ = false;
};

/// `fields` and the column of tuple ids.
std::vector<columns::Field> with_tuple_id(std::vector<columns::Field> fields);

}  // namespace tide::mirror
