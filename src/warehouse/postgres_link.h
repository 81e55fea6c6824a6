#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "env/file.h"
#include "pgwire/message.h"
#include "warehouse/outcome.h"

namespace tide::warehouse {

/// A connection to a branch's PostgreSQL over its private Unix socket, which trusts us to be any
/// role. Messages go through as they are, so that what a client sees is what PostgreSQL sent. One
/// thread at a time, but cancel().
class PostgresLink {
 public:
  struct Options {
    std::string socket_directory;
    int port = 0;
    std::map<std::string, std::string> parameters;  ///< of the startup packet: user, database, ...
    std::chrono::milliseconds timeout{30'000};      ///< for the start
  };
  /// Connects and waits until it is ready. PostgreSQL's own errors come as they are; 57P03 if
  /// nobody listens.
  static Outcome<std::unique_ptr<PostgresLink>> open(const Options& options);
  /// The same over a connection that is there already, to whatever serves the protocol at its end.
  static Outcome<std::unique_ptr<PostgresLink>> adopt(
      env::FileDescriptor socket, std::map<std::string, std::string> parameters);
  ~PostgresLink();

  /// ParameterStatus as last reported.
  const std::map<std::string, std::string>& parameters() const { return parameters_; }
  int fd() const { return socket_.get(); }
  /// 'I', 'T' or 'E', as of the last ReadyForQuery.
  char transaction() const { return transaction_; }

  Status send(std::string_view bytes);
  /// The next message; kUnavailable when the server is gone.
  Result<pgwire::Message> receive();
  /// A message that is here already, without waiting.
  Result<std::optional<pgwire::Message>> poll();

  struct Rows {
    std::vector<std::string> names;
    std::vector<std::vector<std::optional<std::string>>> rows;
  };
  /// Runs a statement of ours with the simple protocol; text results. `aside` gets what arrives
  /// beside the answer (ParameterStatus, notices).
  using Aside = std::function<void(const pgwire::Message&)>;
  Outcome<Rows> query(std::string_view sql, const Aside& aside = nullptr);

  /// Asks PostgreSQL to cancel what runs. From any thread.
  void cancel() const;

 private:
  PostgresLink(env::FileDescriptor socket, std::string path);
  Status start(const Options& options, std::optional<SqlError>& refused);
  void note(const pgwire::Message& message);

  env::FileDescriptor socket_;
  const std::string path_;
  pgwire::MessageDecoder decoder_;
  std::map<std::string, std::string> parameters_;
  char transaction_ = 'I';
  int32_t process_ = 0;
  int32_t secret_ = 0;
};

/// Connects to a Unix socket with deadlines for each send and receive.
Result<env::FileDescriptor> connect_unix(const std::string& path,
                                         std::chrono::milliseconds timeout);

}  // namespace tide::warehouse
