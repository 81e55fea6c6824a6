#include "storage/page_service.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include "contracts/page_service.h"
#include "obs/log.h"
#include "storage/learner_service.h"
#include "storage/read_position.h"

namespace tide::storage {
namespace {

constexpr int kAcceptPauseMs = 50;

static_assert(sizeof(TidePsHeader) == 16 && sizeof(TidePsHello) == 24 &&
              sizeof(TidePsGetPages) == 40 && sizeof(TidePsPages) == 32 &&
              sizeof(TidePsRelSize) == 32 && sizeof(TidePsSize) == 32);

uint32_t error_code(const Status& status) {
  switch (status.code()) {
    case Code::kInvalid:
      return TIDE_PS_ERR_INVALID;
    case Code::kRetry:
      return TIDE_PS_ERR_WAIT_TIMEOUT;
    case Code::kUnavailable:
      return TIDE_PS_ERR_RETRY;
    case Code::kStaleEpoch:
      return TIDE_PS_ERR_STALE_EPOCH;
    case Code::kOutOfRange:
      return TIDE_PS_ERR_OUT_OF_RANGE;
    case Code::kCorrupt:
      return TIDE_PS_ERR_CORRUPT;
    case Code::kNotFound:
      return TIDE_PS_ERR_NOT_FOUND;
    default:
      return TIDE_PS_ERR_INTERNAL;
  }
}

RelFork rel_fork(const TidePsRelFork& rel) {
  return {rel.spc, rel.db, rel.rel, static_cast<Fork>(rel.fork)};
}

bool read_exactly(int fd, void* to, size_t size) {
  char* at = static_cast<char*>(to);
  while (size > 0) {
    ssize_t got = ::recv(fd, at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

/// One client: reads a request, answers it, until either side hangs up.
class PageService::Connection {
 public:
  Connection(PageService& service, env::FileDescriptor socket)
      : service_(service), store_(service.store_), socket_(std::move(socket)) {}

  void hang_up() { ::shutdown(socket_.get(), SHUT_RDWR); }

  void serve() {
    TidePsHeader header{};
    std::vector<std::byte> body;
    while (read_exactly(socket_.get(), &header, sizeof header)) {
      if (header.length > 4096) return;  // no request is that long: not our protocol
      body.resize(header.length);
      if (!read_exactly(socket_.get(), body.data(), body.size())) return;
      ++service_.requests_;
      Status answered = answer(header, body);
      if (!answered.ok()) {
        ++service_.errors_;
        if (!send_error(header.request_id, answered)) return;
      }
      if (broken_) return;
    }
  }

 private:
  Status answer(const TidePsHeader& header, BytesView body) {
    if (header.type == TIDE_PS_HELLO) return hello(header.request_id, body);
    if (!greeted_) return {Code::kInvalid, "the conversation begins with HELLO"};
    TIDE_TRY(check_epoch());
    switch (header.type) {
      case TIDE_PS_GET_PAGES:
        return get_pages(header.request_id, body);
      case TIDE_PS_REL_SIZE:
        return rel_size(header.request_id, body);
      case TIDE_PS_DB_SIZE:
        return db_size(header.request_id, body);
      default:
        return learner_request(header, body);
    }
  }

  Status learner_request(const TidePsHeader& header, BytesView body) {
    if (service_.learners_ == nullptr || !LearnerService::takes(header.type)) {
      return {Code::kInvalid, fmt::format("unknown request type {}", header.type)};
    }
    if (epoch_.value != 0) return {Code::kInvalid, "only a reader may ask what learners ask"};
    auto answer = TIDE_TRY(service_.learners_->answer(timeline_, header.type, body));
    send(answer.type, header.request_id, nullptr, 0, as_bytes(answer.body));
    return {};
  }

  template <typename Request>
  static Result<Request> parse(BytesView body) {
    if (body.size() != sizeof(Request)) {
      return Status(Code::kInvalid,
                    fmt::format("request of {} bytes, expected {}", body.size(), sizeof(Request)));
    }
    return load<Request>(body.data());
  }

  Status hello(uint64_t id, BytesView body) {
    auto request = TIDE_TRY(parse<TidePsHello>(body));
    if (request.magic != TIDE_PS_MAGIC || request.version != TIDE_PS_VERSION) {
      return {Code::kInvalid,
              fmt::format("page service version {}, this is {}", request.version, TIDE_PS_VERSION)};
    }
    greeted_ = false;
    timeline_ = TimelineId{request.timeline};
    epoch_ = Epoch{request.epoch};
    if (!store_.tree().find(timeline_)) {
      return {Code::kNotFound, fmt::format("no timeline {}", timeline_)};
    }
    TIDE_TRY(check_epoch());
    greeted_ = true;
    TidePsHelloOk ok{store_.ingested(timeline_).value()};
    send(TIDE_PS_HELLO_OK, id, &ok, sizeof ok, {});
    return {};
  }

  Status check_epoch() const {
    if (epoch_.value == 0) return {};  // a reader without a life of its own
    Epoch current = service_.current_epoch_(timeline_);
    if (epoch_ == current) return {};
    return {Code::kStaleEpoch,
            fmt::format("epoch {} of {} was fenced by {}", epoch_, timeline_, current)};
  }

  Result<Lsn> position(uint64_t request_lsn, uint64_t min_lsn) const {
    return read_position(store_, timeline_, Lsn(request_lsn), Lsn(min_lsn));
  }

  Status get_pages(uint64_t id, BytesView body) {
    auto request = TIDE_TRY(parse<TidePsGetPages>(body));
    if (request.block_count == 0 || request.block_count > TIDE_PS_MAX_BLOCKS ||
        request.rel.fork > 3) {
      return {Code::kInvalid,
              fmt::format("{} blocks of fork {}", request.block_count, request.rel.fork)};
    }
    if (request.first_block > UINT32_MAX - request.block_count) {
      return {Code::kInvalid,
              fmt::format("{} blocks from block {}", request.block_count, request.first_block)};
    }
    if (epoch_.value != 0) service_.first_touch_.note(timeline_, rel_fork(request.rel));
    Lsn at = TIDE_TRY(position(request.request_lsn, request.min_lsn));
    // A truncated fork's pages are still stored, for those who ask at an older LSN.
    uint32_t end = TIDE_TRY(store_.rel_size(timeline_, rel_fork(request.rel), at)).value_or(0);
    tags_.clear();
    for (uint32_t i = 0; i < request.block_count && request.first_block + i < end; ++i) {
      tags_.push_back({rel_fork(request.rel), request.first_block + i});
    }
    pages_.resize(request.block_count * kPageSize);
    if (!tags_.empty()) TIDE_TRY(store_.pages().read(timeline_, tags_, at, pages_.data()));
    std::fill(pages_.begin() + static_cast<ptrdiff_t>(tags_.size() * kPageSize), pages_.end(),
              std::byte{0});
    service_.pages_ += request.block_count;
    TidePsPages answer{request.rel, request.first_block, request.block_count, at.value()};
    send(TIDE_PS_PAGES, id, &answer, sizeof answer, pages_);
    return {};
  }

  Status rel_size(uint64_t id, BytesView body) {
    auto request = TIDE_TRY(parse<TidePsRelSize>(body));
    if (request.rel.fork > 3) return {Code::kInvalid, fmt::format("fork {}", request.rel.fork)};
    Lsn at = TIDE_TRY(position(request.request_lsn, request.min_lsn));
    auto blocks = TIDE_TRY(store_.rel_size(timeline_, rel_fork(request.rel), at));
    TidePsSize answer{request.rel, blocks.value_or(TIDE_PS_NO_RELATION), 0, at.value()};
    send(TIDE_PS_SIZE, id, &answer, sizeof answer, {});
    return {};
  }

  Status db_size(uint64_t id, BytesView body) {
    auto request = TIDE_TRY(parse<TidePsDbSize>(body));
    Lsn at = TIDE_TRY(position(request.request_lsn, request.min_lsn));
    uint64_t bytes = TIDE_TRY(store_.database_bytes(timeline_, request.db, at));
    TidePsDbBytes answer{bytes, at.value()};
    send(TIDE_PS_DB_BYTES, id, &answer, sizeof answer, {});
    return {};
  }

  bool send_error(uint64_t id, const Status& status) {
    TidePsError error{error_code(status), static_cast<uint32_t>(status.message().size())};
    if (status.code() != Code::kRetry && status.code() != Code::kStaleEpoch) {
      obs::warn("page request of {} failed: {}", timeline_, status.to_string());
    }
    send(TIDE_PS_ERROR, id, &error, sizeof error, as_bytes(status.message()));
    return !broken_;
  }

  void send(uint16_t type, uint64_t id, const void* head, size_t head_size, BytesView tail) {
    TidePsHeader header{static_cast<uint32_t>(head_size + tail.size()), type, 0, id};
    iovec parts[3] = {{&header, sizeof header},
                      {const_cast<void*>(head), head_size},
                      {const_cast<std::byte*>(tail.data()), tail.size()}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 3;
    while (message.msg_iovlen > 0) {
      ssize_t put = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) {
        broken_ = true;
        return;
      }
      auto done = static_cast<size_t>(put);
      while (message.msg_iovlen > 0 && done >= message.msg_iov->iov_len) {
        done -= message.msg_iov->iov_len;
        ++message.msg_iov;
        --message.msg_iovlen;
      }
      if (message.msg_iovlen > 0) {
        message.msg_iov->iov_base = static_cast<char*>(message.msg_iov->iov_base) + done;
        message.msg_iov->iov_len -= done;
      }
    }
  }

  PageService& service_;
  const pagestore::PageStore& store_;
  env::FileDescriptor socket_;
  bool greeted_ = false;
  bool broken_ = false;
  TimelineId timeline_;
  Epoch epoch_;
  std::vector<PageTag> tags_;
  std::vector<std::byte> pages_;
};

PageService::PageService(env::FileDescriptor listener, const pagestore::PageStore& store,
                         CurrentEpoch current_epoch, LearnerService* learners)
    : listener_(std::move(listener)),
      quit_(::eventfd(0, EFD_CLOEXEC)),
      store_(store),
      current_epoch_(std::move(current_epoch)),
      learners_(learners),
      acceptor_([this] { accept_loop(); }) {}

Result<std::unique_ptr<PageService>> PageService::start(const std::string& socket_path,
                                                        const pagestore::PageStore& store,
                                                        CurrentEpoch current_epoch,
                                                        LearnerService* learners) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) {
    return Status(Code::kInvalid, fmt::format("socket path is too long: {}", socket_path));
  }
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  env::FileDescriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::unlink(socket_path.c_str());  // of a storage role that was killed; the caller holds its lock
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener.get(), 512) != 0) {
    return Status::from_errno(errno, fmt::format("listen on {}", socket_path));
  }
  return std::unique_ptr<PageService>(
      new PageService(std::move(listener), store, std::move(current_epoch), learners));
}

PageService::~PageService() {
  uint64_t one = 1;
  (void)!::write(quit_.get(), &one, sizeof one);
  acceptor_.join();
  if (learners_ != nullptr) learners_->stop();
  for (auto& [id, serving] : connections_) serving->connection->hang_up();
  for (auto& [id, serving] : connections_) serving->thread.join();
}

PageService::Stats PageService::stats() const {
  return {open_connections_, requests_, pages_, errors_};
}

void PageService::accept_loop() {
  uint64_t next_id = 0;
  while (true) {
    pollfd waits[2] = {{listener_.get(), POLLIN, 0}, {quit_.get(), POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) return;
    if (waits[1].revents != 0) return;
    if (waits[0].revents == 0) continue;
    std::lock_guard lock(mutex_);
    // First, as those that have ended still hold descriptors.
    std::erase_if(connections_, [](auto& entry) {
      if (!entry.second->done) return false;
      entry.second->thread.join();
      return true;
    });
    env::FileDescriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket.is_open()) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        obs::warn("page service cannot take a connection: {}", std::strerror(errno));
        pollfd quit{quit_.get(), POLLIN, 0};
        ::poll(&quit, 1, kAcceptPauseMs);  // it stays in the queue
      }
      continue;
    }
    auto serving = std::make_unique<Serving>();
    Serving* raw = serving.get();
    raw->connection = std::make_unique<Connection>(*this, std::move(socket));
    ++open_connections_;
    try {
      raw->thread = std::thread([this, raw] {
        raw->connection->serve();
        raw->connection->hang_up();
        --open_connections_;
        raw->done = true;
      });
    } catch (const std::system_error& error) {
      --open_connections_;
      obs::warn("page service cannot start a thread: {}", error.what());
      continue;  // hangs up: the compute asks again
    }
    connections_[next_id++] = std::move(serving);
  }
}

}  // namespace tide::storage
