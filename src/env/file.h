#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tide::env {

/// An open file descriptor, closed when this goes out of scope.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { reset(); }

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

/// open(2) with O_CLOEXEC added; errors name the path.
Result<FileDescriptor> open_file(const std::string& path, int flags, mode_t mode = 0600);

Result<std::string> read_file(const std::string& path);
/// Bytes [offset, offset + size) or fewer at the file's end.
Result<std::string> read_range(int fd, uint64_t offset, size_t size);
Status write_all(int fd, BytesView bytes);
Status write_at(int fd, uint64_t offset, BytesView bytes);
/// fdatasync(2). A failure is final for what was written: never retried on the same file.
Status sync_data(int fd, std::string_view path);
Status sync_directory(const std::string& path);

/// Replaces `path` as one step that survives a crash: temporary file, fsync, rename, directory
/// fsync.
Status write_file_atomically(const std::string& path, std::string_view content, mode_t mode = 0600);
/// Plain write without any sync, for files that need not survive.
Status write_file(const std::string& path, std::string_view content, mode_t mode = 0600);

bool exists(const std::string& path);
bool is_directory(const std::string& path);
/// Makes the directory and its parents; an existing directory is fine.
Status make_directories(const std::string& path, mode_t mode = 0700);
/// Names in a directory without "." and "..", sorted.
Result<std::vector<std::string>> list_directory(const std::string& path);
/// Removes a file or a whole tree; nothing there is fine.
Status remove_tree(const std::string& path);
Status remove_file(const std::string& path);
Result<uint64_t> file_size(const std::string& path);
/// Bytes free for us on the file system of `path`.
Result<uint64_t> free_bytes(const std::string& path);

/// An flock(2) on a file. The lock belongs to the open file, so children that inherit the
/// descriptor hold it too, until the last of them has ended.
enum class LockKind { kShared, kExclusive };
Result<FileDescriptor> open_lock_file(const std::string& path);
/// True if taken, false if somebody else holds it.
Result<bool> try_lock(int fd, LockKind kind);

}  // namespace tide::env
