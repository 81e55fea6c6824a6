#include "storage/acceptor.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/bytes.h"
#include "obs/log.h"
#include "pgformat/wal_segment.h"

namespace tide::storage {
namespace {

constexpr auto kReconnectPause = std::chrono::milliseconds(200);
constexpr int kStatusIntervalMs = 1000;

struct ConnectionCloser {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
using Connection = std::unique_ptr<PGconn, ConnectionCloser>;

/// Microseconds since 2000-01-01, the clock of replication messages.
int64_t postgres_now() {
  constexpr int64_t kUnixToPostgres = 946684800;
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count() -
         kUnixToPostgres * 1000000;
}

std::string last_message(PGconn* connection) {
  std::string message = PQerrorMessage(connection);
  while (!message.empty() && message.back() == '\n') message.pop_back();
  return message;
}

}  // namespace

class Acceptor::Impl {
 public:
  Impl(walstore::TimelineLog& log, Epoch epoch, std::string conninfo, std::function<void()> on_wal)
      : log_(log),
        epoch_(epoch),
        conninfo_(std::move(conninfo)),
        on_wal_(std::move(on_wal)),
        directory_(log.epoch_directory(epoch)),
        quit_(::eventfd(0, EFD_CLOEXEC)) {}

  Status connect() {
    std::string conninfo =
        fmt::format("{} replication=true application_name={}", conninfo_, kStandbyName);
    Connection connection(PQconnectdb(conninfo.c_str()));
    if (PQstatus(connection.get()) != CONNECTION_OK) {
      return {Code::kUnavailable,
              "acceptor cannot reach its compute: " + last_message(connection.get())};
    }
    received_ = synced_ = log_.flushed();
    std::string command = fmt::format("START_REPLICATION PHYSICAL {} TIMELINE 1", synced_);
    PGresult* result = PQexec(connection.get(), command.c_str());
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    if (status != PGRES_COPY_BOTH) {
      return {Code::kUnavailable, command + ": " + last_message(connection.get())};
    }
    connection_ = std::move(connection);
    TIDE_TRY(acknowledge());
    return {};
  }

  void run() {
    while (!stop_) {
      Status streamed = connection_ != nullptr ? stream() : connect();
      if (stop_) break;
      if (streamed.ok()) continue;
      connection_.reset();
      if (streamed.code() == Code::kStaleEpoch) {
        obs::info("acceptor of {} {} ends: {}", log_.id(), epoch_, streamed.message());
        break;
      }
      obs::warn("acceptor of {} {}: {}", log_.id(), epoch_, streamed.to_string());
      pollfd wait{quit_.get(), POLLIN, 0};
      ::poll(&wait, 1, static_cast<int>(kReconnectPause.count()));
    }
    connection_.reset();
  }

  void start_thread() {
    thread_ = std::thread([this] { run(); });
  }

  void stop() {
    stop_ = true;
    uint64_t one = 1;
    (void)!::write(quit_.get(), &one, sizeof one);
    if (thread_.joinable()) thread_.join();
  }

 private:
  /// Takes messages until the connection ends.
  Status stream() {
    while (!stop_) {
      char* message = nullptr;
      int size = PQgetCopyData(connection_.get(), &message, 1);
      if (size > 0) {
        Status taken = take({message, static_cast<size_t>(size)});
        PQfreemem(message);
        TIDE_TRY(std::move(taken));
        continue;
      }
      if (size < 0) return {Code::kUnavailable, "stream ended: " + last_message(connection_.get())};
      // Nothing more has arrived: one sync for all of it.
      if (received_ > synced_) {
        TIDE_TRY(sync());
        TIDE_TRY(acknowledge());
        continue;
      }
      pollfd waits[2] = {{PQsocket(connection_.get()), POLLIN, 0}, {quit_.get(), POLLIN, 0}};
      int ready = ::poll(waits, 2, kStatusIntervalMs);
      if (ready == 0) TIDE_TRY(acknowledge());
      if (ready > 0 && waits[0].revents != 0 && PQconsumeInput(connection_.get()) == 0) {
        return {Code::kUnavailable, "stream broke: " + last_message(connection_.get())};
      }
    }
    return {};
  }

