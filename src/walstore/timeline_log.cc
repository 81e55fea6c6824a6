#include "walstore/timeline_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <utility>

#include "env/futex.h"
#include "obs/log.h"
#include "pgformat/wal_format.h"
#include "pgformat/wal_reader.h"

namespace tide::walstore {
namespace {

constexpr size_t kReadChunk = 1 << 20;

using pgformat::segment_number;

Lsn segment_begin(Lsn lsn) { return pgformat::segment_start(segment_number(lsn)); }
std::string segment_name(Lsn lsn) { return pgformat::segment_file_name(segment_number(lsn)); }

bool is_shutdown_checkpoint(const pgformat::WalRecordView& record) {
  return record.bytes[17] == static_cast<std::byte>(pgformat::Rmgr::kXlog) &&
         (record.bytes[16] & std::byte{0xF0}) == std::byte{pgformat::xlog::kCheckpointShutdown};
}

/// Wakes those that sleep on a FlushWatch's word, and those about to.
void raise_signal(uint32_t* signal) {
  __atomic_fetch_add(signal, 1U, __ATOMIC_SEQ_CST);
  env::futex_wake_all(signal);
}

/// Process ids that have `path` open, for people; best effort.
std::string holders_of(const std::string& path) {
  struct stat wanted {};
  if (::stat(path.c_str(), &wanted) != 0) return "";
  std::string pids;
  std::error_code ignored;
  for (const auto& process : std::filesystem::directory_iterator("/proc", ignored)) {
    std::string pid = process.path().filename().string();
    if (!std::all_of(pid.begin(), pid.end(), ::isdigit) || pid == std::to_string(::getpid()))
      continue;
    std::error_code denied;
    for (const auto& fd : std::filesystem::directory_iterator(process.path() / "fd", denied)) {
      struct stat open {};
      if (::stat(fd.path().c_str(), &open) != 0) continue;
      if (open.st_dev == wanted.st_dev && open.st_ino == wanted.st_ino) {
        pids += (pids.empty() ? "" : ", ") + pid;
        break;
      }
    }
  }
  return pids;
}

}  // namespace

Result<std::unique_ptr<TimelineLog>> TimelineLog::open(const std::string& directory, TimelineId id,
                                                       SpareSegments* spares) {
  std::unique_ptr<TimelineLog> log(new TimelineLog(directory, id, spares));
  if (!env::is_directory(directory)) {
    TIDE_TRY(env::make_directories(directory));
    TIDE_TRY(env::sync_directory(std::filesystem::path(directory).parent_path().string()));
  }
  std::string path = directory + "/history.json";
  if (!env::exists(path)) return log;
  std::string text = TIDE_TRY(env::read_file(path));
  auto history = EpochHistory::from_json(text);
  if (!history.ok()) return std::move(history).status().with_context(path);
  log->history_ = std::move(history).value();
  const EpochHistory::Entry* last = log->history_.last();
  if (last != nullptr && !last->end) {
    if (last->durability == Durability::kLocal) {
      log->feed_ = TIDE_TRY(log->open_feed(*last));
      if (log->history_.promised > last->epoch) log->feed_->fence();
    } else {
      log->accepted_ = last->start.value();
    }
  }
  return log;
}

EpochHistory TimelineLog::history() const {
  std::lock_guard lock(mutex_);
  return history_;
}

std::string TimelineLog::epoch_directory(Epoch epoch) const {
  return fmt::format("{}/{}", directory_, epoch);
}

Lsn TimelineLog::flushed() const {
  std::lock_guard lock(mutex_);
  return flushed_locked();
}

TimelineLog::View TimelineLog::view(Lsn at) const {
  std::lock_guard lock(mutex_);
  View view;
  if (const EpochHistory::Entry* writer = history_.writer_of(at)) view.writer = *writer;
  view.flushed = flushed_locked();
  return view;
}

Lsn TimelineLog::flushed_locked() const {
  const EpochHistory::Entry* last = history_.last();
  if (last == nullptr) return Lsn();
  if (last->end) return *last->end;
  Lsn reported = last->durability == Durability::kLocal ? feed_->flushed() : Lsn(accepted_.load());
  return std::max(reported, last->start);
}

bool TimelineLog::has_open_epoch() const {
  std::lock_guard lock(mutex_);
  return history_.last() != nullptr && !history_.last()->end;
}

Epoch TimelineLog::promised() const {
  std::lock_guard lock(mutex_);
  return history_.promised;
}

Status TimelineLog::save_history() {
  return env::write_file_atomically(directory_ + "/history.json", history_.to_json());
}

Status TimelineLog::promise(Epoch epoch) {
  std::lock_guard lock(mutex_);
  if (epoch < history_.promised) {
    return Status(Code::kStaleEpoch, fmt::format("epoch {} of {} is over", epoch, id_))
        .with_detail(fmt::format("Epoch {} was promised already.", history_.promised));
  }
  if (epoch == history_.promised) return {};
  Epoch before = std::exchange(history_.promised, epoch);
  if (Status saved = save_history(); !saved.ok()) {
    history_.promised = before;  // not durable, so not promised: the next call must try again
    return saved;
  }
  if (feed_ != nullptr) feed_->fence();
  wake_locked();
  return {};
}

Result<env::FileDescriptor> TimelineLog::prove_dead(const EpochHistory::Entry& entry) const {
  if (entry.durability != Durability::kLocal) return env::FileDescriptor();
  std::string path = epoch_directory(entry.epoch) + "/lock";
  env::FileDescriptor lock = TIDE_TRY(env::open_lock_file(path));
  if (TIDE_TRY(env::try_lock(lock.get(), env::LockKind::kExclusive))) return lock;
  return Status(Code::kConflict,
                fmt::format("the compute of {} {} is still alive", id_, entry.epoch))
      .with_detail(fmt::format("Processes {} hold {}.", holders_of(path), path))
      .with_hint("End them before a new epoch begins.");
}

Result<std::unique_ptr<FeedFile>> TimelineLog::open_feed(const EpochHistory::Entry& entry) const {
  std::string path = epoch_directory(entry.epoch) + "/feed";
  auto feed = FeedFile::open(path);
  if (feed.ok()) return feed;
  if (feed.status().code() != Code::kCorrupt && feed.status().code() != Code::kNotFound)
    return feed;
  // With the compute dead, all it told is in the WAL, where close_epoch() finds it.
  env::FileDescriptor dead = TIDE_TRY(prove_dead(entry));
  obs::warn("{} {}: {}; made anew", id_, entry.epoch, feed.status().message());
  return FeedFile::create(path, entry.epoch, entry.start);
}

Result<TimelineLog::End> TimelineLog::scan_end(const EpochHistory::Entry& entry, Lsn from,
                                               Lsn durable) const {
  pgformat::WalReader::Options options;
  options.start = std::max(from, entry.start);
  options.prev = options.start == entry.start ? entry.prev : Lsn();
  pgformat::WalReader reader(options);
  End end;
  bool any = false;
  while (true) {
    auto record = reader.next();
    bool stopped = !record.ok() || reader.ended();
    if (!stopped && *record) {
      end.clean = is_shutdown_checkpoint(**record);
      any = true;
      continue;
    }
    // First what is durable: it may end inside a record, but all of it is WAL.
    bool in_durable = reader.fed_end() < durable;
    if (!stopped)
      stopped = !TIDE_TRY(feed_reader(entry, reader, in_durable ? durable : Lsn::max()));
    if (!stopped) continue;
    if (in_durable || (reader.fed_end() == durable && (!record.ok() || reader.ended()))) {
      return Status(Code::kCorrupt, fmt::format("WAL of {} {} is damaged at {}", id_, entry.epoch,
                                                reader.valid_end()))
          .with_detail(
              fmt::format("It was durable up to {}. {}", durable,
                          record.ok() ? "The rest is missing." : record.status().message()))
          .with_hint("With an object store, a fresh data directory opens the last upload.");
    }
    break;
  }
  end.end = reader.valid_end();
  end.prev = reader.last_record();
  // Nothing behind `from`: what stands before it was examined by others.
  if (!any) return find_last_record(entry, end.end);
  return end;
}

Result<bool> TimelineLog::feed_reader(const EpochHistory::Entry& entry, pgformat::WalReader& reader,
                                      Lsn limit) const {
  Lsn at = reader.fed_end();
  if (at >= limit) return false;
  size_t wanted =
      std::min<uint64_t>({kReadChunk, segment_begin(at) + kWalSegmentSize - at, limit - at});
  auto file = env::open_file(epoch_directory(entry.epoch) + "/" + segment_name(at), O_RDONLY);
  if (!file.ok() && file.status().code() == Code::kNotFound) return false;
  if (!file.ok()) return std::move(file).status();
  std::string bytes = TIDE_TRY(env::read_range(file->get(), at - segment_begin(at), wanted));
  reader.feed(as_bytes(bytes));
  return !bytes.empty();
}

Result<TimelineLog::End> TimelineLog::find_last_record(const EpochHistory::Entry& entry,
                                                       Lsn end) const {
  if (end <= entry.start) return End{end, entry.prev};
  // From the begin of the last segment, or farther back where one record fills all of that.
  Lsn from = segment_begin(end - 1);
  while (true) {
    pgformat::WalReader::Options options;
    options.start = std::max(from, entry.start);
    options.skip_continued_record = options.start != entry.start;
    pgformat::WalReader reader(options);
    bool clean = false;
    while (reader.valid_end() < end) {
      auto record = reader.next();
      if (!record.ok() || reader.ended()) break;
      if (*record) clean = is_shutdown_checkpoint(**record);
      if (!*record && !TIDE_TRY(feed_reader(entry, reader, end))) break;
    }
    if (reader.valid_end() == end && reader.last_record().is_valid()) {
      return End{end, reader.last_record(), clean};
    }
    if (options.start == entry.start || from.value() < kWalSegmentSize) return End{end, Lsn()};
    from = Lsn(from.value() - kWalSegmentSize);
  }
}

Status TimelineLog::sync_segments(const EpochHistory::Entry& entry, Lsn from, Lsn to) const {
  std::string directory = epoch_directory(entry.epoch);
  for (Lsn at = segment_begin(from); at < to; at = at + kWalSegmentSize) {
    std::string path = directory + "/" + segment_name(at);
    auto file = env::open_file(path, O_RDWR);
    if (!file.ok() && file.status().code() == Code::kNotFound) continue;
    if (!file.ok()) return std::move(file).status();
    TIDE_TRY(env::sync_data(file->get(), path));
  }
  return env::sync_directory(directory);
}

Result<TimelineLog::End> TimelineLog::close_epoch(Lsn known_boundary) {
  EpochHistory::Entry entry;
  {
    std::lock_guard lock(mutex_);
    const EpochHistory::Entry* last = history_.last();
    if (last == nullptr) return Status(Code::kNotFound, fmt::format("{} never had a compute", id_));
    if (last->end) return End{*last->end, last->last_record, last->clean};
    entry = *last;
  }
  env::FileDescriptor dead = TIDE_TRY(prove_dead(entry));
  Lsn reported = flushed();
  End end = TIDE_TRY(scan_end(entry, known_boundary, reported));
  // What was flushed behind the last whole record is the begin of one that was never finished.
  if (reported > end.end) {
    obs::info("{} {}: {} bytes of an unfinished record are left behind", id_, entry.epoch,
              reported - end.end);
  }
  TIDE_TRY(sync_segments(entry, known_boundary, end.end));
  std::lock_guard lock(mutex_);
  history_.entries.back().end = end.end;
  history_.entries.back().last_record = end.prev;
  history_.entries.back().clean = end.clean;
  if (Status saved = save_history(); !saved.ok()) {
    history_.entries.back() = entry;  // still open: the next call must try again
    return saved;
  }
  // A compute that somebody starts too late finds itself fenced.
  if (feed_ != nullptr) feed_->fence();
  wake_locked();
  feed_.reset();
  open_segment_ = {};
  obs::info("{} {} ended at {}{}", id_, entry.epoch, end.end, end.clean ? ", cleanly" : "");
  return end;
}

Status TimelineLog::begin_epoch(Epoch epoch, Durability durability, Lsn start, Lsn prev,
                                Lsn first_end, const std::vector<pgformat::SegmentPiece>& pieces) {
  std::lock_guard lock(mutex_);
  TIDE_CHECK(history_.last() == nullptr || history_.last()->end);
  if (epoch < history_.promised ||
      (history_.last() != nullptr && epoch <= history_.last()->epoch)) {
    return {Code::kStaleEpoch, fmt::format("epoch {} of {} is over", epoch, id_)};
  }
  std::string directory = epoch_directory(epoch);
  TIDE_TRY(env::remove_tree(directory));  // of an attempt that did not reach the history
  TIDE_TRY(env::make_directories(directory + "/archive_status"));
  // One sync a file, not one a piece: a start far into a segment has a piece for each page before
  // it.
  std::map<uint64_t, env::FileDescriptor> segments;
  for (const pgformat::SegmentPiece& piece : pieces) {
    std::string path = directory + "/" + pgformat::segment_file_name(piece.segment);
    env::FileDescriptor& file = segments[piece.segment];
    if (!file.is_open()) {
      file = TIDE_TRY(env::open_file(path, O_RDWR | O_CREAT));
      if (::ftruncate(file.get(), kWalSegmentSize) != 0) {
        return Status::from_errno(errno, fmt::format("size {}", path));
      }
    }
    TIDE_TRY(env::write_at(file.get(), piece.offset, as_bytes(piece.bytes)));
  }
  for (const auto& [segment, file] : segments) {
    TIDE_TRY(env::sync_data(file.get(), directory + "/" + pgformat::segment_file_name(segment)));
  }
  std::shared_ptr<FeedFile> feed;
  if (durability == Durability::kLocal) {
    feed = TIDE_TRY(FeedFile::create(directory + "/feed", epoch, first_end));
    TIDE_TRY(env::open_lock_file(directory + "/lock"));
    lay_next_segment(directory, first_end);
  }
  TIDE_TRY(env::sync_directory(directory));
  Epoch promised_before = std::exchange(history_.promised, epoch);
  history_.entries.push_back(
      {.epoch = epoch, .start = start, .prev = prev, .durability = durability});
  if (Status saved = save_history(); !saved.ok()) {
    history_.entries.pop_back();
    history_.promised = promised_before;
    return saved;
  }
  wake_locked();
  feed_ = std::move(feed);
  accepted_ = first_end.value();
  open_segment_ = {};
  obs::info("{} {} begins at {}, {} durability", id_, epoch, start, durability_name(durability));
  return {};
}

void TimelineLog::lay_next_segment(const std::string& directory, Lsn first_end) {
  // PreallocXlogFiles() in xlog.c: from three quarters of a segment on.
  uint64_t used = (first_end - 1).value() % kWalSegmentSize;
  if (spares_ == nullptr || used < kWalSegmentSize / 4 * 3) return;
  std::string next = pgformat::segment_file_name(segment_number(first_end - 1) + 1);
  spares_->give(directory + "/" + next).status().ignore("then PostgreSQL makes it");
}

Result<size_t> TimelineLog::read(Lsn from, Lsn limit, std::span<std::byte> out) {
  std::lock_guard lock(mutex_);
  const EpochHistory::Entry* entry = history_.writer_of(from);
  if (entry == nullptr || from >= limit) return size_t{0};
  Lsn end = std::min({limit, entry->end.value_or(Lsn::max()), segment_begin(from) + kWalSegmentSize,
                      from + out.size()});
  std::string path = epoch_directory(entry->epoch) + "/" + segment_name(from);
  if (open_segment_.path != path) {
    auto file = env::open_file(path, O_RDONLY);
    if (!file.ok() && file.status().code() == Code::kNotFound) {
      return Status(Code::kOutOfRange,
                    fmt::format("WAL of {} at {} is not there any more", id_, from));
    }
    if (!file.ok()) return std::move(file).status();
    open_segment_ = {path, std::move(file).value()};
  }
  size_t done = 0;
  while (from + done < end) {
    ssize_t got = ::pread(open_segment_.file.get(), out.data() + done, end - from - done,
                          static_cast<off_t>(from + done - segment_begin(from)));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, fmt::format("read {}", path));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

Result<size_t> TimelineLog::read_epoch(Epoch epoch, Lsn from, Lsn limit,
                                       std::span<std::byte> out) const {
  Lsn end = std::min({limit, segment_begin(from) + kWalSegmentSize, from + out.size()});
  if (from >= end) return size_t{0};
  std::string path = epoch_directory(epoch) + "/" + segment_name(from);
  auto file = env::open_file(path, O_RDONLY);
  if (!file.ok() && file.status().code() == Code::kNotFound) {
    return Status(Code::kOutOfRange,
                  fmt::format("WAL of {} {} at {} is not there any more", id_, epoch, from));
  }
  if (!file.ok()) return std::move(file).status();
  size_t done = 0;
  while (from + done < end) {
    ssize_t got = ::pread(file->get(), out.data() + done, end - from - done,
                          static_cast<off_t>(from + done - segment_begin(from)));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, fmt::format("read {}", path));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

Status TimelineLog::recover_accepted(Lsn known_boundary) {
  EpochHistory history = this->history();
  const EpochHistory::Entry* last = history.last();
  if (last == nullptr || last->end || last->durability != Durability::kAcceptor) return {};
  End end = TIDE_TRY(scan_end(*last, known_boundary, last->start));
  TIDE_TRY(sync_segments(*last, known_boundary, end.end));
  set_accepted(end.end);
  return {};
}

void TimelineLog::set_accepted(Lsn lsn) {
  uint64_t known = accepted_;
  while (known < lsn.value() && !accepted_.compare_exchange_weak(known, lsn.value())) {
  }
  raise_signal(&signal_);  // without the mutex, which readers hold: commits wait for us
}

void TimelineLog::wake() const {
  std::lock_guard lock(mutex_);
  wake_locked();
}

void TimelineLog::wake_locked() const {
  raise_signal(&signal_);
  if (feed_ != nullptr) raise_signal(feed_->signal());
}

std::shared_ptr<FeedFile> TimelineLog::feed() const {
  std::lock_guard lock(mutex_);
  return feed_;
}

Result<int> TimelineLog::trim(Lsn lsn) {
  EpochHistory history = this->history();
  int removed = 0;
  for (const EpochHistory::Entry& entry : history.entries) {
    std::string directory = epoch_directory(entry.epoch);
    if (!env::is_directory(directory)) continue;
    if (entry.end && *entry.end <= lsn && &entry != history.last()) {
      TIDE_TRY(env::remove_tree(directory));
      ++removed;
      continue;
    }
    for (const std::string& name : TIDE_TRY(env::list_directory(directory))) {
      auto number = pgformat::parse_segment_file_name(name);
      if (!number.ok() || pgformat::segment_start(*number + 1) > lsn) continue;
      TIDE_TRY(env::remove_file(directory + "/" + name));
      ++removed;
    }
  }
  return removed;
}

uint64_t TimelineLog::disk_bytes() const {
  uint64_t bytes = 0;
  std::error_code ignored;
  for (const auto& file : std::filesystem::recursive_directory_iterator(directory_, ignored)) {
    struct stat info {};
    if (::stat(file.path().c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    }
  }
  return bytes;
}

}  // namespace tide::walstore
