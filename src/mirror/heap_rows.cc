#include "mirror/heap_rows.h"

#include <algorithm>

namespace tide::mirror {
namespace {

using columns::Batch;
using columns::RowSet;
using pgformat::TupleId;

/// More segments than this are put together before a reader gets them: each is a scan of its own.
constexpr size_t kMaxSegments = 12;
/// A segment of this size is sealed by itself: readers work on segments in parallel, and offsets
/// into its strings have 32 bits.
constexpr size_t kSegmentBytes = size_t{32} << 20;
constexpr size_t kSegmentRows = 128 * 1024;

}  // namespace

std::vector<columns::Field> with_tuple_id(std::vector<columns::Field> fields) {
  fields.push_back({std::string(kTupleIdColumn), columns::Kind::kInt64, false});
  return fields;
}

uint64_t HeapCut::live_rows() const {
  uint64_t rows = 0;
  for (const Segment& segment : segments) {
    rows += segment.rows->rows() - (segment.deleted ? segment.deleted->size() : 0);
  }
  return rows;
}

void settle_removed(std::vector<LakeFile>& removed, const HeapCut::DirtyFile& dirty,
                    const deltalog::DeletionVectorDescriptor& vector) {
  auto file = std::find_if(removed.begin(), removed.end(),
                           [&](const LakeFile& each) { return each.name == dirty.file.name; });
  if (file == removed.end()) return;
  if (dirty.all_deleted()) {
    removed.erase(file);
  } else {
    file->deletion_vector = vector;
  }
}

HeapRows::HeapRows(std::vector<columns::Field> fields, uint64_t& next_segment)
    : fields_(std::move(fields)), next_segment_(next_segment), id_(next_segment++) {
  open_segment();
}

void HeapRows::open_segment() {
  open_unit_ = next_unit_++;
  Unit& unit = units_[open_unit_];
  unit.segment = next_segment_++;
  unit.batch = std::make_shared<Batch>(with_tuple_id(fields_));
  fresh_ = unit.batch.get();
}

void HeapRows::seal() {
  Unit& unit = units_.at(open_unit_);
  if (unit.rows > 0) open_segment();
}

void HeapRows::changed() {
  dirty_ = true;
  version_ = nullptr;
}

void HeapRows::added(TupleId id) {
  fresh_->columns.back().append(static_cast<int64_t>(id.value));
  Unit& unit = units_.at(open_unit_);
  index_.set(id, {open_unit_, unit.rows});
  ++unit.rows;
  ++live_rows_;
  changed();
  if (unit.rows >= kSegmentRows || (unit.rows % 256 == 0 && fresh_->bytes() > kSegmentBytes))
    seal();
}

bool HeapRows::is_deleted(const Unit& unit, uint32_t row) const {
  return unit.deleted != nullptr && unit.deleted->contains(row);
}

void HeapRows::mark_deleted(Unit& unit, uint32_t row) {
  if (unit.deleted == nullptr) {
    unit.deleted = std::make_shared<RowSet>();
  } else if (unit.deleted.use_count() > 1) {
    unit.deleted = std::make_shared<RowSet>(*unit.deleted);
  }
  unit.deleted->add(row);
  unit.deletes_changed = true;
}

Status HeapRows::remove(TupleId id) {
  std::optional<RowPlace> place = index_.find(id);
  auto unit = place ? units_.find(place->unit) : units_.end();
  if (unit == units_.end() || is_deleted(unit->second, place->row)) {
    return {Code::kBug, fmt::format("the lake has no row at ({},{})", id.block(), id.offset())};
  }
  mark_deleted(unit->second, place->row);
  --live_rows_;
  changed();
  return {};
}

std::optional<HeapRows::InMemory> HeapRows::in_memory(TupleId id) const {
  std::optional<RowPlace> place = index_.find(id);
  if (!place) return std::nullopt;
  auto unit = units_.find(place->unit);
  if (unit == units_.end() || unit->second.is_file) return std::nullopt;
  if (is_deleted(unit->second, place->row)) return std::nullopt;
  return InMemory{unit->second.batch.get(), place->row};
}

void HeapRows::clear() {
  for (auto& [id, unit] : units_) {
    if (unit.is_file) removed_.push_back(std::move(unit.file));
  }
  units_.clear();
  index_.clear();
  live_rows_ = 0;
  open_segment();
  changed();
}

void HeapRows::reshape(std::vector<columns::Field> fields, const std::vector<int>& from) {
  fields_ = std::move(fields);
  for (auto& [id, unit] : units_) {
    if (unit.is_file) continue;
    auto batch = std::make_shared<Batch>();
    for (size_t i = 0; i < fields_.size(); ++i) {
      if (from[i] >= 0) {
        batch->columns.push_back(unit.batch->columns[static_cast<size_t>(from[i])]);
      } else {
        columns::Column& column = batch->columns.emplace_back(fields_[i].type);
        for (uint32_t row = 0; row < unit.rows; ++row) column.append_null();
      }
    }
    batch->columns.push_back(unit.batch->columns.back());
    unit.batch = std::move(batch);
    unit.segment = next_segment_++;  // other content: readers must not take it for the old one
  }
  fresh_ = units_.at(open_unit_).batch.get();
  changed();
}

void HeapRows::merge_segments() {
  std::vector<uint32_t> sealed;
  uint64_t rows = 0;
  for (auto& [id, unit] : units_) {
    if (unit.is_file || unit.in_cut || id == open_unit_ || unit.rows > kSegmentRows / 4) continue;
    sealed.push_back(id);
    rows += unit.rows;
  }
  if (sealed.size() <= kMaxSegments || rows > kSegmentRows) return;
  for (uint32_t id : sealed) {
    Unit& unit = units_.at(id);
    for (uint32_t row = 0; row < unit.rows; ++row) {
      if (is_deleted(unit, row)) continue;
      fresh_->append_from(*unit.batch, row);
      Unit& open = units_.at(open_unit_);
      index_.set(TupleId(static_cast<uint64_t>(unit.batch->columns.back().value<int64_t>(row))),
                 {open_unit_, open.rows});
      ++open.rows;
    }
    units_.erase(id);
  }
  seal();
}

std::shared_ptr<const HeapVersion> HeapRows::version() {
  if (version_ != nullptr) return version_;
  seal();
  merge_segments();
  auto version = std::make_shared<HeapVersion>();
  for (const auto& [id, unit] : units_) {
    if (unit.is_file) {
      version->files.push_back({unit.file, unit.deleted});
    } else if (unit.rows > 0) {
      version->segments.push_back({unit.segment, unit.batch, unit.deleted});
    }
  }
  version->live_rows = live_rows_;
  version_ = std::move(version);
  return version_;
}

uint64_t HeapRows::fresh_rows() const {
  uint64_t rows = 0;
  for (const auto& [id, unit] : units_) rows += unit.is_file ? 0 : unit.rows;
  return rows;
}

uint64_t HeapRows::fresh_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [id, unit] : units_) bytes += unit.is_file ? 0 : unit.batch->bytes();
  return bytes;
}

