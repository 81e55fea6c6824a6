#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "delta/table_directory.h"
#include "env/file.h"

namespace tide::delta {
namespace {

constexpr mode_t kFileMode = 0644;

/// Names beginning with a dot are hidden to every Delta reader, and to vacuum.
std::string temporary_name() {
  static std::atomic<uint64_t> counter{0};
  return fmt::format(".tide-{}-{}-{}.tmp", ::getpid(), ::time(nullptr),
                     counter.fetch_add(1, std::memory_order_relaxed));
}

class LocalDirectory : public TableDirectory {
 public:
  explicit LocalDirectory(std::string path) : path_(std::move(path)) {
    while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
    if (!path_.starts_with('/')) {
      std::error_code error;
      std::filesystem::path absolute = std::filesystem::absolute(path_, error);
      if (!error) path_ = absolute.lexically_normal().string();
    }
  }

  Result<std::vector<Entry>> list(const std::string& folder, bool recursive) override {
    std::vector<Entry> entries;
    TIDE_TRY(list_into(at(folder), "", recursive, entries));
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return entries;
  }

  Result<std::string> read(const std::string& name) override { return env::read_file(at(name)); }

  Result<std::string> read_range(const std::string& name, uint64_t offset, uint64_t size) override {
    env::FileDescriptor file = TIDE_TRY(env::open_file(at(name), O_RDONLY));
    return env::read_range(file.get(), offset, size);
  }

  Result<bool> put_if_absent(const std::string& name, BytesView bytes) override {
    std::string target = at(name);
    std::string folder = std::filesystem::path(target).parent_path().string();
    TIDE_TRY(make_durable_directory(folder));
    // The name comes to a finished file: a reader, or we after a crash, see all of it or nothing.
    bool linked = TIDE_TRY(link_new_file(folder, target, bytes));
    if (linked) TIDE_TRY(env::sync_directory(folder));
    return linked;
  }

  Status put(const std::string& name, BytesView bytes) override {
    std::string target = at(name);
    TIDE_TRY(make_durable_directory(std::filesystem::path(target).parent_path().string()));
    return env::write_file_atomically(target, as_chars(bytes), kFileMode);
  }

  Result<std::string> temporary_path() override {
    TIDE_TRY(make_durable_directory(path_));
    return path_ + "/" + temporary_name();
  }

  Status adopt(const std::string& path, const std::string& name) override {
    std::string target = at(name);
    std::string folder = std::filesystem::path(target).parent_path().string();
    TIDE_TRY(make_durable_directory(folder));
    if (::rename(path.c_str(), target.c_str()) != 0) {
      return Status::from_errno(errno, fmt::format("rename {} to {}", path, target));
    }
    return env::sync_directory(folder);
  }

  Status remove(const std::string& name) override {
    if (::unlink(at(name).c_str()) != 0 && errno != ENOENT) {
      return Status::from_errno(errno, "remove " + at(name));
    }
    return {};
  }

  Result<std::string> local_path(const std::string& name) override { return at(name); }
  std::string describe() const override { return path_; }

 private:
  std::string at(const std::string& name) const {
    return name.empty() ? path_ : path_ + "/" + name;
  }

  /// Makes the directory if it is missing; its name is durable in its parent then.
  static Status make_durable_directory(const std::string& folder) {
    if (env::is_directory(folder)) return {};
    std::string parent = std::filesystem::path(folder).parent_path().string();
    if (parent != folder) TIDE_TRY(make_durable_directory(parent));
    TIDE_TRY(env::make_directories(folder, 0755));
    return env::sync_directory(parent);
  }

  /// False if `target` exists. A file without a name needs no second name to be taken away again,
  /// which costs more than all the rest; not every file system has such files.
  static Result<bool> link_new_file(const std::string& folder, const std::string& target,
                                    BytesView bytes) {
    Result<env::FileDescriptor> nameless = env::open_file(folder, O_WRONLY | O_TMPFILE, kFileMode);
    if (nameless.ok()) {
      TIDE_TRY(env::write_all(nameless->get(), bytes));
      TIDE_TRY(env::sync_data(nameless->get(), target));
      std::string itself = fmt::format("/proc/self/fd/{}", nameless->get());
      if (::linkat(AT_FDCWD, itself.c_str(), AT_FDCWD, target.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        return true;
      }
      if (errno == EEXIST) return false;
      // No /proc here: the way with a name.
    }
    std::string temporary = folder + "/" + temporary_name();
    if (Status written = write_synced(temporary, bytes); !written.ok()) {
      ::unlink(temporary.c_str());
      return written;
    }
    int linked = ::link(temporary.c_str(), target.c_str());
    int error = errno;
    ::unlink(temporary.c_str());
    if (linked != 0 && error == EEXIST) return false;
    if (linked != 0) return Status::from_errno(error, "link " + target);
    return true;
  }

  static Status write_synced(const std::string& path, BytesView bytes) {
    env::FileDescriptor file =
        TIDE_TRY(env::open_file(path, O_WRONLY | O_CREAT | O_EXCL, kFileMode));
    TIDE_TRY(env::write_all(file.get(), bytes));
    return env::sync_data(file.get(), path);
  }

  static Status list_into(const std::string& folder, const std::string& prefix, bool recursive,
                          std::vector<Entry>& entries) {
    Result<std::vector<std::string>> names = env::list_directory(folder);
    if (!names.ok()) {
      if (names.status().code() == Code::kNotFound) return {};
      return std::move(names).status();
    }
    for (const std::string& name : *names) {
      std::string path = folder + "/" + name;
      struct stat info {};
      // Gone since it was listed: as if it had never been there.
      if (::stat(path.c_str(), &info) != 0) continue;
      if (S_ISDIR(info.st_mode)) {
        if (recursive) TIDE_TRY(list_into(path, prefix + name + "/", true, entries));
      } else if (S_ISREG(info.st_mode)) {
        entries.push_back({prefix + name, static_cast<uint64_t>(info.st_size),
                           int64_t{info.st_mtim.tv_sec} * 1000 + info.st_mtim.tv_nsec / 1'000'000});
      }
    }
    return {};
  }

  std::string path_;
};

}  // namespace

std::unique_ptr<TableDirectory> local_directory(std::string path) {
  return std::make_unique<LocalDirectory>(std::move(path));
}

}  // namespace tide::delta
