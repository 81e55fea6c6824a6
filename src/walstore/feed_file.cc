#include "walstore/feed_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "env/file.h"

namespace tide::walstore {
namespace {

Result<TideFeed*> map(const std::string& path, int flags) {
  env::FileDescriptor file = TIDE_TRY(env::open_file(path, flags));
  if ((flags & O_CREAT) != 0 && ::ftruncate(file.get(), TIDE_FEED_SIZE) != 0) {
    return Status::from_errno(errno, fmt::format("size {}", path));
  }
  void* mapped = ::mmap(nullptr, TIDE_FEED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) return Status::from_errno(errno, fmt::format("map {}", path));
  return static_cast<TideFeed*>(mapped);
}

}  // namespace

Result<std::unique_ptr<FeedFile>> FeedFile::create(const std::string& path, Epoch epoch,
                                                   Lsn flushed) {
  TideFeed* feed = TIDE_TRY(map(path, O_RDWR | O_CREAT | O_TRUNC));
  feed->magic = TIDE_FEED_MAGIC;
  feed->version = TIDE_FEED_VERSION;
  feed->epoch = epoch.value;
  feed->flush_lsn = flushed.value();
  if (::msync(feed, TIDE_FEED_SIZE, MS_SYNC) != 0) {
    Status failed = Status::from_errno(errno, fmt::format("sync {}", path));
    ::munmap(feed, TIDE_FEED_SIZE);
    return failed;
  }
  return std::unique_ptr<FeedFile>(new FeedFile(feed));
}

Result<std::unique_ptr<FeedFile>> FeedFile::open(const std::string& path) {
  uint64_t size = TIDE_TRY(env::file_size(path));
  if (size < TIDE_FEED_SIZE)
    return Status(Code::kCorrupt, fmt::format("{} has {} bytes", path, size));
  TideFeed* feed = TIDE_TRY(map(path, O_RDWR));
  if (feed->magic != TIDE_FEED_MAGIC || feed->version != TIDE_FEED_VERSION) {
    ::munmap(feed, TIDE_FEED_SIZE);
    return Status(Code::kCorrupt, fmt::format("{} is not a feed file", path));
  }
  __atomic_store_n(&feed->waiters, 0U, __ATOMIC_SEQ_CST);  // of a storage role that was killed
  return std::unique_ptr<FeedFile>(new FeedFile(feed));
}

FeedFile::~FeedFile() { ::munmap(feed_, TIDE_FEED_SIZE); }

}  // namespace tide::walstore
