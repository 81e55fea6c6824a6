#include "pagestore/remote_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <rocksdb/file_system.h>
#include <rocksdb/options.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "base/crc32c.h"
#include "env/file.h"

namespace tide::pagestore {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

/// Part of the name of a file that is still coming in; RocksDB ignores names it does not know.
constexpr char kFetchingSuffix[] = ".fetching";

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

Result<uint32_t> crc_of_file(const std::string& path) {
  env::FileDescriptor file = TIDE_TRY(env::open_file(path, O_RDONLY));
  uint32_t crc = kCrc32cInit;
  Bytes buffer(size_t{1} << 20);
  while (true) {
    ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, fmt::format("read {}", path));
    if (got == 0) return crc32c_finish(crc);
    crc = crc32c_extend(crc, BytesView(buffer).first(static_cast<size_t>(got)));
  }
}

IOStatus io_status_of(const Status& status) {
  if (status.ok()) return IOStatus::OK();
  std::string text = status.to_string();
  IOStatus io = IOStatus::IOError(text);
  if (status.code() == Code::kNoSpace) io = IOStatus::NoSpace(text);
  // An object that a manifest names and the store does not have is lost data, not a missing file.
  if (status.code() == Code::kCorrupt || status.code() == Code::kNotFound)
    io = IOStatus::Corruption(text);
  // RocksDB tries compactions again after a retryable error instead of closing the database to
  // writes.
  if (status.code() == Code::kUnavailable || status.code() == Code::kRetry) io.SetRetryable(true);
  return io;
}

}  // namespace

/// Which files are missing; shared by the owner and the file system that RocksDB holds.
class RemoteFiles::State {
 public:
  State(std::string directory, objectstore::ObjectStore& store)
      : directory_(std::move(directory)), store_(store) {}

  Status load(const std::vector<RemoteFile>& files) {
    TIDE_TRY(env::make_directories(directory_));
    std::vector<std::string> present = TIDE_TRY(env::list_directory(directory_));
    for (const std::string& name : present) {
      if (name.find(kFetchingSuffix) != std::string::npos)
        TIDE_TRY(env::remove_file(directory_ + "/" + name));
    }
    for (const RemoteFile& file : files) {
      if (file.name.empty() || file.name.find('/') != std::string::npos) {
        return Status(Code::kCorrupt,
                      fmt::format("file name \"{}\" in a project's manifest", file.name));
      }
      if (std::binary_search(present.begin(), present.end(), file.name)) {
        uint64_t size = TIDE_TRY(env::file_size(directory_ + "/" + file.name));
        if (size != file.size) {
          return Status(Code::kCorrupt,
                        fmt::format("{}/{} has {} bytes, the project's manifest says {}",
                                    directory_, file.name, size, file.size));
        }
        continue;
      }
      missing_.emplace(file.name, Missing{file});
    }
    return {};
  }

  /// The plain name if `path` is a missing file of this database.
  std::optional<std::string> missing_name(const std::string& path) const {
    std::optional<std::string> name = name_of(path);
    if (!name) return std::nullopt;
    std::lock_guard lock(mutex_);
    if (!missing_.contains(*name)) return std::nullopt;
    return name;
  }

  /// The name within our directory, if `path` lies there.
  std::optional<std::string> name_of(const std::string& path) const {
    size_t slash = path.rfind('/');
    if (slash == std::string::npos || without_trailing_slash(path.substr(0, slash)) != directory_)
      return std::nullopt;
    return path.substr(slash + 1);
  }

  bool is_directory(const std::string& path) const {
    return without_trailing_slash(path) == directory_;
  }

  std::optional<uint64_t> missing_size(const std::string& path) const {
    std::optional<std::string> name = name_of(path);
    if (!name) return std::nullopt;
    std::lock_guard lock(mutex_);
    auto found = missing_.find(*name);
    if (found == missing_.end()) return std::nullopt;
    return found->second.file.size;
  }

