#include "env/privileges.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <ftw.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include "env/file.h"

namespace tide::env {

Result<std::optional<Account>> service_account() {
  if (::geteuid() != 0) return std::optional<Account>();
  const char* chosen = std::getenv("TIDE_USER");
  std::string name = chosen != nullptr && *chosen != '\0' ? chosen : "postgres";
  errno = 0;
  const passwd* entry = ::getpwnam(name.c_str());
  if (entry == nullptr) {
    return Status(Code::kNotFound, fmt::format("there is no user {}", name))
        .with_detail("PostgreSQL refuses to run as root, so all parts run as an unprivileged user.")
        .with_hint(
            "Install postgresql-15, which makes the user postgres, or name another one in "
            "TIDE_USER.");
  }
  if (entry->pw_uid == 0) {
    return Status(Code::kInvalid, "TIDE_USER names root")
        .with_hint("Name an unprivileged user: PostgreSQL refuses to run as root.");
  }
  return std::optional<Account>(Account{entry->pw_uid, entry->pw_gid, name});
}

namespace {
thread_local const Account* giving_to = nullptr;
int give_one(const char* path, const struct stat*, int, FTW*) {
  return ::lchown(path, giving_to->uid, giving_to->gid);
}
}  // namespace

Status give_to(const std::string& path, const Account& account) {
  giving_to = &account;
  if (::nftw(path.c_str(), give_one, 32, FTW_PHYS | FTW_MOUNT) != 0) {
    return Status::from_errno(errno, fmt::format("give {} to user {}", path, account.name));
  }
  return {};
}

std::optional<std::string> first_barrier(const std::string& path, const Account& account) {
  // Ask the kernel as the account would: modes, groups and access lists all count.
  gid_t own_gid = ::getegid();
  std::vector<gid_t> own_groups(static_cast<size_t>(std::max(0, ::getgroups(0, nullptr))));
  (void)!::getgroups(static_cast<int>(own_groups.size()), own_groups.data());
  bool switched = false;
  if (::geteuid() == 0 && account.uid != 0) {
    switched = ::initgroups(account.name.c_str(), account.gid) == 0 &&
               ::setegid(account.gid) == 0 && ::seteuid(account.uid) == 0;
  }
  std::optional<std::string> barrier;
  std::string so_far;
  for (const auto& part : std::filesystem::path(path)) {
    so_far = so_far.empty() ? part.string() : (so_far == "/" ? "/" : so_far + "/") + part.string();
    if (::faccessat(AT_FDCWD, so_far.c_str(), X_OK, AT_EACCESS) != 0 && errno == EACCES) {
      barrier = so_far;
      break;
    }
  }
  if (switched) {
    (void)!::seteuid(0);
    (void)!::setegid(own_gid);
    (void)!::setgroups(own_groups.size(), own_groups.data());
  }
  return barrier;
}

namespace {

Status not_permitted(int error, const std::string& what, const std::string& barrier,
                     const std::string& directory, const Account& account) {
  return Status(Code::kDenied, fmt::format("user {} cannot reach {}", account.name, directory))
      .with_detail(
          fmt::format("{} is closed to it, and making a private view of it failed: {}: {}.",
                      barrier, what, std::strerror(error)))
      .with_hint(
          "Use --data with a directory that every user can reach, for example /var/lib/tidewater.");
}

}  // namespace

Status enter_private_view(const Account& account, const std::vector<std::string>& directories) {
  // Barrier -> the directories below it.
  std::map<std::string, std::vector<std::string>> below;
  for (const std::string& directory : directories) {
    std::optional<std::string> barrier = first_barrier(directory, account);
    if (!barrier) continue;
    if (*barrier == directory || *barrier == "/") {
      return Status(Code::kDenied, fmt::format("user {} may not enter {}", account.name, *barrier))
          .with_hint(fmt::format(
              "Give it to that user (chown -R {} {}), or run as another one with TIDE_USER.",
              account.name, *barrier));
    }
    below[*barrier].push_back(directory);
  }
  if (below.empty()) return {};

  const auto& [first, first_directories] = *below.begin();
  if (::unshare(CLONE_NEWNS) != 0)
    return not_permitted(errno, "unshare", first, first_directories[0], account);
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return not_permitted(errno, "make mounts private", first, first_directories[0], account);
  }
  for (auto& [barrier, inside] : below) {
    // Outer directories first: an inner one is then mounted on top of it.
    std::sort(inside.begin(), inside.end());
    inside.erase(std::unique(inside.begin(), inside.end()), inside.end());
    std::vector<FileDescriptor> sources;
    for (const std::string& directory : inside) {
      sources.push_back(TIDE_TRY(open_file(directory, O_PATH | O_DIRECTORY)));
    }
    if (::mount("tmpfs", barrier.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") !=
        0) {
      return not_permitted(errno, "mount tmpfs", barrier, inside[0], account);
    }
    mode_t previous = ::umask(0022);
    for (size_t i = 0; i < inside.size(); ++i) {
      Status made = make_directories(inside[i], 0755);
      std::string source = fmt::format("/proc/self/fd/{}", sources[i].get());
      if (!made.ok() ||
          ::mount(source.c_str(), inside[i].c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
        int error = errno;
        ::umask(previous);
        return not_permitted(error, "bind mount", barrier, inside[i], account);
      }
    }
    ::umask(previous);
  }
  return {};
}

Status become(const Account& account) {
  if (::initgroups(account.name.c_str(), account.gid) != 0)
    return Status::from_errno(errno, "initgroups");
  if (::setresgid(account.gid, account.gid, account.gid) != 0)
    return Status::from_errno(errno, "setresgid");
  if (::setresuid(account.uid, account.uid, account.uid) != 0)
    return Status::from_errno(errno, "setresuid");
  // The change has made us unreadable in /proc, where our own roles look for each other.
  if (::prctl(PR_SET_DUMPABLE, 1) != 0) return Status::from_errno(errno, "prctl(PR_SET_DUMPABLE)");
  if (const passwd* entry = ::getpwuid(account.uid); entry != nullptr) {
    ::setenv("HOME", entry->pw_dir, 1);
    ::setenv("USER", entry->pw_name, 1);
    ::setenv("LOGNAME", entry->pw_name, 1);
  }
  return {};
}

}  // namespace tide::env
