#include "walstore/spare_segments.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <vector>

#include "base/lsn.h"
#include "env/file.h"
#include "obs/log.h"

namespace tide::walstore {
namespace {

/// Whoever took one is starting just now: the disk is theirs for a moment.
constexpr auto kPause = std::chrono::milliseconds(500);
constexpr auto kRetryPause = std::chrono::seconds(10);
constexpr size_t kPiece = 1 << 20;
constexpr int kNice = 10;

/// A whole segment that nobody else has under another name.
bool is_spare(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1 &&
         static_cast<uint64_t>(info.st_size) == kWalSegmentSize;
}

}  // namespace

SpareSegments::SpareSegments(std::string directory, int count)
    : directory_(std::move(directory)), count_(count), ready_(static_cast<size_t>(count)) {}

Result<std::unique_ptr<SpareSegments>> SpareSegments::open(const std::string& directory,
                                                           int count) {
  TIDE_TRY(env::make_directories(directory));
  std::unique_ptr<SpareSegments> spares(new SpareSegments(directory, count));
  for (const std::string& name : TIDE_TRY(env::list_directory(directory))) {
    bool kept = false;
    for (int number = 0; number < count; ++number) {
      std::string path = spares->path_of(number);
      if (path != directory + "/" + name || !is_spare(path)) continue;
      spares->ready_[static_cast<size_t>(number)] = kept = true;
    }
    if (!kept) TIDE_TRY(env::remove_file(directory + "/" + name));
  }
  spares->thread_ = std::thread([raw = spares.get()] { raw->run(); });
  return spares;
}

SpareSegments::~SpareSegments() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::string SpareSegments::path_of(int number) const {
  return fmt::format("{}/zeros-{}", directory_, number);
}

int SpareSegments::ready() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(std::count(ready_.begin(), ready_.end(), true));
}

Result<bool> SpareSegments::give(const std::string& path) {
  std::lock_guard lock(mutex_);
  auto found = std::find(ready_.begin(), ready_.end(), true);
  if (found == ready_.end()) return false;
  std::string spare = path_of(static_cast<int>(found - ready_.begin()));
  // Never over a segment that PostgreSQL has made meanwhile, and never under two names.
  if (::renameat2(AT_FDCWD, spare.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST || errno == EINVAL) return false;
    return Status::from_errno(errno, fmt::format("move {} to {}", spare, path));
  }
  *found = false;
  wake_.notify_all();
  return true;
}

void SpareSegments::run() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (std::find(ready_.begin(), ready_.end(), false) == ready_.end()) {
      wake_.wait(lock);
      continue;
    }
    wake_.wait_for(lock, kPause, [this] { return stopping_; });
    for (int number = 0; number < count_ && !stopping_; ++number) {
      if (ready_[static_cast<size_t>(number)]) continue;
      lock.unlock();
      Status made = make(number);
      lock.lock();
      ready_[static_cast<size_t>(number)] = made.ok();
      if (made.ok() || stopping_) continue;
      obs::warn("make a spare WAL segment, trying again: {}", made.to_string());
      wake_.wait_for(lock, kRetryPause, [this] { return stopping_; });
    }
  }
}

/// Called without the lock. The final name appears when all of it is on disk.
Status SpareSegments::make(int number) {
  std::string path = path_of(number);
  std::string unfinished = path + ".new";
  env::FileDescriptor file =
      TIDE_TRY(env::open_file(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  std::vector<std::byte> zeros(kPiece);
  for (uint64_t at = 0; at < kWalSegmentSize; at += kPiece) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return {};
    }
    TIDE_TRY(env::write_at(file.get(), at, zeros));
  }
  TIDE_TRY(env::sync_data(file.get(), unfinished));
  if (::rename(unfinished.c_str(), path.c_str()) != 0) {
    return Status::from_errno(errno, fmt::format("rename {}", unfinished));
  }
  return env::sync_directory(directory_);
}

}  // namespace tide::walstore
