#include "env/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

namespace tide::env {

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int FileDescriptor::release() {
  int fd = fd_;
  fd_ = -1;
  return fd;
}

void FileDescriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<FileDescriptor> open_file(const std::string& path, int flags, mode_t mode) {
  int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return Status::from_errno(errno, fmt::format("open {}", path));
  return FileDescriptor(fd);
}

Result<std::string> read_file(const std::string& path) {
  FileDescriptor file = TIDE_TRY(open_file(path, O_RDONLY));
  std::string content;
  char buffer[65536];
  while (true) {
    ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, fmt::format("read {}", path));
    if (got == 0) return content;
    content.append(buffer, static_cast<size_t>(got));
  }
}

Result<std::string> read_range(int fd, uint64_t offset, size_t size) {
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    ssize_t got =
        ::pread(fd, content.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, "pread");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  content.resize(done);
  return content;
}

Status write_all(int fd, BytesView bytes) {
  while (!bytes.empty()) {
    ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Status::from_errno(errno, "write");
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Status write_at(int fd, uint64_t offset, BytesView bytes) {
  while (!bytes.empty()) {
    ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Status::from_errno(errno, "pwrite");
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<size_t>(put);
  }
  return {};
}

Status sync_data(int fd, std::string_view path) {
  if (::fdatasync(fd) != 0) return Status::from_errno(errno, fmt::format("sync {}", path));
  return {};
}

Status sync_directory(const std::string& path) {
  FileDescriptor directory = TIDE_TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.get()) != 0) return Status::from_errno(errno, fmt::format("sync {}", path));
  return {};
}

Status write_file_atomically(const std::string& path, std::string_view content, mode_t mode) {
  std::string temporary = path + ".new";
  {
    FileDescriptor file = TIDE_TRY(open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode));
    Status written = write_all(file.get(), as_bytes(content));
    if (!written.ok()) return std::move(written).with_context(temporary);
    if (::fsync(file.get()) != 0)
      return Status::from_errno(errno, fmt::format("sync {}", temporary));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return Status::from_errno(errno, fmt::format("rename {} to {}", temporary, path));
  }
  std::string parent = std::filesystem::path(path).parent_path().string();
  return sync_directory(parent.empty() ? "." : parent);
}

Status write_file(const std::string& path, std::string_view content, mode_t mode) {
  FileDescriptor file = TIDE_TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, mode));
  return write_all(file.get(), as_bytes(content)).with_context(path);
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

bool is_directory(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Status make_directories(const std::string& path, mode_t mode) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    std::string prefix = path.substr(0, slash);
    int error = ::mkdir(prefix.c_str(), mode) == 0 ? 0 : errno;
    if (error != 0 && error != EEXIST && !is_directory(prefix)) {
      return Status::from_errno(error, fmt::format("make directory {}", prefix));
    }
    if (slash == std::string::npos) break;
  }
  if (!is_directory(path))
    return Status(Code::kInvalid, fmt::format("{} is not a directory", path));
  return {};
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return Status::from_errno(errno, fmt::format("list {}", path));
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(directory)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

Status remove_tree(const std::string& path) {
  // Somebody who still works in there (a PostgreSQL that is being ended) may put a file behind us.
  constexpr int kAttempts = 20;
  std::error_code error;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::filesystem::remove_all(path, error);
    if (error != std::errc::directory_not_empty) break;
  }
  if (error) return Status::from_errno(error.value(), fmt::format("remove {}", path));
  return {};
}

Status remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return Status::from_errno(errno, fmt::format("remove {}", path));
  }
  return {};
}

Result<uint64_t> file_size(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    return Status::from_errno(errno, fmt::format("stat {}", path));
  return static_cast<uint64_t>(info.st_size);
}

Result<uint64_t> free_bytes(const std::string& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0)
    return Status::from_errno(errno, fmt::format("statvfs {}", path));
  return uint64_t{info.f_bavail} * info.f_frsize;
}

Result<FileDescriptor> open_lock_file(const std::string& path) {
  return open_file(path, O_RDWR | O_CREAT);
}

Result<bool> try_lock(int fd, LockKind kind) {
  int operation = (kind == LockKind::kShared ? LOCK_SH : LOCK_EX) | LOCK_NB;
  if (::flock(fd, operation) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  return Status::from_errno(errno, "flock");
}

}  // namespace tide::env
