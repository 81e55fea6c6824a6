#include "objectstore/internal/local_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <functional>
#include <mutex>
#include <random>
#include <set>

#include "env/file.h"

namespace tide::objectstore::internal {
namespace {

/// Unfinished files older than this belong to nobody: no single write takes so long.
constexpr time_t kUnfinishedSecondsMax = 24 * 3600;

Status no_object(const std::string& key) {
  return Status(Code::kNotFound, fmt::format("no object {}", key));
}

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

/// Copies all of `from` to `to`, in the kernel where it can (which shares blocks on some file
/// systems).
Status copy_bytes(int from, int to, const std::string& from_path, const std::string& to_path,
                  uint64_t& copied) {
  copied = 0;
  while (true) {
    ssize_t moved = ::copy_file_range(from, nullptr, to, nullptr, size_t{1} << 30, 0);
    if (moved > 0) {
      copied += static_cast<uint64_t>(moved);
      continue;
    }
    // Some file systems answer 0 although there are bytes, so an empty copy is tried the plain way
    // too.
    if (moved == 0 && copied > 0) return {};
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP &&
        errno != EPERM) {
      return Status::from_errno(errno, fmt::format("copy {} to {}", from_path, to_path));
    }
    break;
  }
  Bytes buffer(size_t{1} << 20);
  while (true) {
    ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, fmt::format("read {}", from_path));
    if (got == 0) return {};
    Status written = env::write_all(to, BytesView(buffer).first(static_cast<size_t>(got)));
    if (!written.ok()) return std::move(written).with_context(to_path);
    copied += static_cast<uint64_t>(got);
  }
}

class LocalStore final : public ObjectStore {
 public:
  explicit LocalStore(std::string directory)
      : directory_(std::move(directory)),
        unfinished_(fmt::format("{}/{}", directory_, kTemporaryDirectory)),
        tag_((uint64_t{std::random_device{}()} << 32) | std::random_device{}()) {}

  Status prepare() {
    TIDE_TRY(env::make_directories(unfinished_));
    TIDE_TRY(env::sync_directory(directory_));
    std::vector<std::string> names = TIDE_TRY(env::list_directory(unfinished_));
    for (const std::string& name : names) {
      std::string path = unfinished_ + "/" + name;
      struct stat info {};
      if (::stat(path.c_str(), &info) == 0 &&
          info.st_mtime + kUnfinishedSecondsMax < ::time(nullptr)) {
        env::remove_file(path).ignore("left-overs only cost space");
      }
    }
    return {};
  }

  Status put(const std::string& key, BytesView bytes) override {
    bool written = TIDE_TRY(write(key, Placement::kReplace, [&](int fd, const std::string& path) {
      bytes_out_ += bytes.size();
      return env::write_all(fd, bytes).with_context(path);
    }));
    TIDE_CHECK(written);
    return {};
  }

  Status put_file(const std::string& key, const std::string& source_path) override {
    env::FileDescriptor source = TIDE_TRY(env::open_file(source_path, O_RDONLY));
    if (TIDE_TRY(link_file(key, source.get(), source_path))) return {};
    bool written = TIDE_TRY(write(key, Placement::kReplace, [&](int fd, const std::string& path) {
      uint64_t copied = 0;
      Status status = copy_bytes(source.get(), fd, source_path, path, copied);
      bytes_out_ += copied;
      return status;
    }));
    TIDE_CHECK(written);
    return {};
  }

  Result<bool> put_if_absent(const std::string& key, BytesView bytes) override {
    return write(key, Placement::kOnlyNew, [&](int fd, const std::string& path) {
      bytes_out_ += bytes.size();
      return env::write_all(fd, bytes).with_context(path);
    });
  }

  Result<std::string> get(const std::string& key) override {
    TIDE_TRY(check_key(key));
    ++requests_;
    Result<env::FileDescriptor> file = open_object(key);
    if (!file.ok()) return std::move(file).status();
    struct stat info {};
    if (::fstat(file->get(), &info) != 0)
      return Status::from_errno(errno, fmt::format("stat {}", key));
    std::string content =
        TIDE_TRY(env::read_range(file->get(), 0, static_cast<size_t>(info.st_size)));
    bytes_in_ += content.size();
    return content;
  }

  Status get_to_file(const std::string& key, const std::string& path) override {
    TIDE_TRY(check_key(key));
    ++requests_;
    Result<env::FileDescriptor> source = open_object(key);
    if (!source.ok()) return std::move(source).status();
    std::string temporary = fmt::format("{}.tide-{:016x}-{}", path, tag_, ++temporary_count_);
    Status copied = [&]() -> Status {
      env::FileDescriptor target = TIDE_TRY(env::open_file(temporary, O_WRONLY | O_CREAT | O_EXCL));
      uint64_t size = 0;
      TIDE_TRY(copy_bytes(source->get(), target.get(), key, temporary, size));
      bytes_in_ += size;
      TIDE_TRY(env::sync_data(target.get(), temporary));
      if (::rename(temporary.c_str(), path.c_str()) != 0) {
        return Status::from_errno(errno, fmt::format("rename {} to {}", temporary, path));
      }
      return {};
    }();
    if (!copied.ok()) {
      env::remove_file(temporary).ignore("the first error is the one to report");
      return std::move(copied).with_context(fmt::format("get {}", key));
    }
    std::string parent = path.find('/') == std::string::npos ? "." : parent_of(path);
    return env::sync_directory(parent.empty() ? "/" : parent);
  }

