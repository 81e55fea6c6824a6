#include "storage/object_mirror.h"

#include <algorithm>
#include <charconv>

#include "env/file.h"
#include "obs/log.h"
#include "pgformat/wal_segment.h"
#include "walstore/feed_file.h"

namespace tide::storage {
namespace {

using pgformat::segment_number;
using pgformat::segment_start;
using walstore::EpochHistory;

constexpr std::string_view kPartial = ".partial-";

/// A WAL object's key taken apart: wal/t1/e3/NAME or wal/t1/e3/NAME.partial-LSN (16 hexadecimal
/// digits).
struct WalObject {
  TimelineId timeline;
  Epoch epoch;
  uint64_t segment = 0;
  std::optional<Lsn> partial_end;
};

std::optional<uint64_t> number(std::string_view text, int base = 10) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::optional<WalObject> parse_wal_key(std::string_view key) {
  if (!key.starts_with("wal/t")) return std::nullopt;
  size_t first = key.find('/', 5);
  size_t second = key.find('/', first + 1);
  if (second == std::string_view::npos || key.substr(first, 2) != "/e") return std::nullopt;
  auto timeline = number(key.substr(5, first - 5));
  auto epoch = number(key.substr(first + 2, second - first - 2));
  std::string_view name = key.substr(second + 1);
  WalObject object;
  if (size_t at = name.find(kPartial); at != std::string_view::npos) {
    auto end = number(name.substr(at + kPartial.size()), 16);
    if (!end) return std::nullopt;
    object.partial_end = Lsn(*end);
    name = name.substr(0, at);
  }
  auto segment = pgformat::parse_segment_file_name(name);
  if (!timeline || !epoch || !segment.ok()) return std::nullopt;
  object.timeline = TimelineId{static_cast<uint32_t>(*timeline)};
  object.epoch = Epoch{*epoch};
  object.segment = *segment;
  return object;
}

std::string segment_key(TimelineId timeline, Epoch epoch, uint64_t segment) {
  return fmt::format("wal/{}/{}/{}", timeline, epoch, pgformat::segment_file_name(segment));
}

std::string partial_key(TimelineId timeline, Epoch epoch, uint64_t segment, Lsn end) {
  return fmt::format("{}{}{:016X}", segment_key(timeline, epoch, segment), kPartial, end.value());
}

std::string history_key(TimelineId timeline) {
  return fmt::format("wal/{}/history.json", timeline);
}

std::optional<TimelineId> timeline_of_history(std::string_view key) {
  constexpr std::string_view kEnd = "/history.json";
  if (!key.starts_with("wal/t") || !key.ends_with(kEnd)) return std::nullopt;
  auto id = number(key.substr(5, key.size() - 5 - kEnd.size()));
  if (!id) return std::nullopt;
  return TimelineId{static_cast<uint32_t>(*id)};
}

}  // namespace

Result<std::unique_ptr<ObjectMirror>> ObjectMirror::open(objectstore::ObjectStore& store,
                                                         Project& project,
                                                         const std::string& pages_directory,
                                                         uint64_t generation) {
  std::unique_ptr<ObjectMirror> mirror(new ObjectMirror(store, project));
  mirror->pages_ = TIDE_TRY(
      pagestore::ProjectUpload::open(project.store().db(), pages_directory, store, generation));
  for (const objectstore::ObjectInfo& info : TIDE_TRY(store.list("wal/"))) {
    auto object = parse_wal_key(info.key);
    if (!object) continue;
    Lsn& uploaded = mirror->uploaded_[{object->timeline, object->epoch}];
    uploaded = std::max(uploaded, object->partial_end.value_or(segment_start(object->segment + 1)));
  }
  return mirror;
}

Status ObjectMirror::upload_pages() {
  std::map<TimelineId, Lsn> ingested;
  for (const auto& timeline : project_.timelines()) {
    ingested[timeline->id()] = project_.store().ingested(timeline->id());
  }
  auto report = TIDE_TRY(pages_->upload({}));
  if (!report.cleanup.ok()) obs::warn("old objects stay for now: {}", report.cleanup.to_string());
  std::lock_guard lock(mutex_);
  safe_before_ = safe_;
  for (const auto& [id, lsn] : ingested) safe_[id] = std::max(safe_[id], lsn);
  return {};
}

Status ObjectMirror::upload_wal(bool partial) {
  for (const auto& timeline : project_.timelines()) {
    Status uploaded = upload_timeline(*timeline, partial);
    if (!uploaded.ok())
      return std::move(uploaded).with_context(fmt::format("upload WAL of {}", timeline->id()));
  }
  return {};
}

Status ObjectMirror::upload_timeline(TimelineService& timeline, bool partial) {
  EpochHistory history = timeline.log().history();
  Lsn flushed = timeline.flushed();
  // In the store, too, an epoch is known before it has WAL, or its number could be given out again;
  // and its end is known once all its WAL is there: whoever restores can bring the pages up to
  // every end it sees.
  EpochHistory shown;
  shown.promised = history.promised;
  Lsn needed = project_.store().tree().learners_need(timeline.id());
  Lsn there = Lsn::max();  // where the first gap begins
  for (const EpochHistory::Entry& entry : history.entries) {
    shown.entries.push_back(entry);
    shown.entries.back().end.reset();
    shown.entries.back().last_record = Lsn();
    Lsn end = entry.end.value_or(flushed);
    Lsn& done = uploaded_[{timeline.id(), entry.epoch}];
    done = std::max(done, entry.start);
    // WAL that the page store already holds in the object store need not go there any more, unless
    // a learner has not read it.
    done = std::max(done, std::min({end, safe(timeline.id()), needed}));
    while (done < end) {
      uint64_t segment = segment_number(done);
      Lsn segment_end = segment_start(segment + 1);
      bool finished = segment_end <= end;
      if (!finished && !partial && !entry.end) break;
      Lsn upto = std::min(segment_end, end);
      // What is not here any more was trimmed, and that happens to safe WAL only.
      if (upto <= project_.store().durable(timeline.id()) &&
          !env::exists(timeline.log().epoch_directory(entry.epoch) + "/" +
                       pgformat::segment_file_name(segment))) {
        done = upto;
        continue;
      }
      TIDE_TRY(upload_history(timeline.id(), shown));
      TIDE_TRY(upload_segment(timeline, entry.epoch, segment, upto));
      done = upto;
    }
    if (done < end) there = std::min(there, done);
    shown.entries.back() = entry;
  }
  {
    std::lock_guard lock(mutex_);
    wal_there_[timeline.id()] = std::min(there, flushed);
  }
  return history.entries.empty() ? Status() : upload_history(timeline.id(), shown);
}

Status ObjectMirror::upload_history(TimelineId id, const EpochHistory& history) {
  std::string text = history.to_json();
  if (histories_[id] == text) return {};
  TIDE_TRY(store_.put(history_key(id), as_bytes(text)));
  histories_[id] = std::move(text);
  return {};
}

Status ObjectMirror::upload_segment(TimelineService& timeline, Epoch epoch, uint64_t segment,
                                    Lsn end) {
  std::string path =
      timeline.log().epoch_directory(epoch) + "/" + pgformat::segment_file_name(segment);
  std::string key = segment_key(timeline.id(), epoch, segment);
  std::vector<std::string> older;
  for (const auto& info : TIDE_TRY(store_.list(key + std::string(kPartial))))
    older.push_back(info.key);
  if (end == segment_start(segment + 1)) {
    TIDE_TRY(store_.put_file(key, path));
  } else {
    auto file = TIDE_TRY(env::open_file(path, 0));
    std::string bytes = TIDE_TRY(env::read_range(file.get(), 0, end - segment_start(segment)));
    std::string fresh = partial_key(timeline.id(), epoch, segment, end);
    TIDE_TRY(store_.put(fresh, as_bytes(bytes)));
    std::erase(older, fresh);
  }
  for (const std::string& old : older) TIDE_TRY(store_.remove(old));
  return {};
}

Status ObjectMirror::trim() {
  for (const objectstore::ObjectInfo& info : TIDE_TRY(store_.list("wal/"))) {
    if (auto id = timeline_of_history(info.key); id && !project_.timeline(*id).ok()) {
      TIDE_TRY(store_.remove(info.key));
    }
    auto object = parse_wal_key(info.key);
    if (!object) continue;
    bool known = project_.timeline(object->timeline).ok();
    Lsn end = object->partial_end.value_or(segment_start(object->segment + 1));
    auto safe_before = safe_before_.find(object->timeline);
    bool needless = safe_before != safe_before_.end() && end <= safe_before->second &&
                    end <= project_.store().tree().learners_need(object->timeline);
    if (!known || needless) TIDE_TRY(store_.remove(info.key));
  }
  return {};
}

Lsn ObjectMirror::safe(TimelineId id) const {
  std::lock_guard lock(mutex_);
  auto found = safe_.find(id);
  return found == safe_.end() ? Lsn() : found->second;
}

Lsn ObjectMirror::trimmable(TimelineId id) const {
  Lsn needed = project_.store().tree().learners_need(id);
  std::lock_guard lock(mutex_);
  auto safe = safe_.find(id);
  auto there = wal_there_.find(id);
  if (safe == safe_.end()) return {};
  return std::min(safe->second,
                  std::max(needed, there == wal_there_.end() ? Lsn() : there->second));
}

Result<size_t> ObjectMirror::read_wal(objectstore::ObjectStore& store, TimelineId timeline,
                                      Epoch epoch, Lsn from, Lsn limit, std::span<std::byte> out) {
  uint64_t segment = segment_number(from);
  Lsn begin = segment_start(segment);
  std::string key = segment_key(timeline, epoch, segment);
  Lsn end = segment_start(segment + 1);
  if (!TIDE_TRY(store.exists(key))) {
    // The longest of its beginnings.
    end = begin;
    std::string longest;
    for (const auto& info : TIDE_TRY(store.list(key + std::string(kPartial)))) {
      auto object = parse_wal_key(info.key);
      if (!object || !object->partial_end || *object->partial_end <= end) continue;
      end = *object->partial_end;
      longest = info.key;
    }
    key = longest;
  }
  if (end <= from) {
    return Status(Code::kOutOfRange,
                  fmt::format("WAL of {} {} at {} is not kept any more", timeline, epoch, from));
  }
  end = std::min({end, limit, from + out.size()});
  if (end <= from) return size_t{0};
  std::string bytes = TIDE_TRY(store.get_range(key, from - begin, end - from));
  std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size(), out.data());
  return bytes.size();
}

