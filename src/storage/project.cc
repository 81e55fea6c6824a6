#include "storage/project.h"

#include <chrono>

#include "env/file.h"
#include "obs/log.h"
#include "pagestore/base_backup.h"

namespace tide::storage {
namespace {

constexpr TimelineId kRoot{1};
constexpr int kBranchWaitMs = 30000;
constexpr int kParentWaitMs = 120000;
constexpr int kSpareSegments = 2;

int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// The nearest position at or above at which a record may begin: records are aligned to 8 bytes,
/// and a place inside a page header means the page's start.
Lsn align(Lsn lsn) {
  lsn = Lsn((lsn.value() + 7) / 8 * 8);
  uint64_t in_page = lsn.value() % kWalPageSize;
  bool long_header = lsn.value() % kWalSegmentSize < kWalPageSize;
  if (in_page <= (long_header ? kWalLongHeaderSize : kWalShortHeaderSize)) lsn = lsn - in_page;
  return lsn;
}

}  // namespace

Project::Project(Paths paths, std::unique_ptr<pagestore::PageStore> store)
    : paths_(std::move(paths)),
      store_(std::move(store)),
      image_maker_(std::make_unique<ImageMaker>(*store_, image_queue_)) {}

Project::~Project() {
  store_->set_wait_hook(nullptr);
  timelines_.clear();
  image_maker_.reset();
}

Result<std::unique_ptr<Project>> Project::open(Paths paths, redo::RedoPool& redo,
                                               std::shared_ptr<rocksdb::FileSystem> file_system) {
  pagestore::Options options;
  options.directory = paths.pages;
  options.file_system = std::move(file_system);
  auto store = TIDE_TRY(pagestore::PageStore::open(std::move(options), redo));
  std::unique_ptr<Project> project(new Project(std::move(paths), std::move(store)));
  project->spares_ =
      TIDE_TRY(walstore::SpareSegments::open(project->paths_.wal + "/spare", kSpareSegments));
  TIDE_TRY(project->open_timelines());
  project->store_->set_wait_hook([raw = project.get()](TimelineId id) {
    if (auto service = raw->timeline(id); service.ok()) (*service)->nudge();
  });
  return project;
}

Status Project::open_timelines() {
  std::vector<pagestore::TimelineInfo> waiting = store_->tree().all();
  while (!waiting.empty()) {
    size_t before = waiting.size();
    std::vector<pagestore::TimelineInfo> next;
    for (const pagestore::TimelineInfo& info : waiting) {
      bool parent_is_open = !info.parent || timelines_.contains(*info.parent);
      if (!parent_is_open) {
        next.push_back(info);
        continue;
      }
      if (info.parent) {
        // What the parent ingested may be lost by a crash although the branch, made at its end, is
        // not.
        Status complete = store_->wait_for(*info.parent, info.branch_lsn, kParentWaitMs);
        if (!complete.ok()) {
          return std::move(complete)
              .with_detail(timelines_[*info.parent]->last_error())
              .with_context(
                  fmt::format("bring {} up to where {} branches off", *info.parent, info.id));
        }
      }
      TIDE_TRY(open_timeline(info.id));
    }
    if (next.size() == before) {
      return Status(Code::kCorrupt,
                    fmt::format("{} branches from a timeline that does not exist", next[0].id));
    }
    waiting = std::move(next);
  }
  return {};
}

Status Project::open_timeline(TimelineId id) {
  std::shared_ptr<TimelineService> service =
      TIDE_TRY(TimelineService::open(paths_.wal, id, *store_, image_queue_, spares_.get()));
  std::unique_lock lock(mutex_);
  timelines_[id] = std::move(service);
  return {};
}

Result<pagestore::ImportedTemplate> Project::create(const std::string& template_directory) {
  std::lock_guard shape(shape_mutex_);
  if (auto info = store_->tree().find(kRoot)) {
    if (!timeline(kRoot).ok())
      TIDE_TRY(open_timeline(kRoot));  // an attempt before ended in between
    auto control = TIDE_TRY(pagestore::stored_control_file(*store_, kRoot, Lsn::max()));
    return pagestore::ImportedTemplate{control.system_id, info->branch_lsn};
  }
  auto imported = TIDE_TRY(pagestore::import_template(*store_, template_directory));
  TIDE_TRY(open_timeline(kRoot));
  obs::info("project {} made from {} at {}", imported.system_id, template_directory, imported.lsn);
  return imported;
}

std::optional<uint64_t> Project::system_id() const {
  auto control = pagestore::stored_control_file(*store_, kRoot, Lsn::max());
  if (!control.ok()) return std::nullopt;
  return control->system_id;
}

Result<std::shared_ptr<TimelineService>> Project::timeline(TimelineId id) const {
  std::shared_lock lock(mutex_);
  auto found = timelines_.find(id);
  if (found == timelines_.end()) return Status(Code::kNotFound, fmt::format("no timeline {}", id));
  return found->second;
}

std::vector<std::shared_ptr<TimelineService>> Project::timelines() const {
  std::shared_lock lock(mutex_);
  std::vector<std::shared_ptr<TimelineService>> all;
  for (const auto& [id, service] : timelines_) all.push_back(service);
  return all;
}

Epoch Project::current_epoch(TimelineId id) const {
  std::shared_lock lock(mutex_);
  auto found = timelines_.find(id);
  return found == timelines_.end() ? Epoch{} : found->second->current_epoch();
}

Result<Lsn> Project::create_timeline(TimelineId id, TimelineId parent, std::optional<Lsn> lsn,
                                     std::optional<int64_t> time_us) {
  Lsn end;
  if (!store_->tree().find(id)) end = TIDE_TRY(TIDE_TRY(timeline(parent))->settle(kBranchWaitMs));
  std::lock_guard shape(shape_mutex_);
  if (auto known = store_->tree().find(id)) {
    if (!timeline(id).ok()) TIDE_TRY(open_timeline(id));  // an attempt before ended in between
    return known->branch_lsn;
  }
  if (!store_->tree().find(parent))
    return Status(Code::kNotFound, fmt::format("no timeline {}", parent));
  Lsn at = lsn.value_or(end);
  if (time_us) {
    auto point = TIDE_TRY(store_->lsn_for_time(parent, *time_us));
    if (point.kind == pagestore::PageStore::TimePoint::kBeforeHistory) {
      return Status(Code::kOutOfRange, "the time lies before the history that is kept")
          .with_detail(fmt::format(
              "The oldest state that can be reached is that of {}.",
              std::max(store_->history_cutoff(parent), store_->tree().find(parent)->branch_lsn)));
    }
    if (*time_us > now_us()) {
      return Status(Code::kOutOfRange, "the time lies in the future")
          .with_hint("Leave it out to branch now.");
    }
    at = point.lsn;
  }
  at = align(at);
  if (at > align(end)) {
    return Status(Code::kOutOfRange, fmt::format("{} has no WAL at {} yet", parent, at))
        .with_detail(fmt::format("Its newest durable LSN is {}.", end));
  }
  pagestore::TimelineInfo info;
  info.id = id;
  info.parent = parent;
  info.branch_lsn = at;
  info.created_us = now_us();
  // A point before the parent's own begin lies on the parent's parent.
  while (info.parent) {
    auto above = store_->tree().find(*info.parent);
    if (!above || !above->parent || at >= above->branch_lsn) break;
    info.parent = above->parent;
  }
  TIDE_TRY(store_->add_timeline(info));
  TIDE_TRY(open_timeline(id));
  obs::info("{} branches from {} at {}", id, parent, at);
  return at;
}

Status Project::delete_timeline(TimelineId id) {
  std::lock_guard shape(shape_mutex_);
  if (store_->tree().has_children(id)) {
    return Status(Code::kConflict, fmt::format("{} has branches", id))
        .with_hint("Delete them first.");
  }
  auto service = timeline(id);
  if (service.ok()) TIDE_TRY((*service)->retire());
  {
    std::unique_lock lock(mutex_);
    timelines_.erase(id);
  }
  TIDE_TRY(store_->remove_timeline(id));
  if (service.ok()) (*service)->log().wake();  // nothing comes any more to those that wait
  return env::remove_tree(fmt::format("{}/{}", paths_.wal, id));
}

}  // namespace tide::storage
