#include "redo/internal/ring.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "base/check.h"

namespace tide::redo::internal {
namespace {

/// In the place of an answer: the helper is dead. No batch has this number.
constexpr uint32_t kAbandoned = UINT32_MAX;

constexpr size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

size_t bytes_of(const Record& record) {
  return sizeof(TideRedoRecord) + round_up(record.bytes.size(), 8);
}

void wake(uint32_t* word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, nullptr, nullptr, 0); }

uint32_t read_shared(uint32_t* word) {
  return std::atomic_ref<uint32_t>(*word).load(std::memory_order_acquire);
}
void write_shared(uint32_t* word, uint32_t value) {
  std::atomic_ref<uint32_t>(*word).store(value, std::memory_order_release);
}

}  // namespace

Result<std::unique_ptr<Ring>> Ring::create(size_t bytes) {
  env::FileDescriptor fd(memfd_create("tidewater-redo", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.is_open()) return Status::from_errno(errno, "make a redo ring");
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) < 0) {
    return Status::from_errno(errno, "size a redo ring");
  }
  // Nobody may pull memory away from under the other side's mapping.
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
    return Status::from_errno(errno, "seal a redo ring");
  }
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return Status::from_errno(errno, "map a redo ring");
  return std::unique_ptr<Ring>(new Ring(std::move(fd), static_cast<std::byte*>(memory), bytes));
}

Ring::Ring(env::FileDescriptor fd, std::byte* memory, size_t bytes)
    : fd_(std::move(fd)), memory_(memory), bytes_(bytes) {}

Ring::~Ring() { munmap(memory_, bytes_); }

size_t Ring::record_bytes_max() const {
  return bytes_ - TIDE_REDO_PAGES_OFFSET - sizeof(TideRedoPage) - kPageSize -
         sizeof(TideRedoRecord) - 64;
}

void Ring::reset() {
  std::memset(memory_, 0, TIDE_REDO_PAGES_OFFSET);
  number_ = 0;
  *header() = TideRedoHeader{.magic = TIDE_REDO_MAGIC,
                             .version = TIDE_REDO_VERSION,
                             .bytes = bytes_,
                             .parent_pid = static_cast<uint32_t>(getpid()),
                             .state = TIDE_REDO_STARTING};
}

void Ring::begin(size_t page_count_max) {
  image_offsets_.clear();
  page_count_max_ = page_count_max;
  free_offset_ = round_up(TIDE_REDO_PAGES_OFFSET + page_count_max * sizeof(TideRedoPage), 64);
  TIDE_CHECK(free_offset_ < bytes_);
}

size_t Ring::add(const PageTag& tag, const std::byte* base, std::span<const Record> records) {
  if (page_count() == page_count_max_) return 0;
  size_t records_offset = free_offset_ + kPageSize;
  if (records_offset > bytes_) return 0;
  size_t room = bytes_ - records_offset;
  size_t used = 0;
  size_t count = 0;
  for (; count < records.size(); ++count) {
    size_t size = bytes_of(records[count]);
    if (size > room - used) break;
    used += size;
  }
  if (count == 0 || (count < records.size() && page_count() > 0)) return 0;

  TideRedoPage* to = page(page_count());
  to->spc = tag.rel.spc;
  to->db = tag.rel.db;
  to->rel = tag.rel.rel;
  to->fork = static_cast<uint32_t>(tag.rel.fork);
  to->block = tag.block;
  to->flags = base != nullptr ? TIDE_REDO_HAS_BASE : 0;
  to->record_count = static_cast<uint32_t>(count);
  to->status = TIDE_REDO_NOT_DONE;
  to->records_offset = records_offset;
  to->records_bytes = used;
  to->image_offset = free_offset_;
  to->error_length = 0;
  if (base != nullptr) std::memcpy(memory_ + free_offset_, base, kPageSize);

  std::byte* at = memory_ + records_offset;
  for (const Record& record : records.first(count)) {
    TideRedoRecord head{.end_lsn = record.end_lsn.value(),
                        .length = static_cast<uint32_t>(record.bytes.size())};
    std::memcpy(at, &head, sizeof(head));
    std::memcpy(at + sizeof(head), record.bytes.data(), record.bytes.size());
    at += bytes_of(record);
  }
  image_offsets_.push_back(free_offset_);
  free_offset_ = round_up(records_offset + used, 64);
  return count;
}

void Ring::submit() {
  header()->page_count = static_cast<uint32_t>(page_count());
  header()->done_pages = 0;
  if (++number_ == kAbandoned) number_ = 1;
  write_shared(&header()->request, number_);
  wake(&header()->request);
}

bool Ring::is_answered() const { return read_shared(&header()->response) == number_; }

void Ring::wait(std::chrono::nanoseconds timeout) const {
  // The answer before this one is what stands there while nothing has happened.
  timespec patience{.tv_sec = timeout.count() / 1'000'000'000,
                    .tv_nsec = timeout.count() % 1'000'000'000};
  syscall(SYS_futex, &header()->response, FUTEX_WAIT, number_ - 1, &patience, nullptr, 0);
}

void Ring::abandon() {
  write_shared(&header()->response, kAbandoned);
  wake(&header()->response);
}

size_t Ring::done_pages() const {
  return std::min<size_t>(read_shared(&header()->done_pages), page_count());
}

uint32_t Ring::helper_state() const { return read_shared(&header()->state); }

uint32_t Ring::take(size_t index, std::byte* out, std::string* error) const {
  TideRedoPage* from = page(index);
  uint32_t status = read_shared(&from->status);
  if (status == TIDE_REDO_OK) {
    std::memcpy(out, memory_ + image_offsets_[index], kPageSize);
    return status;
  }
  size_t length = std::min<size_t>(read_shared(&from->error_length), TIDE_REDO_ERROR_BYTES);
  error->assign(from->error, length);
  std::replace_if(
      error->begin(), error->end(), [](unsigned char c) { return c < ' '; }, ' ');
  return status;
}

}  // namespace tide::redo::internal
