#include "learner/learner.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "contracts/page_service.h"
#include "obs/log.h"

namespace tide::learner {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{5};
constexpr milliseconds kPauseMax{1000};
constexpr uint32_t kAnswerBytesMax = 256u << 20;

Status interrupted() { return {Code::kUnavailable, "the learner was told to end"}; }

Status lost(std::string_view what, int error) {
  return {Code::kUnavailable, fmt::format("page service: {}: {}", what,
                                          error == 0 ? "it hung up" : std::strerror(error))};
}

Code code_of(uint32_t error) {
  switch (error) {
    case TIDE_PS_ERR_INVALID:
      return Code::kInvalid;
    case TIDE_PS_ERR_RETRY:
    case TIDE_PS_ERR_WAIT_TIMEOUT:
      return Code::kRetry;
    case TIDE_PS_ERR_STALE_EPOCH:
      return Code::kStaleEpoch;
    case TIDE_PS_ERR_OUT_OF_RANGE:
      return Code::kOutOfRange;
    case TIDE_PS_ERR_CORRUPT:
      return Code::kCorrupt;
    case TIDE_PS_ERR_NOT_FOUND:
      return Code::kNotFound;
    default:
      return Code::kIo;
  }
}

TidePsRelFork wire(const RelFork& rel) {
  return {rel.spc, rel.db, rel.rel, static_cast<uint32_t>(rel.fork)};
}

template <typename T>
BytesView bytes_of(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}

Status wrong(std::string_view what) {
  return {Code::kCorrupt, fmt::format("page service: wrong answer: {}", what)};
}

}  // namespace

Learner::Learner(std::string socket_path, TimelineId timeline, Options options)
    : socket_path_(std::move(socket_path)),
      timeline_(timeline),
      options_(options),
      interrupt_(::eventfd(0, EFD_CLOEXEC)) {}

Learner::~Learner() = default;

Result<std::unique_ptr<Learner>> Learner::connect(std::string socket_path, TimelineId timeline,
                                                  Options options) {
  if (socket_path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Status(Code::kInvalid, fmt::format("socket path is too long: {}", socket_path));
  }
  std::unique_ptr<Learner> learner(new Learner(std::move(socket_path), timeline, options));
  TIDE_TRY(learner->describe());
  return learner;
}

void Learner::interrupt() {
  uint64_t one = 1;
  (void)!::write(interrupt_.get(), &one, sizeof one);
}

// -- Conversation --------------------------------------------------------------------------------

bool Learner::pause(milliseconds duration) {
  pollfd wait{interrupt_.get(), POLLIN, 0};
  return ::poll(&wait, 1, static_cast<int>(duration.count())) <= 0;
}

Status Learner::wait_readable(Clock::time_point deadline) {
  while (true) {
    auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return {Code::kUnavailable, "page service: no answer in time"};
    pollfd waits[2] = {{socket_.get(), POLLIN, 0}, {interrupt_.get(), POLLIN, 0}};
    int ready = ::poll(waits, 2, static_cast<int>(std::min<int64_t>(left.count(), INT32_MAX)));
    if (ready < 0 && errno != EINTR) return lost("poll", errno);
    if (waits[1].revents != 0) return interrupted();
    if (ready > 0) return {};
  }
}

Status Learner::receive(char* to, size_t size, Clock::time_point deadline) {
  while (size > 0) {
    ssize_t got = ::recv(socket_.get(), to, size, MSG_DONTWAIT);
    if (got > 0) {
      to += got;
      size -= static_cast<size_t>(got);
    } else if (got == 0) {
      return lost("receive", 0);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      TIDE_TRY(wait_readable(deadline));
    } else if (errno != EINTR) {
      return lost("receive", errno);
    }
  }
  return {};
}

Status Learner::send(BytesView bytes) {
  // Requests are smaller than a socket's buffer, and the one before was answered.
  while (!bytes.empty()) {
    ssize_t put = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return lost("send", errno);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Status Learner::open_connection() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_path_.c_str(), socket_path_.size() + 1);
  socket_ = env::FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket_.is_open() ||
      ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return lost("connect", errno);
  }
  TidePsHello hello{TIDE_PS_MAGIC, TIDE_PS_VERSION, timeline_.value, 0, 0};
  return exchange(TIDE_PS_HELLO, bytes_of(hello), {TIDE_PS_HELLO_OK, sizeof(TidePsHelloOk)});
}