Status ObjectMirror::restore_wal(objectstore::ObjectStore& store, const std::string& wal_root) {
  std::map<std::pair<TimelineId, Epoch>, Lsn> ends;
  for (const objectstore::ObjectInfo& info : TIDE_TRY(store.list("wal/"))) {
    auto object = parse_wal_key(info.key);
    if (!object) continue;
    std::string directory = fmt::format("{}/{}/{}", wal_root, object->timeline, object->epoch);
    TIDE_TRY(env::make_directories(directory));
    std::string path = directory + "/" + pgformat::segment_file_name(object->segment);
    Lsn end = object->partial_end.value_or(segment_start(object->segment + 1));
    // A whole segment, or else the longest of its beginnings: a crash may leave several.
    auto present = env::file_size(path);
    uint64_t size = end - segment_start(object->segment);
    if (!present.ok() || *present < size) TIDE_TRY(store.get_to_file(info.key, path));
    Lsn& known = ends[{object->timeline, object->epoch}];
    known = std::max(known, end);
  }
  for (const objectstore::ObjectInfo& info : TIDE_TRY(store.list("wal/"))) {
    auto id = timeline_of_history(info.key);
    if (!id) continue;
    TimelineId timeline = *id;
    std::string text = TIDE_TRY(store.get(info.key));
    EpochHistory history = TIDE_TRY(EpochHistory::from_json(text));
    if (const EpochHistory::Entry* last = history.last(); last != nullptr && !last->end) {
      // Its compute ran on another machine: here it has no process and no feed but what we make.
      std::string directory = fmt::format("{}/{}/{}", wal_root, timeline, last->epoch);
      TIDE_TRY(env::make_directories(directory));
      TIDE_TRY(env::open_lock_file(directory + "/lock"));
      auto end = ends.find({timeline, last->epoch});
      TIDE_TRY(walstore::FeedFile::create(directory + "/feed", last->epoch,
                                          end == ends.end() ? last->start : end->second));
    }
    std::string directory = fmt::format("{}/{}", wal_root, timeline);
    TIDE_TRY(env::make_directories(directory));
    TIDE_TRY(env::write_file_atomically(directory + "/history.json", text));
  }
  return {};
}

}  // namespace tide::storage
