#include "warehouse/session.h"

#include <fmt/format.h>
#include <poll.h>

#include "obs/log.h"
#include "pgwire/backend.h"
#include "pgwire/scram.h"
#include "warehouse/login.h"

namespace tide::warehouse {

namespace {

/// A client may send a statement of this size; PostgreSQL takes up to 1 GB.
constexpr size_t kMessageBytesMax = size_t{256} << 20;
constexpr size_t kLoginBytesMax = 64 * 1024;
constexpr size_t kFlushAbove = 64 * 1024;
constexpr int kLoginSeconds = 60;

}  // namespace

Session::Session(Shared& shared, env::FileDescriptor socket, bool trusted)
    : shared_(shared), trusted_(trusted), stream_(std::move(socket)), decoder_(kMessageBytesMax) {}

Session::~Session() {
  if (key_) shared_.cancel_keys.remove(*key_);
  std::lock_guard lock(cancel_mutex_);
  cancel_link_ = nullptr;
  cancel_lake_ = nullptr;
}

void Session::run() {
  if (start()) serve();
  flush().ignore("the connection ends here");
  {
    std::lock_guard lock(cancel_mutex_);
    cancel_link_ = nullptr;
    cancel_lake_ = nullptr;
  }
  // Cursors hold snapshots of the lake session, so they go first.
  portals_.clear();
  cursors_.clear();
}

void Session::cancel() {
  canceled_ = true;
  std::lock_guard lock(cancel_mutex_);
  if (cancel_lake_ != nullptr) cancel_lake_->interrupt();
  if (cancel_link_ != nullptr) cancel_link_->cancel();
  // The engine forgets an interrupt that comes before the query has begun.
  shared_.watchdog.hurry(watch_);
}

void Session::shut_down() {
  stopping_ = true;
  {
    std::lock_guard lock(cancel_mutex_);
    if (cancel_lake_ != nullptr) cancel_lake_->interrupt();
    if (cancel_link_ != nullptr) cancel_link_->cancel();
    shared_.watchdog.hurry(watch_);
  }
  stream_.shut_down();
}

Status Session::flush() {
  if (out_.empty()) return {};
  Status written = stream_.write(out_);
  out_.clear();
  if (!written.ok()) dead_ = true;
  return written;
}

bool Session::flush_if_large() {
  if (out_.size() < kFlushAbove) return true;
  return flush().ok();
}

void Session::fatal(SqlError error) {
  error.severity = "FATAL";
  pgwire::append_error(out_, error);
  flush().ignore("the connection ends here");
}

bool Session::start() {
  if (!stream_.set_read_deadline(kLoginSeconds).ok()) return false;
  pgwire::StartupDecoder startup;
  while (true) {
    Result<std::optional<pgwire::StartupPacket>> packet = startup.next();
    if (!packet.ok()) {
      fatal(sql_error("08P01", packet.status().message()));
      return false;
    }
    if (!packet->has_value()) {
      Result<std::string> bytes = stream_.read();
      if (!bytes.ok()) return false;
      startup.feed(*bytes);
      continue;
    }
    switch ((*packet)->kind) {
      case pgwire::StartupPacket::Kind::kSslRequest: {
        bool yes = shared_.tls != nullptr && !stream_.encrypted();
        // Plain bytes behind the request were put there by somebody in between.
        if (startup.has_rest()) {
          fatal(sql_error("08P01", "received unencrypted data after SSL request"));
          return false;
        }
        if (!stream_.write(yes ? "S" : "N").ok()) return false;
        if (yes && !stream_.begin_tls(*shared_.tls).ok()) return false;
        break;
      }
      case pgwire::StartupPacket::Kind::kGssRequest:
        if (!stream_.write("N").ok()) return false;
        break;
      case pgwire::StartupPacket::Kind::kCancel:
        shared_.cancel_keys.cancel({(*packet)->process, (*packet)->secret});
        return false;
      case pgwire::StartupPacket::Kind::kStartup:
        decoder_.feed(startup.take_rest());
        return authenticate(**packet) && stream_.set_read_deadline(0).ok();
    }
  }
}

bool Session::authenticate(const pgwire::StartupPacket& packet) {
  role_ = packet.parameter("user");
  if (role_.empty()) {
    fatal(sql_error("28000", "no PostgreSQL user name specified in startup packet"));
    return false;
  }
  if (!packet.parameter("replication").empty()) {
    fatal(sql_error("0A000", "the lake endpoint has no replication"));
    return false;
  }
  std::vector<std::string> unknown;
  for (const auto& [name, value] : packet.parameters) {
    if (name.starts_with("_pq_.")) unknown.push_back(name);
  }
  if (packet.minor_version > 0 || !unknown.empty()) {
    pgwire::append_negotiate_version(out_, 0, unknown);
  }
  std::string database = packet.parameter("database");
  database_ = DatabaseName::parse(database.empty() ? role_ : database);
  Result<Branch> branch = shared_.branches.awake(database_.branch);
  if (!branch.ok()) {
    bool missing = branch.status().code() == Code::kNotFound;
    SqlError error =
        missing ? sql_error("3D000", fmt::format("branch \"{}\" does not exist", database_.branch))
                : to_sql_error(branch.status());
    if (missing) {
      error.hint =
          "The database's name is DATABASE@BRANCH.lake; tide branch list shows the branches.";
    }
    fatal(error);
    return false;
  }
  branch_ = *branch;
  if (trusted_) {
    pgwire::append_authentication_ok(out_);
    return open_link(packet);
  }
  return log_in(role_, branch_) && open_link(packet);
}

std::optional<pgwire::Message> Session::password_message() {
  if (!flush().ok()) return std::nullopt;
  while (true) {
    Result<std::optional<pgwire::Message>> message = decoder_.next();
    if (!message.ok() || decoder_.buffered() > kLoginBytesMax) return std::nullopt;
    if (message->has_value()) {
      if ((*message)->type == 'p') return **message;
      if ((*message)->type != 'X')
        fatal(sql_error("08P01", "expected an answer to the password request"));
      return std::nullopt;
    }
    Result<std::string> bytes = stream_.read();
    if (!bytes.ok()) return std::nullopt;
    decoder_.feed(*bytes);
  }
}

bool Session::log_in(const std::string& role, const Branch& branch) {
  Outcome<StoredRole> stored = find_role(shared_.postgres_sockets, branch, role, shared_.secret);
  if (!stored.ok()) {
    fatal(stored.error());
    return false;
  }
  pgwire::ScramServer::Options options;
  options.verifier = stored->verifier;
  Result<std::string> nonce = pgwire::random_nonce();
  if (!nonce.ok()) {
    fatal(to_sql_error(nonce.status()));
    return false;
  }
  options.nonce = *nonce;
  std::vector<std::string> mechanisms;
  if (stream_.encrypted()) {
    options.certificate_hash = shared_.tls->certificate_hash();
    mechanisms.emplace_back(pgwire::kScramSha256Plus);
  }
  mechanisms.emplace_back(pgwire::kScramSha256);
  pgwire::ScramServer scram(options);
  auto refused = [&](const Status& status) {
    if (status.code() == Code::kInvalid) {
      SqlError error = sql_error("08P01", status.message());
      error.detail = status.detail();
      fatal(error);
    } else {
      fatal(
          sql_error("28P01", fmt::format("password authentication failed for user \"{}\"", role)));
    }
    return false;
  };
  pgwire::append_authentication_sasl(out_, mechanisms);
  std::optional<pgwire::Message> message = password_message();
  if (!message) return false;
  Result<pgwire::SaslInitialMessage> initial = pgwire::decode_sasl_initial(*message);
  if (!initial.ok()) return refused(Status(Code::kInvalid, initial.status().message()));
  Result<std::string> answer = scram.first(initial->mechanism, initial->data);
  if (!answer.ok()) return refused(answer.status());
  pgwire::append_authentication_sasl_continue(out_, *answer);
  message = password_message();
  if (!message) return false;
  answer = scram.final(message->body);
  if (!answer.ok()) return refused(answer.status());
  if (!stored->may_log_in) return refused(Status(Code::kDenied, ""));
  pgwire::append_authentication_sasl_final(out_, *answer);
  pgwire::append_authentication_ok(out_);
  return true;
}

bool Session::open_link(const pgwire::StartupPacket& packet) {
  PostgresLink::Options options;
  options.socket_directory = shared_.postgres_sockets;
  options.port = branch_.port;
  for (const auto& [name, value] : packet.parameters) {
    if (!name.starts_with("_pq_.")) options.parameters[name] = value;
  }
  options.parameters["database"] = database_.database;
  // Behind the client's own options, so that it stands.
  std::string& switches = options.parameters["options"];
  switches += (switches.empty() ? "" : " ") + std::string("-c default_transaction_read_only=on");
  Outcome<std::unique_ptr<PostgresLink>> link = PostgresLink::open(options);
  if (!link.ok()) {
    fatal(link.error());
    return false;
  }
  link_ = std::move(*link);
  lake_ = std::make_unique<LakeSession>(
      LakeSession::Options{.lake_socket = shared_.lake_socket,
                           .timeline = branch_.timeline,
                           .database = database_.database,
                           .statement_timeout = shared_.options.statement_timeout},
      *shared_.engine, shared_.segments, *link_);
  lake_->aside = [this](const pgwire::Message& message) { pass_on(message); };
  {
    std::lock_guard lock(cancel_mutex_);
    cancel_link_ = link_.get();
    cancel_lake_ = lake_.get();
  }
  Result<CancelKeys::Key> key = shared_.cancel_keys.add(*this);
  if (!key.ok()) {
    fatal(to_sql_error(key.status()));
    return false;
  }
  key_ = *key;
  for (const auto& [name, value] : link_->parameters())
    pgwire::append_parameter_status(out_, name, value);
  pgwire::append_backend_key(out_, key_->process, key_->secret);
  pgwire::append_ready(out_, link_->transaction());
  return flush().ok();
}

std::optional<pgwire::Message> Session::next_message() {
  while (!dead_ && !stopping_) {
    Result<std::optional<pgwire::Message>> message = decoder_.next();
    if (!message.ok()) {
      fatal(sql_error("08P01", message.status().message()));
      return std::nullopt;
    }
    if (message->has_value()) return std::move(**message);
    // Between statements the link may have something to say: settings, notifications, its end.
    pollfd ready[2] = {{stream_.fd(), POLLIN, 0}, {link_->fd(), POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0 && errno != EINTR) return std::nullopt;
    if (stopping_) break;
    if (ready[1].revents != 0 && !link_open_) {
      Result<std::optional<pgwire::Message>> aside = link_->poll();
      if (!aside.ok()) {
        link_lost(aside.status());
        return std::nullopt;
      }
      while (aside.ok() && aside->has_value()) {
        pass_on(**aside);
        aside = link_->poll();
      }
      if (!flush().ok()) return std::nullopt;
    }
    if (ready[0].revents == 0) continue;
    Result<std::string> bytes = stream_.read();
    if (!bytes.ok()) return std::nullopt;
    decoder_.feed(*bytes);
  }
  if (stopping_) {
    fatal(sql_error("57P01", "terminating connection due to administrator command"));
  }
  return std::nullopt;
}

bool Session::link_lost(const Status& status) {
  if (dead_) return false;
  dead_ = true;
  SqlError error = sql_error("57P01", "terminating connection: the branch's PostgreSQL has ended");
  error.detail = status.message();
  error.hint = "It was suspended or restarted. Connect again: that starts it.";
  fatal(error);
  return false;
}

void Session::pass_on(const pgwire::Message& message) { pgwire::append_message(out_, message); }

void Session::serve() {
  while (std::optional<pgwire::Message> message = next_message()) {
    if (!handle(*message) || dead_) return;
  }
}

bool Session::handle(const pgwire::Message& message) {
  switch (message.type) {
    case 'X':
      return false;
    case 'Q':
      skipping_ = false;
      return simple_query(message) && flush().ok();
    case 'S':
      return on_sync() && flush().ok();
    case 'H':
      return flush().ok();
    case 'P':
    case 'B':
    case 'D':
    case 'E':
    case 'C':
      return skipping_ || (extended(message) && flush_if_large());
    case 'd':
    case 'c':
    case 'f':
      return true;  // of a COPY that failed already
    case 'F': {
      report(sql_error("0A000", "function calls are not supported: use SELECT"), "");
      pgwire::append_ready(out_, link_->transaction());
      return flush().ok();
    }
    default:
      fatal(sql_error("08P01",
                      fmt::format("invalid frontend message type {}",
                                  static_cast<int>(static_cast<unsigned char>(message.type)))));
      return false;
  }
}

}  // namespace tide::warehouse
