#include "storage/timeline_service.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "obs/log.h"
#include "pagestore/base_backup.h"
#include "pgformat/wal_segment.h"
#include "storage/acceptor.h"

namespace tide::storage {
namespace {

using walstore::Durability;
using walstore::EpochHistory;

constexpr const char* kConninfoFile = "/conninfo";
constexpr size_t kChunkBytes = 1 << 20;
constexpr auto kPollBusy = std::chrono::milliseconds(10);
constexpr auto kPollIdle = std::chrono::milliseconds(100);
constexpr auto kRetryPause = std::chrono::milliseconds(1000);
constexpr int kCatchUpTimeoutMs = 120000;
/// Writers are slowed down once ingest is this far behind, the more the farther.
constexpr uint64_t kLagFree = uint64_t{192} << 20;
constexpr uint64_t kLagPerMillisecond = uint64_t{64} << 20;
/// Ingest is not what clients wait for: it gives way to backends on a busy machine.
constexpr int kIngestNice = 5;

uint64_t throttle_us(uint64_t lag) {
  return lag <= kLagFree ? 0 : (lag - kLagFree) * 1000 / kLagPerMillisecond;
}

}  // namespace

TimelineService::TimelineService(TimelineId id, std::unique_ptr<walstore::TimelineLog> log,
                                 pagestore::PageStore& store, pagestore::ImageQueue& images)
    : id_(id), log_(std::move(log)), store_(store), images_(images), chunk_(kChunkBytes) {}

Result<std::unique_ptr<TimelineService>> TimelineService::open(const std::string& wal_root,
                                                               TimelineId id,
                                                               pagestore::PageStore& store,
                                                               pagestore::ImageQueue& images,
                                                               walstore::SpareSegments* spares) {
  auto log = TIDE_TRY(walstore::TimelineLog::open(fmt::format("{}/{}", wal_root, id), id, spares));
  EpochHistory history = log->history();
  std::unique_ptr<TimelineService> service(new TimelineService(id, std::move(log), store, images));
  const EpochHistory::Entry* last = history.last();
  if (last != nullptr && !last->end && last->epoch >= history.promised) {
    service->current_epoch_ = last->epoch.value;
  }
  TIDE_TRY(service->resume_acceptor());
  if (!service->nothing_to_come()) service->start_ingest();
  return service;
}

TimelineService::~TimelineService() {
  acceptor_.reset();
  stop_ingest();
}

void TimelineService::stop_ingest() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status TimelineService::retire() {
  std::lock_guard life(life_mutex_);
  if (log_->has_open_epoch()) {
    return Status(Code::kConflict, fmt::format("{} has a live compute", id_))
        .with_hint("Suspend it first.");
  }
  retired_ = true;
  stop_ingest();
  return {};
}

Lsn TimelineService::flushed() const {
  Lsn flushed = log_->flushed();
  if (flushed.is_valid()) return flushed;
  auto info = store_.tree().find(id_);
  return info ? info->branch_lsn : Lsn();
}

bool TimelineService::nothing_to_come() const {
  return !log_->has_open_epoch() && store_.ingested(id_) >= flushed();
}

std::string TimelineService::last_error() const {
  std::lock_guard lock(mutex_);
  return last_error_;
}

Result<Lsn> TimelineService::settle(int timeout_ms) {
  if (nothing_to_come()) return store_.ingested(id_);
  EpochHistory history = log_->history();
  Epoch epoch = history.last() != nullptr ? history.last()->epoch : Epoch();
  Lsn wanted = flushed();
  start_ingest();
  nudge();
  std::unique_lock lock(mutex_);
  // Durable WAL may end inside a record, which is seen but not ingested.
  auto reached = [&] {
    return store_.ingested(id_) >= wanted || (examined_epoch_ == epoch && examined_ >= wanted);
  };
  bool seen = examined_more_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                                      [&] { return reached() || !running_; });
  if (!seen || !reached()) {
    return Status(Code::kRetry, fmt::format("{} is behind its WAL", id_))
        .with_detail(
            fmt::format("It has taken in {} of {}. {}", store_.ingested(id_), wanted, last_error_));
  }
  return store_.ingested(id_);
}

void TimelineService::nudge() {
  {
    std::lock_guard lock(mutex_);
    nudged_ = true;
  }
  wake_.notify_all();
}

void TimelineService::start_ingest() {
  std::lock_guard lock(mutex_);
  if (running_ || stopping_) return;
  if (thread_.joinable()) thread_.join();  // of an earlier life: it takes no lock any more
  running_ = true;
  thread_ = std::thread([this] { ingest_loop(); });
}

