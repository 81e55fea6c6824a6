#include "env/instance.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "env/file.h"

namespace tide::env {

namespace {

constexpr size_t kSocketPathMax = 107;
/// The longest name that appears below the runtime directory.
constexpr std::string_view kLongestSocket = "/pg/.s.PGSQL.65535";

/// FNV-1a: the same in every build for ever, as the path must be.
uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

uid_t owner_of(const std::string& path) {
  struct stat state;
  return ::stat(path.c_str(), &state) == 0 ? state.st_uid : ::geteuid();
}

}  // namespace

Result<std::string> canonical_path(const std::string& path) {
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (!error) absolute = std::filesystem::weakly_canonical(absolute, error);
  if (error) return Status::from_errno(error.value(), fmt::format("resolve {}", path));
  std::string canonical = absolute.string();
  while (canonical.size() > 1 && canonical.back() == '/') canonical.pop_back();
  return canonical;
}

std::string runtime_directory(const std::string& data_directory) {
  std::string inside = data_directory + "/run";
  if (inside.size() + kLongestSocket.size() <= kSocketPathMax) return inside;
  return fmt::format("/tmp/tide-{}-{:016x}", owner_of(data_directory), hash_of(data_directory));
}

Status prepare_runtime_directory(const std::string& data_directory) {
  std::string path = runtime_directory(data_directory);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return Status::from_errno(errno, fmt::format("make directory {}", path));
  }
  // In /tmp anybody could have put something there first, a symbolic link too.
  struct stat state;
  if (::lstat(path.c_str(), &state) != 0)
    return Status::from_errno(errno, fmt::format("look at {}", path));
  if (!S_ISDIR(state.st_mode) || state.st_uid != ::geteuid()) {
    return Status(Code::kDenied, fmt::format("{} is not a directory of ours", path))
        .with_detail(
            fmt::format("It belongs to user id {}, we run as {}.", state.st_uid, ::geteuid()))
        .with_hint("Remove it, or use a data directory with a shorter path.");
  }
  if ((state.st_mode & 0777) != 0700 && ::chmod(path.c_str(), 0700) != 0) {
    return Status::from_errno(errno, fmt::format("chmod {}", path));
  }
  return {};
}

std::string control_socket(const std::string& data_directory) {
  return runtime_directory(data_directory) + "/control.sock";
}
std::string storage_socket(const std::string& data_directory) {
  return runtime_directory(data_directory) + "/storage.sock";
}
std::string page_socket(const std::string& data_directory) {
  return runtime_directory(data_directory) + "/pages.sock";
}
std::string lake_socket(const std::string& data_directory) {
  return runtime_directory(data_directory) + "/lake.sock";
}
std::string postgres_socket_directory(const std::string& data_directory) {
  return runtime_directory(data_directory) + "/pg";
}

}  // namespace tide::env
