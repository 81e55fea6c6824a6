#include "warehouse/warehouse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <list>
#include <thread>

#include "env/file.h"
#include "env/instance.h"
#include "net/blob_channel.h"
#include "net/http_server.h"
#include "obs/log.h"
#include "pgwire/backend.h"
#include "pgwire/scram.h"
#include "warehouse/session.h"
#include "warehouse/shared.h"
#include "warehouse/statement_api.h"

namespace tide::warehouse {

namespace {

constexpr uint64_t kSegmentCacheBytes = uint64_t{1} << 30;

Result<env::FileDescriptor> listen_tcp(const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1)
    return Status(Code::kInvalid, fmt::format("{} is no IPv4 address", host));
  env::FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return Status::from_errno(errno, "make a socket");
  int yes = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    int error = errno;
    if (error == EADDRINUSE) return Status(Code::kExists, fmt::format("port {} is taken", port));
    return Status::from_errno(error, fmt::format("listen on {}:{}", host, port));
  }
  if (::listen(socket.get(), 128) != 0) return Status::from_errno(errno, "listen");
  return socket;
}

int port_of(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  return ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0
             ? ntohs(address.sin_port)
             : 0;
}

/// The instance's certificate; made on first use.
Result<std::unique_ptr<pgwire::TlsContext>> tls_context(const std::string& data_directory) {
  std::string directory = data_directory + "/secrets";
  TIDE_TRY(env::make_directories(directory));
  std::string certificate = directory + "/server.crt";
  std::string key = directory + "/server.key";
  if (!env::exists(certificate) || !env::exists(key)) {
    pgwire::TlsIdentity made = TIDE_TRY(pgwire::TlsIdentity::make_self_signed());
    TIDE_TRY(env::write_file_atomically(key, made.key, 0600));
    TIDE_TRY(env::write_file_atomically(certificate, made.certificate, 0644));
  }
  return pgwire::TlsContext::make(
      {TIDE_TRY(env::read_file(certificate)), TIDE_TRY(env::read_file(key))});
}

uint64_t default_memory() {
  long pages = ::sysconf(_SC_PHYS_PAGES);
  long size = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || size <= 0) return uint64_t{1} << 30;
  return static_cast<uint64_t>(pages) * static_cast<uint64_t>(size) / 4;
}

/// Accepts connections and runs a session for each on a thread of its own, up to a limit.
class Server {
 public:
  explicit Server(Shared& shared) : shared_(shared) {}
  ~Server() { stop(); }

  void accept(int listener) {
    env::FileDescriptor client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.is_open()) return;
    int yes = 1;
    ::setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    ::setsockopt(client.get(), SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    reap();
    if (sessions_.size() >= static_cast<size_t>(shared_.options.sessions_max)) {
      SqlError error = sql_error("53300", "sorry, too many clients already");
      error.severity = "FATAL";
      error.detail =
          fmt::format("The warehouse serves {} sessions at once.", shared_.options.sessions_max);
      std::string bytes;
      pgwire::append_error(bytes, error);
      (void)!::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      return;
    }
    Entry& entry = sessions_.emplace_back();
    entry.session = std::make_unique<Session>(shared_, std::move(client));
    entry.thread = std::thread([&entry] {
      pthread_setname_np(pthread_self(), "session");
      entry.session->run();
      entry.done = true;
    });
  }

  /// Joins threads whose sessions have ended.
  void reap() {
    for (auto at = sessions_.begin(); at != sessions_.end();) {
      if (at->done) {
        at->thread.join();
        at = sessions_.erase(at);
      } else {
        ++at;
      }
    }
  }

  void stop() {
    for (Entry& entry : sessions_) entry.session->shut_down();
    for (Entry& entry : sessions_) entry.thread.join();
    sessions_.clear();
  }

 private:
  struct Entry {
    std::unique_ptr<Session> session;
    std::thread thread;
    std::atomic<bool> done{false};
  };
  Shared& shared_;
  std::list<Entry> sessions_;
};

}  // namespace

std::string warehouse_socket(const std::string& data_directory) {
  return env::runtime_directory(data_directory) + "/warehouse.sock";
}