  Status take(std::string_view message) {
    if (message.front() == 'k') {  // keepalive: u64 end of WAL, i64 time, u8 answer at once
      return message.size() >= 18 && message[17] != 0 ? acknowledge() : Status();
    }
    constexpr size_t kHeader = 1 + 8 + 8 + 8;
    if (message.front() != 'w' || message.size() < kHeader) {
      return {Code::kCorrupt, fmt::format("unknown replication message '{}'", message.front())};
    }
    Lsn at(load_be64(message.data() + 1));
    if (at != received_) {
      return {Code::kCorrupt, fmt::format("WAL arrived at {}, expected {}", at, received_)};
    }
    return write(as_bytes(message.substr(kHeader)));
  }

  Status write(BytesView bytes) {
    while (!bytes.empty()) {
      uint64_t number = pgformat::segment_number(received_);
      if (!segment_.is_open() || number != segment_number_) {
        if (received_ > synced_) TIDE_TRY(sync());
        std::string path = directory_ + "/" + pgformat::segment_file_name(number);
        env::FileDescriptor segment = TIDE_TRY(env::open_file(path, O_RDWR | O_CREAT));
        // Also for a file that is there: an attempt before may have ended between these steps.
        if (int error = ::posix_fallocate(segment.get(), 0, kWalSegmentSize); error != 0) {
          return Status::from_errno(error, fmt::format("allocate {}", path));
        }
        TIDE_TRY(env::sync_directory(directory_));
        segment_ = std::move(segment);
        segment_number_ = number;
      }
      uint64_t offset = received_ - pgformat::segment_start(number);
      size_t size = std::min<uint64_t>(bytes.size(), kWalSegmentSize - offset);
      TIDE_TRY(env::write_at(segment_.get(), offset, bytes.first(size)));
      received_ = received_ + size;
      bytes = bytes.subspan(size);
    }
    return {};
  }

  Status sync() {
    TIDE_TRY(env::sync_data(segment_.get(), directory_));
    synced_ = received_;
    return {};
  }

  /// Reports what is synced, unless a newer epoch was promised meanwhile.
  Status acknowledge() {
    if (stop_ || log_.promised() > epoch_) return {Code::kStaleEpoch, "a newer epoch was promised"};
    log_.set_accepted(synced_);
    std::string reply(1, 'r');
    append_be64(reply, received_.value());
    append_be64(reply, synced_.value());
    append_be64(reply, synced_.value());
    append_be64(reply, static_cast<uint64_t>(postgres_now()));
    reply.push_back('\0');
    if (PQputCopyData(connection_.get(), reply.data(), static_cast<int>(reply.size())) <= 0 ||
        PQflush(connection_.get()) != 0) {
      return {Code::kUnavailable, "acknowledge: " + last_message(connection_.get())};
    }
    on_wal_();
    return {};
  }

  walstore::TimelineLog& log_;
  Epoch epoch_;
  std::string conninfo_;
  std::function<void()> on_wal_;
  std::string directory_;
  env::FileDescriptor quit_;
  std::atomic<bool> stop_{false};
  std::thread thread_;

  Connection connection_;
  Lsn received_;
  Lsn synced_;
  env::FileDescriptor segment_;
  uint64_t segment_number_ = 0;
};

Acceptor::Acceptor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Acceptor::~Acceptor() { impl_->stop(); }

Result<std::unique_ptr<Acceptor>> Acceptor::start(walstore::TimelineLog& log, Epoch epoch,
                                                  const std::string& conninfo,
                                                  std::function<void()> on_wal) {
  auto impl = std::make_unique<Impl>(log, epoch, conninfo, std::move(on_wal));
  TIDE_TRY(impl->connect());
  impl->start_thread();
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(impl)));
}

std::unique_ptr<Acceptor> Acceptor::resume(walstore::TimelineLog& log, Epoch epoch,
                                           const std::string& conninfo,
                                           std::function<void()> on_wal) {
  auto impl = std::make_unique<Impl>(log, epoch, conninfo, std::move(on_wal));
  impl->start_thread();
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(impl)));
}

}  // namespace tide::storage
