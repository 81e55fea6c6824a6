#include "storage/fsck.h"

#include <algorithm>

#include "base/bytes.h"
#include "pgformat/wal_reader.h"
#include "pgformat/wal_segment.h"

namespace tide::storage {
namespace {

using walstore::EpochHistory;

constexpr size_t kChunk = 1 << 20;
constexpr uint32_t kRun = 64;

/// Reads an epoch's WAL record by record, from the first segment that is still there.
void check_epoch(TimelineService& timeline, const EpochHistory::Entry& entry, Lsn flushed,
                 FsckReport& report) {
  std::string directory = timeline.log().epoch_directory(entry.epoch);
  auto names = env::list_directory(directory);
  if (!names.ok()) return;  // trimmed as a whole
  Lsn begin = Lsn::max();
  for (const std::string& name : *names) {
    if (auto number = pgformat::parse_segment_file_name(name); number.ok()) {
      begin = std::min(begin, pgformat::segment_start(*number));
    }
  }
  Lsn end = entry.end.value_or(flushed);
  if (begin == Lsn::max()) return;
  pgformat::WalReader::Options options;
  options.start = std::max(begin, entry.start);
  options.skip_continued_record = options.start == begin;
  pgformat::WalReader reader(options);
  Bytes chunk(kChunk);
  auto problem = [&](std::string detail) {
    report.problems.push_back(
        {"WAL", fmt::format("{} at {}", directory, reader.valid_end()), std::move(detail)});
  };
  while (true) {
    auto size = timeline.log().read(reader.fed_end(), end, chunk);
    if (!size.ok()) return problem(size.status().message());
    if (*size == 0) break;
    reader.feed(BytesView(chunk).first(*size));
    while (true) {
      auto record = reader.next();
      if (!record.ok()) return problem(record.status().message());
      if (!*record) break;
      ++report.checked["wal_records"];
    }
    if (reader.ended()) return problem("zeros where a record should be");
  }
  if (entry.end && reader.valid_end() < *entry.end) {
    problem(fmt::format("the last whole record ends before the epoch's end {}", *entry.end));
  }
}

Status check_pages(Project& project, TimelineService& timeline, FsckReport& report) {
  pagestore::PageStore& store = project.store();
  Lsn at = store.ingested(timeline.id());
  return store.versions().list(
      timeline.id(), pagestore::Kind::kRelSize, "", at,
      [&](std::string_view body, Lsn, std::string_view value) -> Status {
        uint32_t blocks = load<uint32_t>(value.data());
        if (blocks == pagestore::kNoRelation) return {};
        RelFork rel = pagestore::rel_of_body(body);
        std::vector<std::byte> pages(size_t{kRun} * kPageSize);
        for (uint32_t begin = 0; begin < blocks; begin += kRun) {
          std::vector<PageTag> tags;
          for (uint32_t block = begin; block < std::min(blocks, begin + kRun); ++block)
            tags.push_back({rel, block});
          Status read = store.pages().read(timeline.id(), tags, at, pages.data());
          report.checked["pages"] += tags.size();
          if (!read.ok()) {
            report.problems.push_back(
                {"page", fmt::format("{} {}", timeline.id(), tags.front()), read.message()});
          }
        }
        return {};
      });
}

}  // namespace

Result<FsckReport> check(Project& project, ObjectMirror* mirror, bool deep) {
  FsckReport report;
  Status tables = project.store().verify();
  report.checked["page_store_bytes"] = project.store().disk_bytes();
  if (!tables.ok()) report.problems.push_back({"page store", "database", tables.message()});
  for (const auto& timeline : project.timelines()) {
    ++report.checked["timelines"];
    for (const EpochHistory::Entry& entry : timeline->log().history().entries) {
      check_epoch(*timeline, entry, timeline->flushed(), report);
    }
    if (deep) TIDE_TRY(check_pages(project, *timeline, report));
  }
  if (mirror != nullptr) {
    TIDE_TRY(pagestore::ProjectUpload::verify(mirror->store(), deep, [&](const std::string& what) {
      report.problems.push_back({"object store", mirror->store().describe(), what});
    }));
    ++report.checked["object_manifests"];
  }
  return report;
}

}  // namespace tide::storage