  Result<std::string> get_range(const std::string& key, uint64_t offset, uint64_t size) override {
    TIDE_TRY(check_key(key));
    ++requests_;
    Result<env::FileDescriptor> file = open_object(key);
    if (!file.ok()) return std::move(file).status();
    struct stat info {};
    if (::fstat(file->get(), &info) != 0)
      return Status::from_errno(errno, fmt::format("stat {}", key));
    auto total = static_cast<uint64_t>(info.st_size);
    if (offset > total || (offset == total && size > 0)) {
      return Status(Code::kOutOfRange,
                    fmt::format("object {} has {} bytes, asked at {}", key, total, offset));
    }
    std::string content =
        TIDE_TRY(env::read_range(file->get(), offset, std::min(size, total - offset)));
    bytes_in_ += content.size();
    return content;
  }

  Result<std::optional<uint64_t>> head(const std::string& key) override {
    TIDE_TRY(check_key(key));
    ++requests_;
    struct stat info {};
    if (::stat(path_of(key).c_str(), &info) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::optional<uint64_t>();
      return Status::from_errno(errno, fmt::format("look at object {}", key));
    }
    if (!S_ISREG(info.st_mode)) return std::optional<uint64_t>();
    return std::optional<uint64_t>(static_cast<uint64_t>(info.st_size));
  }

  Result<std::vector<ObjectInfo>> list(const std::string& prefix) override {
    ++requests_;
    // Only the directory part can be followed by name; the rest is compared.
    size_t slash = prefix.rfind('/');
    std::string start = slash == std::string::npos ? "" : prefix.substr(0, slash);
    if (!start.empty()) TIDE_TRY(check_key(start));
    std::vector<ObjectInfo> objects;
    TIDE_TRY(walk(start, prefix, objects));
    std::sort(objects.begin(), objects.end(),
              [](const ObjectInfo& a, const ObjectInfo& b) { return a.key < b.key; });
    return objects;
  }

  Status remove(const std::string& key) override {
    TIDE_TRY(check_key(key));
    ++requests_;
    std::string path = path_of(key);
    if (::unlink(path.c_str()) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return {};
      return Status::from_errno(errno, fmt::format("remove object {}", key));
    }
    return env::sync_directory(parent_of(path));
  }

  ObjectStoreStats stats() const override {
    return {.requests = requests_, .retries = 0, .bytes_out = bytes_out_, .bytes_in = bytes_in_};
  }
  std::string describe() const override { return "file://" + directory_; }

 private:
  enum class Placement { kReplace, kOnlyNew };

  std::string path_of(const std::string& key) const { return directory_ + "/" + key; }

  Result<env::FileDescriptor> open_object(const std::string& key) {
    Result<env::FileDescriptor> file = env::open_file(path_of(key), O_RDONLY);
    if (!file.ok() && file.status().code() == Code::kNotFound) return no_object(key);
    return file;
  }

  /// Makes the directories above `path`, each made durable in its parent.
  Status make_parents(const std::string& path) {
    for (size_t slash = path.find('/', directory_.size() + 1); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      std::string parent = path.substr(0, slash);
      {
        std::lock_guard lock(mutex_);
        if (durable_directories_.contains(parent)) continue;
      }
      if (::mkdir(parent.c_str(), 0700) != 0 && errno != EEXIST) {
        return Status::from_errno(errno, fmt::format("make directory {}", parent));
      }
      if (!env::is_directory(parent)) {
        return Status(Code::kConflict,
                      fmt::format("{} is an object, so no key may lie below it", parent));
      }
      // Also when it was there: whoever made it may have died before syncing it.
      TIDE_TRY(env::sync_directory(parent_of(parent)));
      std::lock_guard lock(mutex_);
      durable_directories_.insert(parent);
    }
    return {};
  }