uint64_t HeapRows::file_count() const {
  return static_cast<uint64_t>(std::count_if(units_.begin(), units_.end(),
                                             [](const auto& unit) { return unit.second.is_file; }));
}

uint64_t HeapRows::file_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [id, unit] : units_) bytes += unit.is_file ? unit.file.size : 0;
  return bytes;
}

HeapCut HeapRows::begin_cut() {
  seal();
  HeapCut cut;
  cut.heap = id_;
  for (auto& [id, unit] : units_) {
    if (!unit.is_file) {
      if (unit.rows == 0) continue;
      cut.segments.push_back({id, unit.batch, unit.deleted});
      unit.in_cut = true;
    } else if (unit.deletes_changed) {
      cut.dirty_files.push_back({id, unit.file, unit.deleted});
      unit.deletes_changed = false;
    }
  }
  cut.removed = std::exchange(removed_, {});
  dirty_ = false;
  return cut;
}

void HeapRows::abandon_cut(const HeapCut& cut) {
  for (const HeapCut::Segment& segment : cut.segments) {
    if (auto unit = units_.find(segment.unit); unit != units_.end()) unit->second.in_cut = false;
  }
  for (const HeapCut::DirtyFile& file : cut.dirty_files) {
    // A merge may have taken a file none of whose rows is deleted.
    auto unit = units_.find(file.unit);
    if (unit != units_.end() && unit->second.deleted != nullptr)
      unit->second.deletes_changed = true;
  }
  removed_.insert(removed_.begin(), cut.removed.begin(), cut.removed.end());
  dirty_ = true;
}

void HeapRows::finish_cut(const HeapCut& cut, const std::vector<LakeFile>& written,
                          const std::vector<deltalog::DeletionVectorDescriptor>& vectors) {
  auto source = written.begin();
  std::optional<uint32_t> file_id;
  Unit file;
  auto end_file = [&] {
    if (file_id) units_.emplace(*file_id, std::move(file));
    file_id.reset();
  };
  for (const HeapCut::Segment& segment : cut.segments) {
    auto unit = units_.find(segment.unit);
    const columns::Column& ids = segment.rows->columns.back();
    for (uint32_t row = 0; row < segment.rows->rows(); ++row) {
      if (segment.deleted != nullptr && segment.deleted->contains(row)) continue;
      if (file_id && file.rows == file.file.rows) end_file();
      if (!file_id) {
        TIDE_CHECK(source != written.end());
        file = Unit();
        file.is_file = true;
        file.file = *source++;
        file_id = next_unit_++;
      }
      uint32_t place = file.rows++;
      // Cleared meanwhile: the row is not there any more.
      TupleId id(static_cast<uint64_t>(ids.value<int64_t>(row)));
      if (unit != units_.end() && !is_deleted(unit->second, row)) {
        index_.set(id, {*file_id, place});
      } else {
        mark_deleted(file, place);
      }
    }
    if (unit != units_.end()) units_.erase(unit);
  }
  end_file();
  for (size_t i = 0; i < cut.dirty_files.size(); ++i) {
    const HeapCut::DirtyFile& dirty = cut.dirty_files[i];
    auto unit = units_.find(dirty.unit);
    if (unit == units_.end()) {
      settle_removed(removed_, dirty, vectors[i]);  // cleared meanwhile
    } else if (dirty.all_deleted()) {
      units_.erase(unit);
    } else {
      unit->second.file.deletion_vector = vectors[i];
    }
  }
  for (const auto& [id, unit] : units_) dirty_ = dirty_ || (unit.is_file && unit.deletes_changed);
  version_ = nullptr;
}