  std::vector<std::string> missing_names() const {
    std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, missing] : missing_) names.push_back(name);
    return names;
  }

  Status fetch(const std::string& name) {
    RemoteFile file;
    {
      std::unique_lock lock(mutex_);
      auto found = missing_.find(name);
      if (found == missing_.end()) return {};
      if (found->second.fetching) {
        // Somebody is at it: its outcome is ours, so that a dead store is not asked once per
        // waiter.
        uint64_t round = found->second.round;
        changed_.wait(lock, [&] {
          found = missing_.find(name);
          return found == missing_.end() || found->second.round != round;
        });
        return found == missing_.end() ? Status() : found->second.last_error;
      }
      found->second.fetching = true;
      file = found->second.file;
    }
    Status fetched = download(file);
    std::lock_guard lock(mutex_);
    if (fetched.ok()) {
      missing_.erase(name);
      ++files_fetched_;
      bytes_fetched_ += file.size;
    } else {
      Missing& missing = missing_.at(name);
      missing.fetching = false;
      missing.last_error = fetched;
      ++missing.round;
      ++failures_;
    }
    changed_.notify_all();
    return fetched;
  }

  /// Takes a file off the list without fetching it. Waits for a download under way, whose file the
  /// caller then finds in the directory; false in that case and if the file was not missing.
  bool forget(const std::string& name) {
    std::unique_lock lock(mutex_);
    wait_while_fetching(lock, name);
    return missing_.erase(name) > 0;
  }

  /// True if the file was missing and is now known, still missing, as `to`.
  bool rename(const std::string& from, const std::string& to) {
    std::unique_lock lock(mutex_);
    wait_while_fetching(lock, from);
    auto node = missing_.extract(from);
    if (node.empty()) return false;
    node.key() = to;
    node.mapped().file.name = to;
    missing_.insert(std::move(node));
    return true;
  }

  RemoteFilesProgress progress() const {
    std::lock_guard lock(mutex_);
    RemoteFilesProgress progress{.files_missing = missing_.size(),
                                 .files_fetched = files_fetched_,
                                 .bytes_fetched = bytes_fetched_,
                                 .failures = failures_};
    for (const auto& [name, missing] : missing_) progress.bytes_missing += missing.file.size;
    return progress;
  }

 private:
  struct Missing {
    RemoteFile file;
    bool fetching = false;
    uint64_t round = 0;  ///< Failed downloads so far.
    Status last_error;
  };

  void wait_while_fetching(std::unique_lock<std::mutex>& lock, const std::string& name) {
    changed_.wait(lock, [&] {
      auto found = missing_.find(name);
      return found == missing_.end() || !found->second.fetching;
    });
  }

  Status download(const RemoteFile& file) {
    std::string path = directory_ + "/" + file.name;
    std::string incoming = path + kFetchingSuffix;
    Status done = [&]() -> Status {
      TIDE_TRY(store_.get_to_file(file.key, incoming));
      uint64_t size = TIDE_TRY(env::file_size(incoming));
      uint32_t crc = TIDE_TRY(crc_of_file(incoming));
      if (size != file.size || crc != file.crc32c) {
        return Status(Code::kCorrupt,
                      fmt::format(
                          "object {} has {} bytes with CRC {:08x}, the project's manifest says "
                          "{} bytes with CRC {:08x}",
                          file.key, size, crc, file.size, file.crc32c))
            .with_hint(
                "Restore the object from a copy of the bucket, or restore the project to an "
                "earlier manifest.");
      }
      if (::rename(incoming.c_str(), path.c_str()) != 0) {
        return Status::from_errno(errno, fmt::format("rename {} to {}", incoming, path));
      }
      return env::sync_directory(directory_);
    }();
    if (!done.ok()) {
      env::remove_file(incoming).ignore("removed at the next open");
      return std::move(done).with_context(
          fmt::format("fetch {} from {}", file.name, store_.describe()));
    }
    return {};
  }

  const std::string directory_;
  objectstore::ObjectStore& store_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Missing> missing_;
  uint64_t files_fetched_ = 0;
  uint64_t bytes_fetched_ = 0;
  uint64_t failures_ = 0;
};