Status Learner::exchange(uint16_t type, BytesView body, const Expected& expected) {
  uint64_t id = next_id_++;
  std::string request;
  append(request, TidePsHeader{static_cast<uint32_t>(body.size()), type, 0, id});
  request.append(reinterpret_cast<const char*>(body.data()), body.size());
  TIDE_TRY(send(as_bytes(request)));

  auto deadline = Clock::now() + milliseconds(expected.wait_ms) + options_.answer_timeout;
  TidePsHeader header{};
  TIDE_TRY(receive(reinterpret_cast<char*>(&header), sizeof header, deadline));
  if (header.request_id != id || header.length > kAnswerBytesMax) return wrong("another request's");
  body_.resize(header.length);
  TIDE_TRY(receive(body_.data(), body_.size(), deadline));
  if (header.type == TIDE_PS_ERROR && body_.size() >= sizeof(TidePsError)) {
    auto error = load<TidePsError>(body_.data());
    return {code_of(error.code), body_.substr(sizeof error)};
  }
  if (header.type != expected.type) return wrong(fmt::format("type {}", header.type));
  if (body_.size() < expected.head_size) return wrong(fmt::format("{} bytes", body_.size()));
  return {};
}

Status Learner::attempt(uint16_t type, BytesView body, const Expected& expected) {
  if (!pause(milliseconds(0))) return interrupted();
  Status done;
  if (!socket_.is_open()) done = open_connection();
  if (done.ok()) done = exchange(type, body, expected);
  // After these the other side is not where we believe it is.
  if (done.code() == Code::kUnavailable || done.code() == Code::kCorrupt) socket_.reset();
  return done;
}

Result<std::string_view> Learner::call(uint16_t type, BytesView body, const Expected& expected) {
  auto begin = Clock::now();
  milliseconds wait = kFirstPause;
  while (true) {
    Status done = attempt(type, body, expected);
    if (done.ok()) return std::string_view(body_);
    // What an error is about is known to the storage; what it left of the socket is not.
    if (done.code() != Code::kUnavailable && done.code() != Code::kRetry) {
      if (done.code() == Code::kNotFound) socket_.reset();
      return done;
    }
    if (!pause(milliseconds(0))) return interrupted();
    if (Clock::now() - begin + wait > options_.patience) {
      return std::move(done).with_context(fmt::format("ask the storage about {}", timeline_));
    }
    if (!pause(wait)) return interrupted();
    wait = std::min(wait * 2, kPauseMax);
  }
}

template <typename Body>
Result<std::string_view> Learner::ask(uint16_t type, const Body& body, const Expected& expected) {
  return call(type, bytes_of(body), expected);
}

// -- Requests ------------------------------------------------------------------------------------

Result<Learner::TimelineState> Learner::describe() {
  auto answer =
      TIDE_TRY(call(TIDE_PS_TIMELINE, {}, {TIDE_PS_TIMELINE_IS, sizeof(TidePsTimelineIs)}));
  auto is = load<TidePsTimelineIs>(answer.data());
  if (is.timeline != timeline_.value) return wrong("another timeline's");
  TimelineState state;
  state.id = timeline_;
  if (is.parent != 0) state.parent = TimelineId{is.parent};
  state.branch_lsn = Lsn(is.branch_lsn);
  state.oldest_lsn = Lsn(is.oldest_lsn);
  state.ingested_lsn = Lsn(is.ingested_lsn);
  state.confirmed_lsn = Lsn(is.confirmed_lsn);
  state.created_us = is.created_us;
  state.system_id = is.system_id;
  return state;
}

Result<Lsn> Learner::flushed() {
  auto answer = TIDE_TRY(call(TIDE_PS_FLUSHED, {}, {TIDE_PS_FLUSHED_LSN, sizeof(TidePsLsn)}));
  return Lsn(load<TidePsLsn>(answer.data()).lsn);
}

Result<Lsn> Learner::confirm(Lsn lsn) {
  auto answer = TIDE_TRY(
      ask(TIDE_PS_CONFIRM, TidePsLsn{lsn.value()}, {TIDE_PS_CONFIRMED, sizeof(TidePsLsn)}));
  return Lsn(load<TidePsLsn>(answer.data()).lsn);
}

Result<std::string> Learner::pages(const RelFork& rel, uint32_t first, uint32_t count, Lsn lsn) {
  std::string pages;
  pages.reserve(size_t{count} * kPageSize);
  while (count > 0) {
    uint32_t now = std::min(count, TIDE_PS_MAX_BLOCKS);
    TidePsGetPages request{wire(rel), first, now, lsn.value(), lsn.value()};
    auto answer = TIDE_TRY(
        ask(TIDE_PS_GET_PAGES, request, {TIDE_PS_PAGES, sizeof(TidePsPages) + now * kPageSize}));
    auto head = load<TidePsPages>(answer.data());
    if (std::memcmp(&head.rel, &request.rel, sizeof head.rel) != 0 || head.first_block != first ||
        head.block_count != now || normalize(Lsn(head.at_lsn)) != normalize(lsn)) {
      socket_.reset();
      return wrong(fmt::format("not block {} of {}", first, rel));
    }
    pages += answer.substr(sizeof head, now * kPageSize);
    first += now;
    count -= now;
  }
  return pages;
}

