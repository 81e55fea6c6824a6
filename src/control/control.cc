#include "control/control.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "compute/compute.h"
#include "control/api.h"
#include "control/computes.h"
#include "control/provision.h"
#include "control/service.h"
#include "control/settings.h"
#include "control/state_copy.h"
#include "control/storage_client.h"
#include "control/store.h"
#include "env/file.h"
#include "env/instance.h"
#include "net/http_server.h"
#include "obs/log.h"

namespace tide::control {

namespace {

Result<std::string> api_token(const std::string& data_directory) {
  std::string directory = data_directory + "/secrets";
  std::string path = directory + "/token";
  Result<std::string> existing = env::read_file(path);
  if (existing.ok()) {
    std::string token = std::move(existing).value();
    while (!token.empty() && token.back() == '\n') token.pop_back();
    if (token.size() >= 16) return token;
    return Status(Code::kCorrupt, fmt::format("{} holds no token", path))
        .with_hint("Remove it; a new one is made at the next start.");
  }
  if (existing.status().code() != Code::kNotFound) return std::move(existing).status();
  TIDE_TRY(env::make_directories(directory, 0700));
  std::string token = TIDE_TRY(random_token(24));
  TIDE_TRY(env::write_file_atomically(path, token + "\n", 0600));
  return token;
}

}  // namespace

Status run_control(const ControlOptions& options) {
  // Before any thread, so that all inherit it: signals arrive at sigwait below only.
  sigset_t handled;
  sigemptyset(&handled);
  for (int signal : {SIGTERM, SIGINT}) sigaddset(&handled, signal);
  ::pthread_sigmask(SIG_BLOCK, &handled, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(0077);

  const std::string& data = options.data_directory;
  TIDE_TRY(env::prepare_runtime_directory(data));
  env::FileDescriptor lock =
      TIDE_TRY(env::open_lock_file(env::runtime_directory(data) + "/control.lock"));
  if (!TIDE_TRY(env::try_lock(lock.get(), env::LockKind::kExclusive))) {
    return {Code::kExists, fmt::format("a control role of {} runs already", data)};
  }
  Settings settings = TIDE_TRY(Settings::load(data));
  compute::Installation installation = TIDE_TRY(compute::Installation::find());
  std::unique_ptr<Store> store = TIDE_TRY(Store::open(data + "/control.db"));
  StorageClient storage(env::storage_socket(data));

  ComputesOptions computes_options;
  computes_options.data_directory = data;
  computes_options.socket_directory = env::postgres_socket_directory(data);
  computes_options.durability = settings.durability == "acceptor" ? compute::Durability::kAcceptor
                                                                  : compute::Durability::kLocal;
  computes_options.installation = installation;
  computes_options.library = options.library;
  computes_options.main_port = settings.port;
  Computes computes(computes_options, *store, storage);

  if (options.shutdown_only) {
    // Taking them up again ends all but complete and wanted ones; those follow.
    TIDE_TRY(computes.take_up());
    return computes.stop_all();
  }

  StateCopy copy(settings.object_store, *store);
  Service service(
      {.data_directory = data, .main_port = settings.port, .installation = installation}, *store,
      storage, computes, copy);
  Api api({.data_directory = data,
           .postgresql_version = installation.version,
           .settings = settings,
           .token = TIDE_TRY(api_token(data))},
          service, *store, storage, computes);
  net::HttpServerOptions server_options;
  server_options.name = "control";
  server_options.unix_socket = env::control_socket(data);
  server_options.port = settings.http_port;
  server_options.threads = 16;
  server_options.admit = [&api](const net::HttpRequest& request) { return api.admit(request); };
  std::unique_ptr<net::HttpServer> server =
      TIDE_TRY(net::HttpServer::start(server_options, api.router()));
  service.begin();
  obs::info("control serves {} and port {}", server_options.unix_socket, server->port());

  int signal = 0;
  ::sigwait(&handled, &signal);
  obs::info("signal {}: suspends the computes", signal);
  computes.refuse();
  service.stop();
  Status stopped = computes.stop_all();
  server->stop(std::chrono::seconds(5));
  copy.stop();
  return stopped;
}

}  // namespace tide::control