void TimelineService::ingest_loop() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kIngestNice);
  auto pause = kPollBusy;
  while (true) {
    Result<bool> moved = ingest_some();
    std::unique_lock lock(mutex_);
    last_error_ = moved.ok() ? "" : moved.status().to_string();
    if (!moved.ok()) {
      lock.unlock();
      obs::error("ingest of {} stopped, trying again: {}", id_, moved.status().to_string());
      ingest_.reset();
      reader_.reset();
      store_.resume().ignore("the next write says whether it works again");
      lock.lock();
      wake_.wait_for(lock, kRetryPause, [&] { return stopping_; });
    } else if (*moved) {
      pause = kPollBusy;
    } else {
      // A look costs one atomic load; a sleeping compute's branch is looked at rarely, then never.
      pause = std::min<std::chrono::milliseconds>(pause * 2, kPollIdle);
    }
    if (stopping_) running_ = false;
    if (stopping_) break;
    if (moved.ok() && *moved && !nudged_) {
      // Small commits gather for a moment: one batch for many costs the machine less.
      wake_.wait_for(lock, kPollBusy, [&] { return stopping_ || nudged_; });
    } else if (moved.ok() && !*moved) {
      // Decided and told under one lock: whoever opens an epoch later finds that we are gone.
      if (nothing_to_come()) {
        running_ = false;
        break;
      }
      wake_.wait_for(lock, pause, [&] { return stopping_ || nudged_; });
    }
    nudged_ = false;
    if (stopping_) running_ = false;
    if (stopping_) break;
  }
  ingest_.reset();
  reader_.reset();
  examined_more_.notify_all();
}

Result<bool> TimelineService::ingest_some() {
  if (ingest_ == nullptr) ingest_ = std::make_unique<pagestore::Ingest>(store_, id_, images_);
  bool moved = false;
  while (true) {
    EpochHistory history = log_->history();
    const EpochHistory::Entry* entry = history.writer_of(ingest_->applied());
    // On to the next epoch: what this one left behind its last whole record was never finished.
    if (reader_ != nullptr && entry != nullptr && entry->epoch != reader_epoch_) reader_.reset();
    if (reader_ == nullptr) {
      if (entry == nullptr) break;
      pgformat::WalReader::Options options;
      options.start = ingest_->applied();
      options.prev = options.start == entry->start ? entry->prev : Lsn();
      reader_ = std::make_unique<pgformat::WalReader>(options);
      reader_epoch_ = entry->epoch;
    }
    Lsn limit =
        std::min(flushed(), entry != nullptr ? entry->end.value_or(Lsn::max()) : Lsn::max());
    size_t size = TIDE_TRY(log_->read(reader_->fed_end(), limit, chunk_));
    if (size == 0) {
      {
        std::lock_guard lock(mutex_);
        examined_epoch_ = reader_epoch_;
        examined_ = reader_->fed_end();
      }
      examined_more_.notify_all();
      break;
    }
    moved = true;
    reader_->feed(BytesView(chunk_).first(size));
    while (auto record = TIDE_TRY(reader_->next())) {
      TIDE_TRY(ingest_->apply(*record));
      if (ingest_->is_full()) TIDE_TRY(ingest_->commit());
    }
    TIDE_TRY(ingest_->commit());
    examined_more_.notify_all();
    if (reader_->ended()) {
      return Status(Code::kCorrupt,
                    fmt::format("WAL of {} at {} is empty", id_, reader_->valid_end()))
          .with_detail(fmt::format("It should reach to {}.", limit));
    }
    if (auto feed = log_->feed()) {
      Lsn ingested = ingest_->applied();
      feed->set_ingested(ingested);
      Lsn flushed_now = feed->flushed();
      feed->set_throttle_us(throttle_us(flushed_now > ingested ? flushed_now - ingested : 0));
    }
    std::lock_guard lock(mutex_);
    if (stopping_) break;
  }
  return moved;
}

Result<walstore::TimelineLog::End> TimelineService::end_open_epoch() {
  acceptor_.reset();
  auto end = TIDE_TRY(log_->close_epoch(store_.ingested(id_)));
  current_epoch_ = 0;
  start_ingest();
  nudge();
  Status caught_up = store_.wait_for(id_, end.end, kCatchUpTimeoutMs);
  if (!caught_up.ok()) {
    return std::move(caught_up)
        .with_detail(last_error())
        .with_context("bring the page store up to the end of WAL");
  }
  return end;
}