Result<std::optional<uint32_t>> Learner::rel_size(const RelFork& rel, Lsn lsn) {
  TidePsRelSize request{wire(rel), lsn.value(), lsn.value()};
  auto answer = TIDE_TRY(ask(TIDE_PS_REL_SIZE, request, {TIDE_PS_SIZE, sizeof(TidePsSize)}));
  auto size = load<TidePsSize>(answer.data());
  if (std::memcmp(&size.rel, &request.rel, sizeof size.rel) != 0) {
    socket_.reset();
    return wrong(fmt::format("not of {}", rel));
  }
  if (size.block_count == TIDE_PS_NO_RELATION) return std::optional<uint32_t>();
  return std::optional<uint32_t>(size.block_count);
}

Result<std::optional<std::string>> Learner::bytes_or_nothing(std::string_view answer) const {
  auto head = load<TidePsBytes>(answer.data());
  answer.remove_prefix(sizeof head);
  if (answer.size() != head.byte_count) return wrong(fmt::format("{} bytes", answer.size()));
  if (answer.empty()) return std::optional<std::string>();
  return std::optional<std::string>(answer);
}

template <typename Item>
Result<std::vector<Item>> Learner::items(std::string_view answer) const {
  auto head = load<TidePsList>(answer.data());
  answer.remove_prefix(sizeof head);
  if (answer.size() != size_t{head.count} * sizeof(Item)) {
    return wrong(fmt::format("{} bytes for {} items", answer.size(), head.count));
  }
  std::vector<Item> items(head.count);
  std::memcpy(items.data(), answer.data(), answer.size());
  return items;
}

Result<std::optional<std::string>> Learner::slru_page(pgformat::Slru slru, uint32_t page, Lsn lsn) {
  TidePsGetSlru request{static_cast<uint32_t>(slru), page, lsn.value()};
  return bytes_or_nothing(
      TIDE_TRY(ask(TIDE_PS_GET_SLRU, request, {TIDE_PS_SLRU_PAGE, sizeof(TidePsBytes)})));
}

Result<std::optional<std::string>> Learner::relation_map(uint32_t spc, uint32_t db, Lsn lsn) {
  TidePsGetRelmap request{spc, db, lsn.value()};
  return bytes_or_nothing(
      TIDE_TRY(ask(TIDE_PS_GET_RELMAP, request, {TIDE_PS_RELMAP, sizeof(TidePsBytes)})));
}

Result<std::vector<PageSource::Database>> Learner::databases(Lsn lsn) {
  auto answer = TIDE_TRY(
      ask(TIDE_PS_LIST_DATABASES, TidePsLsn{lsn.value()}, {TIDE_PS_DATABASES, sizeof(TidePsList)}));
  std::vector<Database> databases;
  for (const auto& item : TIDE_TRY(items<TidePsDatabase>(answer))) {
    databases.push_back({item.spc, item.db});
  }
  return databases;
}

Result<std::vector<PageSource::Relation>> Learner::relations(uint32_t db, Lsn lsn) {
  auto answer = TIDE_TRY(ask(TIDE_PS_LIST_RELATIONS, TidePsListRelations{db, 0, lsn.value()},
                             {TIDE_PS_RELATIONS, sizeof(TidePsList)}));
  std::vector<Relation> relations;
  for (const auto& item : TIDE_TRY(items<TidePsRelation>(answer))) {
    relations.push_back({{item.spc, db, item.rel, Fork::kMain}, item.block_count});
  }
  return relations;
}

Result<WalSource::Piece> Learner::read_wal(const Request& request) {
  TidePsReadWal wire{};
  wire.from = request.from.value();
  wire.boundary = request.boundary.value();
  wire.epoch = request.epoch.value;
  wire.log_timeline = request.log_timeline.value;
  wire.max_bytes = std::min(request.bytes_max, TIDE_PS_MAX_WAL);
  wire.wait_ms = std::min(static_cast<uint32_t>(std::max(0, request.wait_ms)), TIDE_PS_MAX_WAIT_MS);
  auto answer = TIDE_TRY(ask(TIDE_PS_READ_WAL, wire,
                             {TIDE_PS_WAL, sizeof(TidePsWal), static_cast<int>(wire.wait_ms)}));
  auto head = load<TidePsWal>(answer.data());
  answer.remove_prefix(sizeof head);
  if (answer.size() != head.byte_count) return wrong(fmt::format("{} bytes", answer.size()));
  Piece piece;
  piece.epoch = Epoch{head.epoch};
  piece.log_timeline = TimelineId{head.log_timeline};
  piece.epoch_start = Lsn(head.epoch_start);
  piece.begin = Lsn(head.begin);
  piece.flushed = Lsn(head.flushed);
  piece.bytes = as_bytes(answer);
  return piece;
}

}  // namespace tide::learner
