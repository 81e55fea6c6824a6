#include "mirror/transaction_buffer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <queue>

#include "obs/log.h"
#include "pgformat/xid.h"

namespace tide::mirror {
namespace {

constexpr size_t kReadAhead = size_t{1} << 20;

/// Stands before each change's tuple bytes.
struct Header {
  uint64_t sequence;  ///< of add()
  uint32_t length;    ///< of the tuple's bytes
  uint8_t kind;
  uint8_t fork;
  uint8_t hoff;
  uint8_t unused;
  uint16_t infomask2;
  uint16_t infomask;
  uint32_t spc;
  uint32_t db;
  uint32_t rel;
  uint64_t lsn;
  uint64_t old;
  uint64_t fresh;
};
static_assert(sizeof(Header) == 56);

}  // namespace

struct TransactionBuffer::Log {
  Lsn first;
  std::string memory;
  env::FileDescriptor file;
  uint64_t file_bytes = 0;
};

/// Reads one log from its beginning.
class TransactionBuffer::Cursor {
 public:
  explicit Cursor(const Log& log) : log_(log), in_file_(log.file_bytes > 0) {
    if (!in_file_) bytes_ = log_.memory;
  }

  /// False at the end. The change's views hold until the next call.
  Result<bool> next(BufferedChange& change) {
    Header header;
    TIDE_TRY(ensure(sizeof header));
    if (bytes_.size() - at_ < sizeof header) return false;
    header = load<Header>(bytes_.data() + at_);
    sequence_ = header.sequence;
    TIDE_TRY(ensure(sizeof header + header.length));
    if (bytes_.size() - at_ < sizeof header + header.length) {
      return Status(Code::kBug, "a buffered change is cut off");
    }
    change.kind = static_cast<BufferedChange::Kind>(header.kind);
    change.lsn = Lsn(header.lsn);
    change.rel = {header.spc, header.db, header.rel, static_cast<Fork>(header.fork)};
    change.old = pgformat::TupleId(header.old);
    change.fresh = pgformat::TupleId(header.fresh);
    change.tuple.hoff = header.hoff;
    change.tuple.infomask = header.infomask;
    change.tuple.infomask2 = header.infomask2;
    change.tuple.body = as_bytes(bytes_.substr(at_ + sizeof header, header.length));
    at_ += sizeof header + header.length;
    return true;
  }
  /// Of the change that next() returned last.
  uint64_t sequence() const { return sequence_; }

 private:
  /// Makes `size` bytes readable at at_, where the log has so many: whole changes are either in the
  /// file or in memory.
  Status ensure(size_t size) {
    if (!in_file_ || bytes_.size() - at_ >= size) return {};
    chunk_.erase(0, at_);
    at_ = 0;
    if (read_ < log_.file_bytes) {
      size_t piece = std::min<uint64_t>(std::max(size, kReadAhead), log_.file_bytes - read_);
      std::string more = TIDE_TRY(env::read_range(log_.file.get(), read_, piece));
      if (more.size() != piece) return {Code::kIo, "a spilled transaction's file was cut off"};
      read_ += piece;
      chunk_ += more;
    }
    bytes_ = chunk_;
    if (chunk_.empty()) {
      in_file_ = false;
      bytes_ = log_.memory;
    }
    return {};
  }