  /// False only for kOnlyNew, when the object is there already.
  Result<bool> write(const std::string& key, Placement placement,
                     const std::function<Status(int fd, const std::string& path)>& fill) {
    TIDE_TRY(check_key(key));
    ++requests_;
    std::string path = path_of(key);
    TIDE_TRY(make_parents(path));
    if (env::is_directory(path)) {
      return Status(Code::kConflict, fmt::format("object {} would hide the keys below it", key));
    }
    std::string temporary = fmt::format("{}/{:016x}-{}", unfinished_, tag_, ++temporary_count_);
    Result<bool> placed = [&]() -> Result<bool> {
      env::FileDescriptor file = TIDE_TRY(env::open_file(temporary, O_WRONLY | O_CREAT | O_EXCL));
      TIDE_TRY(fill(file.get(), temporary));
      // fsync, not fdatasync: the size must be durable before the name is.
      if (::fsync(file.get()) != 0)
        return Status::from_errno(errno, fmt::format("sync {}", temporary));
      if (placement == Placement::kReplace) {
        if (::rename(temporary.c_str(), path.c_str()) == 0) return true;
        return Status::from_errno(errno, fmt::format("rename {} to {}", temporary, path));
      }
      // link() fails where rename() would replace: exactly one of several writers succeeds.
      if (::link(temporary.c_str(), path.c_str()) == 0) return true;
      if (errno == EEXIST) return false;
      return Status::from_errno(errno, fmt::format("link {} to {}", temporary, path));
    }();
    if (placement == Placement::kOnlyNew || !placed.ok()) {
      env::remove_file(temporary).ignore("left-overs are removed at a later open");
    }
    if (!placed.ok()) return std::move(placed).status().with_context(fmt::format("put {}", key));
    if (*placed) TIDE_TRY(env::sync_directory(parent_of(path)));
    return *placed;
  }

  /// Keeps a file of the same file system by a second name: no bytes are moved and none are held
  /// twice. False where the file system cannot, or the file is another user's: then it must be
  /// copied.
  Result<bool> link_file(const std::string& key, int source, const std::string& source_path) {
    TIDE_TRY(check_key(key));
    std::string path = path_of(key);
    TIDE_TRY(make_parents(path));
    if (env::is_directory(path)) return false;  // write() says what is wrong
    if (::fsync(source) != 0) return Status::from_errno(errno, fmt::format("sync {}", source_path));
    std::string temporary = fmt::format("{}/{:016x}-{}", unfinished_, tag_, ++temporary_count_);
    if (::link(source_path.c_str(), temporary.c_str()) != 0) return false;
    ++requests_;
    int renamed = ::rename(temporary.c_str(), path.c_str());
    int error = errno;
    // Where `path` is this very file already, rename() leaves both names.
    env::remove_file(temporary).ignore("left-overs are removed at a later open");
    if (renamed != 0)
      return Status::from_errno(error, fmt::format("rename {} to {}", temporary, path));
    TIDE_TRY(env::sync_directory(parent_of(path)));
    return true;
  }

  /// Adds every object below key directory `at` (empty: all) whose key begins with `prefix`.
  Status walk(const std::string& at, const std::string& prefix, std::vector<ObjectInfo>& objects) {
    std::string path = at.empty() ? directory_ : path_of(at);
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) {
      if (errno == ENOENT || errno == ENOTDIR) return {};
      return Status::from_errno(errno, fmt::format("list {}", path));
    }
    std::vector<std::string> below;
    Status failed;
    errno = 0;
    while (dirent* entry = ::readdir(directory)) {
      std::string name = entry->d_name;
      if (name == "." || name == ".." || name == kTemporaryDirectory) continue;
      std::string key = at.empty() ? name : at + "/" + name;
      struct stat info {};
      if (::fstatat(::dirfd(directory), name.c_str(), &info, 0) != 0) {
        if (errno == ENOENT) continue;  // Removed while we looked.
        failed = Status::from_errno(errno, fmt::format("look at object {}", key));
        break;
      }
      if (S_ISDIR(info.st_mode)) {
        std::string inside = key + "/";
        if (inside.starts_with(prefix) || prefix.starts_with(inside)) below.push_back(key);
      } else if (S_ISREG(info.st_mode) && key.starts_with(prefix)) {
        objects.push_back({key, static_cast<uint64_t>(info.st_size)});
      }
      errno = 0;
    }
    if (failed.ok() && errno != 0) failed = Status::from_errno(errno, fmt::format("list {}", path));
    ::closedir(directory);
    TIDE_TRY(std::move(failed));
    for (const std::string& key : below) TIDE_TRY(walk(key, prefix, objects));
    return {};
  }

  std::string directory_;
  std::string unfinished_;
  const uint64_t
      tag_;  ///< Keeps our temporary names apart from those of other stores and machines.
  std::mutex mutex_;
  std::set<std::string> durable_directories_;
  std::atomic<uint64_t> temporary_count_ = 0;
  std::atomic<uint64_t> requests_ = 0;
  std::atomic<uint64_t> bytes_out_ = 0;
  std::atomic<uint64_t> bytes_in_ = 0;
};

}  // namespace

Result<std::unique_ptr<ObjectStore>> open_local_store(const std::string& directory) {
  auto store = std::make_unique<LocalStore>(directory);
  Status prepared = store->prepare();
  if (!prepared.ok()) {
    return std::move(prepared)
        .with_context(fmt::format("open object store file://{}", directory))
        .with_hint("The directory must be writable by the user that runs tide.");
  }
  return std::unique_ptr<ObjectStore>(std::move(store));
}

}  // namespace tide::objectstore::internal