std::string warehouse_http_socket(const std::string& data_directory) {
  return env::runtime_directory(data_directory) + "/warehouse-http.sock";
}

Status run_warehouse(const WarehouseOptions& options) {
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);  // before any thread: all inherit it
  env::FileDescriptor signals(::signalfd(-1, &stop_signals, SFD_CLOEXEC));
  if (!signals.is_open()) return Status::from_errno(errno, "watch signals");

  const std::string& directory = options.data_directory;
  TIDE_TRY(env::prepare_runtime_directory(directory));
  TIDE_TRY(env::make_directories(directory + "/warehouse"));
  auto lock = TIDE_TRY(env::open_lock_file(directory + "/warehouse/lock"));
  if (!TIDE_TRY(env::try_lock(lock.get(), env::LockKind::kExclusive)))
    return {Code::kConflict, fmt::format("another warehouse role runs on {}", directory)};
  std::string spill = directory + "/warehouse/spill";
  // What an earlier life spilled is nobody's any more.
  TIDE_TRY(env::remove_tree(spill));
  TIDE_TRY(env::make_directories(spill));

  duck::EngineOptions engine;
  engine.memory_limit_bytes =
      options.memory_bytes_max > 0 ? options.memory_bytes_max : default_memory();
  engine.threads = options.threads > 0
                       ? options.threads
                       : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  engine.temp_directory = spill;
  engine.temp_bytes_max = options.spill_bytes_max;
  engine.postgres_semantics = true;
  engine.lock_down = true;
  engine.readable_directories = options.lake_directories;
  if (engine.readable_directories.empty())
    engine.readable_directories = {directory + "/objects", directory + "/lake"};
  Shared shared{.options = options,
                .postgres_sockets = env::postgres_socket_directory(directory),
                .lake_socket = env::runtime_directory(directory) + "/lake.sock",
                .secret = TIDE_TRY(pgwire::random_bytes(32)),
                .branches = Branches(env::control_socket(directory)),
                .engine = TIDE_TRY(duck::Engine::open(engine)),
                .segments = SegmentCache(kSegmentCacheBytes),
                .tls = TIDE_TRY(tls_context(directory))};

  std::vector<env::FileDescriptor> listeners;
  listeners.push_back(TIDE_TRY(net::listen_unix(warehouse_socket(directory))));
  if (options.port >= 0) listeners.push_back(TIDE_TRY(listen_tcp(options.host, options.port)));
  int port = options.port >= 0 ? port_of(listeners.back().get()) : -1;
  {
    // Declared before the HTTP server, which ends first: its handlers use it.
    StatementApi statements(shared);
    net::HttpServerOptions http;
    http.name = "warehouse";
    http.unix_socket = warehouse_http_socket(directory);
    http.host = options.host;
    http.port = options.http_port;
    http.threads = 16;  // each may wait for a statement for most of a minute
    auto api = TIDE_TRY(net::HttpServer::start(http, statements.router()));
    TIDE_TRY(env::write_file_atomically(directory + "/warehouse/http-port",
                                        fmt::format("{}\n", api->port())));
    Server server(shared);
    // Who asked for any free port finds it here.
    TIDE_TRY(env::write_file_atomically(directory + "/warehouse/port", fmt::format("{}\n", port)));
    obs::info("warehouse is ready on port {}: {} MB, {} threads", port,
              engine.memory_limit_bytes >> 20, engine.threads);
    std::vector<pollfd> ready;
    ready.push_back({signals.get(), POLLIN, 0});
    for (const env::FileDescriptor& listener : listeners)
      ready.push_back({listener.get(), POLLIN, 0});
    while (true) {
      if (::poll(ready.data(), ready.size(), 1000) < 0 && errno != EINTR)
        return Status::from_errno(errno, "wait for connections");
      if (ready[0].revents != 0) break;
      for (size_t i = 1; i < ready.size(); ++i) {
        if (ready[i].revents != 0) server.accept(ready[i].fd);
      }
      server.reap();
    }
    obs::info("warehouse stops");
    statements.stop();
    api->stop(std::chrono::seconds(2));
  }
  return {};
}

}  // namespace tide::warehouse