Result<TimelineService::Begun> TimelineService::begin_epoch(Epoch epoch, Durability durability) {
  std::lock_guard life(life_mutex_);
  auto info = store_.tree().find(id_);
  if (!info || retired_) return Status(Code::kNotFound, fmt::format("no timeline {}", id_));
  EpochHistory history = log_->history();
  if (const EpochHistory::Entry* last = history.last();
      last != nullptr && last->epoch == epoch && !last->end && history.promised == epoch) {
    auto control = TIDE_TRY(pagestore::stored_control_file(store_, id_, last->start));
    return Begun{epoch, last->start, control.system_id, log_->epoch_directory(epoch)};
  }
  if (history.last() != nullptr && epoch <= history.last()->epoch) {
    return Status(Code::kStaleEpoch, fmt::format("epoch {} of {} is over", epoch, id_));
  }
  // Where no epoch is open there is nothing to fence: the beginning itself is the promise.
  if (log_->has_open_epoch()) TIDE_TRY(log_->promise(epoch));
  current_epoch_ = 0;  // from here on the page service answers nobody on this timeline

  Lsn start = info->branch_lsn;
  Lsn prev;
  if (history.last() != nullptr) {
    auto end = TIDE_TRY(end_open_epoch());
    start = end.end;
    prev = end.prev;
    if (!prev.is_valid()) prev = start - 1;  // somewhere before: PostgreSQL asks no more at a start
  }
  pgformat::StartRecord record;
  record.at = start;
  record.prev = prev;
  record.checkpoint = TIDE_TRY(pagestore::start_checkpoint(store_, id_, start));
  record.checkpoint.time = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  auto control = TIDE_TRY(pagestore::stored_control_file(store_, id_, start));
  record.system_id = control.system_id;

  // What stands before the start on its page is made up: it belongs to another epoch's directory,
  // and readers take it from there.
  auto pieces = TIDE_TRY(pgformat::lay_start_record(record, {}));
  // Of the pages before, PostgreSQL looks at the segment's first only: the others would be
  // megabytes to sync.
  uint64_t start_page = normalize(start).value() % kWalSegmentSize / kWalPageSize * kWalPageSize;
  std::erase_if(pieces, [&](const pgformat::SegmentPiece& piece) {
    return piece.segment == pgformat::segment_number(start) && piece.offset > 0 &&
           piece.offset < start_page;
  });
  TIDE_TRY(log_->begin_epoch(epoch, durability, start, prev, pgformat::checkpoint_record_end(start),
                             pieces));
  current_epoch_ = epoch.value;
  start_ingest();
  return Begun{epoch, start, record.system_id, log_->epoch_directory(epoch)};
}

Result<walstore::TimelineLog::End> TimelineService::close_epoch(Epoch epoch) {
  std::lock_guard life(life_mutex_);
  EpochHistory history = log_->history();
  if (history.last() == nullptr || history.last()->epoch != epoch) {
    return Status(Code::kStaleEpoch, fmt::format("epoch {} is not the last of {}", epoch, id_));
  }
  if (history.last()->end) return walstore::TimelineLog::End{*history.last()->end, Lsn(), true};
  return end_open_epoch();
}

Status TimelineService::start_acceptor(Epoch epoch, const std::string& conninfo) {
  std::lock_guard life(life_mutex_);
  if (current_epoch() != epoch) {
    return {Code::kStaleEpoch, fmt::format("epoch {} of {} is over", epoch, id_)};
  }
  acceptor_.reset();  // of a call whose answer was lost: there is one writer
  // For the storage role that comes after this one, while the compute lives on.
  TIDE_TRY(env::write_file_atomically(log_->epoch_directory(epoch) + kConninfoFile, conninfo));
  acceptor_ = TIDE_TRY(Acceptor::start(*log_, epoch, conninfo, [this] { nudge(); }));
  return {};
}

Status TimelineService::resume_acceptor() {
  EpochHistory history = log_->history();
  const EpochHistory::Entry* last = history.last();
  if (last == nullptr || last->end || last->durability != Durability::kAcceptor) return {};
  TIDE_TRY(log_->recover_accepted(store_.ingested(id_)));
  if (current_epoch() != last->epoch) return {};  // fenced
  auto conninfo = env::read_file(log_->epoch_directory(last->epoch) + kConninfoFile);
  if (!conninfo.ok()) {
    // Its compute had not come as far: the next start ends the epoch.
    return conninfo.status().code() == Code::kNotFound ? Status() : conninfo.status();
  }
  acceptor_ = Acceptor::resume(*log_, last->epoch, *conninfo, [this] { nudge(); });
  return {};
}

Result<Lsn> TimelineService::epoch_start(Epoch epoch) const {
  for (const EpochHistory::Entry& entry : log_->history().entries) {
    if (entry.epoch == epoch) return entry.start;
  }
  return Status(Code::kNotFound, fmt::format("{} has no epoch {}", id_, epoch));
}

Result<std::vector<std::pair<std::string, std::string>>> TimelineService::first_wal_files(
    Epoch epoch) const {
  std::vector<std::pair<std::string, std::string>> files;
  for (const EpochHistory::Entry& entry : log_->history().entries) {
    if (entry.epoch != epoch || entry.durability != Durability::kAcceptor) continue;
    uint64_t first = pgformat::segment_number(entry.start);
    uint64_t last = pgformat::segment_number(pgformat::checkpoint_record_end(entry.start));
    for (uint64_t segment = first; segment <= last; ++segment) {
      std::string name = pgformat::segment_file_name(segment);
      auto content = env::read_file(log_->epoch_directory(epoch) + "/" + name);
      if (!content.ok() && content.status().code() == Code::kNotFound) continue;
      files.emplace_back(name, TIDE_TRY(std::move(content)));
    }
  }
  return files;
}

}  // namespace tide::storage