void HeapRows::load_file(LakeFile file, const std::vector<int64_t>& ids, RowSet deleted) {
  uint32_t id = next_unit_++;
  Unit& unit = units_[id];
  unit.is_file = true;
  unit.rows = static_cast<uint32_t>(ids.size());
  unit.file = std::move(file);
  for (uint32_t row = 0; row < unit.rows; ++row) {
    if (deleted.contains(row)) continue;
    index_.set(TupleId(static_cast<uint64_t>(ids[row])), {id, row});
    ++live_rows_;
  }
  if (!deleted.empty()) unit.deleted = std::make_shared<RowSet>(std::move(deleted));
  version_ = nullptr;
}

HeapCut HeapRows::begin_merge() {
  struct Tier {
    uint64_t file_bytes;  ///< files below this size belong to it, and not to a smaller one
  };
  constexpr Tier kTiers[] = {{uint64_t{1} << 20}, {uint64_t{8} << 20}, {uint64_t{64} << 20}};
  constexpr size_t kFilesPerMerge = 8;
  constexpr uint64_t kMergeRows = 2'000'000;
  constexpr uint64_t kMergeBytes = uint64_t{128} << 20;
  constexpr double kDeletedShare = 0.3;

  std::vector<uint32_t> chosen;
  uint64_t below = 0;
  for (const Tier& tier : kTiers) {
    std::vector<uint32_t> found;
    uint64_t rows = 0;
    uint64_t bytes = 0;
    for (const auto& [id, unit] : units_) {
      if (!unit.is_file || unit.file.size < below || unit.file.size >= tier.file_bytes) continue;
      if (rows + unit.rows > kMergeRows || bytes + unit.file.size > kMergeBytes) continue;
      rows += unit.rows;
      bytes += unit.file.size;
      found.push_back(id);
    }
    below = tier.file_bytes;
    if (found.size() >= kFilesPerMerge && found.size() > chosen.size()) chosen = std::move(found);
  }
  if (chosen.empty()) {
    for (const auto& [id, unit] : units_) {
      if (!unit.is_file || unit.deleted == nullptr || unit.rows > kMergeRows) continue;
      uint64_t deleted = unit.deleted->size();
      // One that is deleted as a whole goes without being read.
      if (deleted == unit.rows || static_cast<double>(deleted) < kDeletedShare * unit.rows)
        continue;
      chosen.push_back(id);
      break;
    }
  }
  HeapCut merge;
  merge.heap = id_;
  for (uint32_t id : chosen) {
    Unit& unit = units_.at(id);
    merge.dirty_files.push_back({id, unit.file, unit.deleted});
    unit.deletes_changed = false;
  }
  return merge;
}

void HeapRows::finish_merge(const HeapCut& merge, const std::optional<LakeFile>& merged,
                            const std::vector<int64_t>& ids) {
  uint32_t file_id = next_unit_++;
  Unit file;
  file.is_file = true;
  for (const HeapCut::DirtyFile& old : merge.dirty_files) {
    auto unit = units_.find(old.unit);
    for (uint32_t row = 0; row < old.file.rows; ++row) {
      if (old.deleted != nullptr && old.deleted->contains(row)) continue;
      uint32_t place = file.rows++;
      if (unit != units_.end() && !is_deleted(unit->second, row)) {
        index_.set(TupleId(static_cast<uint64_t>(ids.at(place))), {file_id, place});
      } else {
        mark_deleted(file, place);
      }
    }
    if (unit != units_.end()) {
      units_.erase(unit);
    } else {
      // Cleared meanwhile: the cut has removed the file already.
      std::erase_if(removed_, [&](const LakeFile& each) { return each.name == old.file.name; });
    }
  }
  if (merged) {
    TIDE_CHECK(file.rows == merged->rows);
    file.file = *merged;
    dirty_ = dirty_ || file.deletes_changed;
    units_.emplace(file_id, std::move(file));
  }
  version_ = nullptr;
}

}  // namespace tide::mirror