  const Log& log_;
  bool in_file_;
  std::string chunk_;
  uint64_t read_ = 0;
  std::string_view bytes_;
  size_t at_ = 0;
  uint64_t sequence_ = 0;
};

TransactionBuffer::TransactionBuffer(Options options) : options_(std::move(options)) {
  env::remove_tree(options_.spill_directory).ignore("add() reports what cannot be written");
}

TransactionBuffer::~TransactionBuffer() = default;

Status TransactionBuffer::add(uint32_t xid, const BufferedChange& change) {
  std::unique_ptr<Log>& log = logs_[xid];
  if (log == nullptr) {
    log = std::make_unique<Log>();
    log->first = change.lsn;
    firsts_.insert(log->first);
  }
  Header header{};
  header.sequence = next_sequence_++;
  header.length = static_cast<uint32_t>(change.tuple.body.size());
  header.kind = static_cast<uint8_t>(change.kind);
  header.fork = static_cast<uint8_t>(change.rel.fork);
  header.hoff = change.tuple.hoff;
  header.infomask2 = change.tuple.infomask2;
  header.infomask = change.tuple.infomask;
  header.spc = change.rel.spc;
  header.db = change.rel.db;
  header.rel = change.rel.rel;
  header.lsn = change.lsn.value();
  header.old = change.old.value;
  header.fresh = change.fresh.value;
  append(log->memory, header);
  log->memory.append(as_chars(change.tuple.body));
  memory_ += sizeof header + change.tuple.body.size();
  return memory_ > options_.memory_bytes ? spill_largest() : Status();
}

Status TransactionBuffer::spill_largest() {
  auto largest = std::max_element(logs_.begin(), logs_.end(), [](const auto& a, const auto& b) {
    return a.second->memory.size() < b.second->memory.size();
  });
  Log& log = *largest->second;
  if (!log.file.is_open()) {
    TIDE_TRY(env::make_directories(options_.spill_directory, 0700));
    std::string path = fmt::format("{}/{}", options_.spill_directory, largest->first);
    log.file = TIDE_TRY(env::open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    ::unlink(path.c_str());  // it goes with the descriptor
  }
  TIDE_TRY(env::write_at(log.file.get(), log.file_bytes, as_bytes(log.memory)));
  obs::debug("transaction {}: {} bytes spilled", largest->first, log.memory.size());
  log.file_bytes += log.memory.size();
  spilled_ += log.memory.size();
  memory_ -= log.memory.size();
  log.memory = {};
  return {};
}

Status TransactionBuffer::visit(std::span<const uint32_t> xids, const Visit& visit) const {
  struct Source {
    std::unique_ptr<Cursor> cursor;
    BufferedChange change;
  };
  std::vector<Source> sources;
  for (uint32_t xid : xids) {
    auto log = logs_.find(xid);
    if (log == logs_.end()) continue;
    Source source{std::make_unique<Cursor>(*log->second), {}};
    if (TIDE_TRY(source.cursor->next(source.change))) sources.push_back(std::move(source));
  }
  if (sources.size() == 1) {  // nearly always
    Source& source = sources[0];
    do {
      TIDE_TRY(visit(source.change));
    } while (TIDE_TRY(source.cursor->next(source.change)));
    return {};
  }
  auto later = [&](size_t a, size_t b) {
    return sources[a].cursor->sequence() > sources[b].cursor->sequence();
  };
  std::priority_queue<size_t, std::vector<size_t>, decltype(later)> order(later);
  for (size_t i = 0; i < sources.size(); ++i) order.push(i);
  while (!order.empty()) {
    size_t first = order.top();
    order.pop();
    TIDE_TRY(visit(sources[first].change));
    if (TIDE_TRY(sources[first].cursor->next(sources[first].change))) order.push(first);
  }
  return {};
}

void TransactionBuffer::drop(std::span<const uint32_t> xids) {
  for (uint32_t xid : xids) {
    prepared_.erase(xid);
    auto log = logs_.find(xid);
    if (log == logs_.end()) continue;
    memory_ -= log->second->memory.size();
    spilled_ -= log->second->file_bytes;
    firsts_.erase(firsts_.find(log->second->first));
    logs_.erase(log);
  }
}

void TransactionBuffer::prepare(std::span<const uint32_t> xids) {
  prepared_.insert(xids.begin(), xids.end());
}

void TransactionBuffer::drop_unprepared() {
  std::vector<uint32_t> dead;
  for (const auto& [xid, log] : logs_) {
    if (!prepared_.contains(xid)) dead.push_back(xid);
  }
  drop(dead);
}

void TransactionBuffer::drop_older(uint32_t xid) {
  std::vector<uint32_t> ended;
  for (const auto& [each, log] : logs_) {
    if (pgformat::xid_precedes(each, xid)) ended.push_back(each);
  }
  drop(ended);
}

std::vector<uint32_t> TransactionBuffer::xids() const {
  std::vector<uint32_t> all;
  for (const auto& [xid, log] : logs_) all.push_back(xid);
  return all;
}

Lsn TransactionBuffer::oldest(Lsn none) const {
  return firsts_.empty() ? none : std::min(none, *firsts_.begin());
}

}  // namespace tide::mirror