namespace {

class RemoteFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit RemoteFileSystem(std::shared_ptr<RemoteFiles::State> state)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), state_(std::move(state)) {}

  const char* Name() const override { return "TidewaterRemoteFiles"; }

  IOStatus NewSequentialFile(const std::string& path, const FileOptions& options,
                             std::unique_ptr<rocksdb::FSSequentialFile>* result,
                             IODebugContext* debug) override {
    IOStatus here = bring(path);
    return here.ok() ? target()->NewSequentialFile(path, options, result, debug) : here;
  }
  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions& options,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                               IODebugContext* debug) override {
    IOStatus here = bring(path);
    return here.ok() ? target()->NewRandomAccessFile(path, options, result, debug) : here;
  }
  IOStatus NewRandomRWFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSRandomRWFile>* result,
                           IODebugContext* debug) override {
    IOStatus here = bring(path);
    return here.ok() ? target()->NewRandomRWFile(path, options, result, debug) : here;
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* result,
                              IODebugContext* debug) override {
    IOStatus here = bring(path);
    return here.ok() ? target()->ReopenWritableFile(path, options, result, debug) : here;
  }
  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext* debug) override {
    // A new file takes the place of the missing one, as it would of one that is here.
    if (std::optional<std::string> name = state_->missing_name(path)) state_->forget(*name);
    return target()->NewWritableFile(path, options, result, debug);
  }

  IOStatus FileExists(const std::string& path, const IOOptions& options,
                      IODebugContext* debug) override {
    if (state_->missing_name(path)) return IOStatus::OK();
    return target()->FileExists(path, options, debug);
  }
  IOStatus GetFileSize(const std::string& path, const IOOptions& options, uint64_t* size,
                       IODebugContext* debug) override {
    if (std::optional<uint64_t> missing = state_->missing_size(path)) {
      *size = *missing;
      return IOStatus::OK();
    }
    return target()->GetFileSize(path, options, size, debug);
  }
  IOStatus GetFileModificationTime(const std::string& path, const IOOptions& options,
                                   uint64_t* time, IODebugContext* debug) override {
    IOStatus here = bring(path);
    return here.ok() ? target()->GetFileModificationTime(path, options, time, debug) : here;
  }
  IOStatus GetChildren(const std::string& directory, const IOOptions& options,
                       std::vector<std::string>* names, IODebugContext* debug) override {
    // Missing names first: a file that arrives in between is then seen twice, never not at all.
    std::vector<std::string> missing;
    if (state_->is_directory(directory)) missing = state_->missing_names();
    IOStatus listed = target()->GetChildren(directory, options, names, debug);
    if (!listed.ok()) return listed;
    names->insert(names->end(), missing.begin(), missing.end());
    std::sort(names->begin(), names->end());
    names->erase(std::unique(names->begin(), names->end()), names->end());
    return listed;
  }
  IOStatus GetChildrenFileAttributes(const std::string& directory, const IOOptions& options,
                                     std::vector<rocksdb::FileAttributes>* result,
                                     IODebugContext* debug) override {
    // The base class asks our own GetChildren and GetFileSize.
    return FileSystem::GetChildrenFileAttributes(directory, options, result, debug);
  }

  IOStatus DeleteFile(const std::string& path, const IOOptions& options,
                      IODebugContext* debug) override {
    if (std::optional<std::string> name = state_->missing_name(path);
        name && state_->forget(*name)) {
      return IOStatus::OK();
    }
    return target()->DeleteFile(path, options, debug);
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override {
    std::optional<std::string> name = state_->missing_name(from);
    std::optional<std::string> new_name = state_->name_of(to);
    if (name && new_name && state_->rename(*name, *new_name)) return IOStatus::OK();
    IOStatus here = bring(from);
    return here.ok() ? target()->RenameFile(from, to, options, debug) : here;
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* debug) override {
    IOStatus here = bring(from);
    return here.ok() ? target()->LinkFile(from, to, options, debug) : here;
  }
  IOStatus NumFileLinks(const std::string& path, const IOOptions& options, uint64_t* count,
                        IODebugContext* debug) override {
    if (state_->missing_name(path)) {
      // The object is a second copy: RocksDB then deletes the file at once instead of shrinking it
      // step by step.
      *count = 2;
      return IOStatus::OK();
    }
    return target()->NumFileLinks(path, options, count, debug);
  }
  IOStatus AreFilesSame(const std::string& first, const std::string& second,
                        const IOOptions& options, bool* same, IODebugContext* debug) override {
    if (state_->missing_name(first) || state_->missing_name(second)) {
      *same = first == second;
      return IOStatus::OK();
    }
    return target()->AreFilesSame(first, second, options, same, debug);
  }

 private:
  IOStatus bring(const std::string& path) {
    std::optional<std::string> name = state_->missing_name(path);
    return name ? io_status_of(state_->fetch(*name)) : IOStatus::OK();
  }

  std::shared_ptr<RemoteFiles::State> state_;
};

}  // namespace

RemoteFiles::RemoteFiles(std::shared_ptr<State> state)
    : state_(std::move(state)), file_system_(std::make_shared<RemoteFileSystem>(state_)) {}

Result<std::unique_ptr<RemoteFiles>> RemoteFiles::open(const std::string& directory,
                                                       objectstore::ObjectStore& store,
                                                       const std::vector<RemoteFile>& files) {
  auto state = std::make_shared<State>(without_trailing_slash(directory), store);
  TIDE_TRY(state->load(files));
  return std::unique_ptr<RemoteFiles>(new RemoteFiles(std::move(state)));
}

std::shared_ptr<rocksdb::FileSystem> RemoteFiles::file_system() const { return file_system_; }

Status RemoteFiles::fetch(const std::string& name) { return state_->fetch(name); }

Status RemoteFiles::fetch_all(const std::stop_token& stop) {
  for (const std::string& name : state_->missing_names()) {
    if (stop.stop_requested()) return {};
    TIDE_TRY(state_->fetch(name));
  }
  return {};
}

RemoteFilesProgress RemoteFiles::progress() const { return state_->progress(); }

void set_lazy_open(rocksdb::DBOptions& options) {
  // RocksDB opens min(16, table cache / 4) tables at DB::Open; its smallest table cache is 20 - 10
  // entries.
  options.max_open_files = 20;
  options.skip_stats_update_on_db_open = true;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.max_file_opening_threads = 1;
}

}  // namespace tide::pagestore
