#include "warehouse/postgres_link.h"

#include <errno.h>
#include <fmt/format.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "pgwire/backend.h"
#include "pgwire/frontend.h"

namespace tide::warehouse {

namespace {

/// Larger than any row that PostgreSQL makes.
constexpr size_t kMessageBytesMax = size_t{1} << 30;

Status set_timeout(int fd, int option, std::chrono::milliseconds timeout) {
  timeval value{};
  value.tv_sec = timeout.count() / 1000;
  value.tv_usec = timeout.count() % 1000 * 1000;
  if (::setsockopt(fd, SOL_SOCKET, option, &value, sizeof value) != 0)
    return Status::from_errno(errno, "set a socket's deadline");
  return {};
}

}  // namespace

Result<env::FileDescriptor> connect_unix(const std::string& path,
                                         std::chrono::milliseconds timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Status(Code::kInvalid, fmt::format("{} is too long for a socket", path));
  ::memcpy(address.sun_path, path.data(), path.size());
  env::FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return Status::from_errno(errno, "make a socket");
  TIDE_TRY(set_timeout(socket.get(), SO_RCVTIMEO, timeout));
  TIDE_TRY(set_timeout(socket.get(), SO_SNDTIMEO, timeout));
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return Status(Code::kUnavailable, fmt::format("connect to {}: {}", path, ::strerror(errno)));
  }
  return socket;
}

PostgresLink::PostgresLink(env::FileDescriptor socket, std::string path)
    : socket_(std::move(socket)), path_(std::move(path)), decoder_(kMessageBytesMax) {}

PostgresLink::~PostgresLink() {
  std::string terminate;
  pgwire::append_empty(terminate, 'X');
  send(terminate).ignore("it notices the closed socket too");
}

Outcome<std::unique_ptr<PostgresLink>> PostgresLink::open(const Options& options) {
  std::string path = fmt::format("{}/.s.PGSQL.{}", options.socket_directory, options.port);
  env::FileDescriptor socket = TIDE_TRY(connect_unix(path, options.timeout));
  std::unique_ptr<PostgresLink> link(new PostgresLink(std::move(socket), path));
  std::optional<SqlError> refused;
  Status started = link->start(options, refused);
  if (refused) return *refused;
  if (!started.ok()) return std::move(started).with_context("log in to the branch's PostgreSQL");
  // From here on statements take as long as they take; cancel() and the client's end stop them.
  TIDE_TRY(set_timeout(link->fd(), SO_RCVTIMEO, std::chrono::milliseconds(0)));
  return link;
}

Outcome<std::unique_ptr<PostgresLink>> PostgresLink::adopt(
    env::FileDescriptor socket, std::map<std::string, std::string> parameters) {
  std::unique_ptr<PostgresLink> link(new PostgresLink(std::move(socket), ""));
  std::optional<SqlError> refused;
  Options options;
  options.parameters = std::move(parameters);
  Status started = link->start(options, refused);
  if (refused) return *refused;
  if (!started.ok()) return started;
  return link;
}

Status PostgresLink::start(const Options& options, std::optional<SqlError>& refused) {
  std::string bytes;
  pgwire::append_startup(bytes, options.parameters);
  TIDE_TRY(send(bytes));
  while (true) {
    pgwire::Message message = TIDE_TRY(receive());
    switch (message.type) {
      case 'R': {
        pgwire::BodyReader reader(message.body);
        if (reader.int32() != 0) {
          return {Code::kDenied, "PostgreSQL asks for a password on its private socket"};
        }
        break;
      }
      case 'E':
        refused = pgwire::decode_error(message);
        return {};
      case 'K': {
        pgwire::BodyReader reader(message.body);
        process_ = reader.int32();
        secret_ = reader.int32();
        break;
      }
      case 'Z':
        return {};
      default:
        break;  // ParameterStatus is noted by receive(), notices are nobody's yet
    }
  }
}

void PostgresLink::note(const pgwire::Message& message) {
  if (message.type == 'S') {
    pgwire::BodyReader reader(message.body);
    std::string name(reader.string());
    parameters_[name] = std::string(reader.string());
  } else if (message.type == 'Z' && !message.body.empty()) {
    transaction_ = message.body[0];
  }
}

Status PostgresLink::send(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      return {Code::kUnavailable,
              fmt::format("send to the branch's PostgreSQL: {}", ::strerror(errno))};
    }
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

Result<pgwire::Message> PostgresLink::receive() {
  while (true) {
    std::optional<pgwire::Message> message = TIDE_TRY(decoder_.next());
    if (message) {
      note(*message);
      return std::move(*message);
    }
    char buffer[32 * 1024];
    ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return Status(Code::kUnavailable,
                    fmt::format("the branch's PostgreSQL is gone: {}",
                                got == 0 ? "connection closed" : ::strerror(errno)));
    }
    decoder_.feed(std::string_view(buffer, static_cast<size_t>(got)));
  }
}

Result<std::optional<pgwire::Message>> PostgresLink::poll() {
  while (true) {
    std::optional<pgwire::Message> message = TIDE_TRY(decoder_.next());
    if (message) {
      note(*message);
      return message;
    }
    pollfd ready{socket_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 0) <= 0) return std::optional<pgwire::Message>();
    char buffer[8 * 1024];
    ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return Status(Code::kUnavailable, "the branch's PostgreSQL is gone");
    decoder_.feed(std::string_view(buffer, static_cast<size_t>(got)));
  }
}

Outcome<PostgresLink::Rows> PostgresLink::query(std::string_view sql, const Aside& aside) {
  std::string bytes;
  pgwire::append_query(bytes, sql);
  TIDE_TRY(send(bytes));
  Rows rows;
  std::optional<SqlError> failed;
  while (true) {
    pgwire::Message message = TIDE_TRY(receive());
    switch (message.type) {
      case 'T':
        for (pgwire::FieldDescription& field : TIDE_TRY(pgwire::decode_row_description(message)))
          rows.names.push_back(std::move(field.name));
        break;
      case 'D':
        rows.rows.push_back(TIDE_TRY(pgwire::decode_data_row(message)));
        break;
      case 'E':
        failed = pgwire::decode_error(message);
        break;
      case 'S':
      case 'N':
      case 'A':
        if (aside) aside(message);
        break;
      case 'Z':
        if (failed) return *failed;
        return rows;
      default:
        break;
    }
  }
}

void PostgresLink::cancel() const {
  Result<env::FileDescriptor> socket = connect_unix(path_, std::chrono::seconds(2));
  if (!socket.ok()) return;
  std::string bytes;
  pgwire::append_cancel_request(bytes, process_, secret_);
  if (::send(socket->get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return;
  // PostgreSQL closes when it has done it.
  char nothing;
  (void)!::recv(socket->get(), &nothing, 1, 0);
}

}  // namespace tide::warehouse
