#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/bytes.h"
#include "compute/compute.h"
#include "env/file.h"

namespace tide::compute {
namespace {

/// The beginning of PostgreSQL 15's System V segment (PGShmemHeader).
struct SegmentHeader {
  int32_t magic;
  int32_t creator;
  uint64_t total_size;
  uint64_t free_offset;
  uint32_t dsm_control;
  uint32_t padding;
  uint64_t index;
  uint64_t device;
  uint64_t inode;
};
constexpr int32_t kSegmentMagic = 679834894;

/// An entry of PostgreSQL 15's list of dynamic segments (dsm_control_item), behind a header of 16
/// bytes.
struct DynamicSegment {
  uint32_t handle;
  uint32_t references;
  uint64_t first_page;
  uint64_t pages;
  uint64_t windows_handle;
  uint64_t pinned;
};
constexpr uint32_t kDynamicMagic = 0x9a503d32;
constexpr size_t kDynamicHeader = 16;

std::string segment_name(uint32_t handle) { return fmt::format("/PostgreSQL.{}", handle); }

void remove_dynamic_segments(uint32_t control) {
  std::string name = segment_name(control);
  env::FileDescriptor file(::shm_open(name.c_str(), O_RDONLY | O_CLOEXEC, 0));
  if (!file.is_open()) return;
  struct stat info {};
  constexpr size_t kLargest = 16 << 20;
  if (::fstat(file.get(), &info) != 0) return;
  Result<std::string> content =
      env::read_range(file.get(), 0, std::min<size_t>(static_cast<size_t>(info.st_size), kLargest));
  if (!content.ok() || content->size() < kDynamicHeader) return;
  if (load<uint32_t>(content->data()) != kDynamicMagic) return;
  uint32_t count = load<uint32_t>(content->data() + 4);
  for (uint32_t i = 0; i < count; ++i) {
    size_t at = kDynamicHeader + size_t{i} * sizeof(DynamicSegment);
    if (at + sizeof(DynamicSegment) > content->size()) break;
    auto item = load<DynamicSegment>(content->data() + at);
    if (item.references != 0) ::shm_unlink(segment_name(item.handle).c_str());
  }
  ::shm_unlink(name.c_str());
}

}  // namespace

void remove_shared_memory(const std::string& data_dir) {
  struct stat directory {};
  if (::stat(data_dir.c_str(), &directory) != 0) return;
  Result<std::string> pid_file = env::read_file(data_dir + "/postmaster.pid");
  if (!pid_file.ok()) return;
  // Line 7: key and number of the System V segment.
  size_t at = 0;
  for (int line = 1; line < 7 && at != std::string::npos; ++line) {
    at = pid_file->find('\n', at);
    if (at != std::string::npos) ++at;
  }
  unsigned long key = 0;
  int id = -1;
  if (at == std::string::npos || std::sscanf(pid_file->c_str() + at, "%lu %d", &key, &id) != 2)
    return;

  shmid_ds state{};
  if (::shmctl(id, IPC_STAT, &state) != 0 || state.shm_nattch != 0) return;
  void* address = ::shmat(id, nullptr, SHM_RDONLY);
  if (address == reinterpret_cast<void*>(-1)) return;
  SegmentHeader header{};
  if (state.shm_segsz >= sizeof header) header = load<SegmentHeader>(address);
  ::shmdt(address);
  // The number may have been given to another server's segment since.
  if (header.magic != kSegmentMagic || header.device != directory.st_dev ||
      header.inode != directory.st_ino) {
    return;
  }
  if (header.dsm_control != 0) remove_dynamic_segments(header.dsm_control);
  ::shmctl(id, IPC_RMID, nullptr);
}

}  // namespace tide::compute
