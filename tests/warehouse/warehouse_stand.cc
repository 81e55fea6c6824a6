// warehouse_stand DIR SOCKETS PORT USER: the warehouse role on data directory DIR, beside a running
// PostgreSQL (its socket directory, port and superuser), with doubles of control (one branch, main)
// and the mirror. Serves until SIGTERM.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "env/file.h"
#include "env/instance.h"
#include "lake_double.h"
#include "net/api_error.h"
#include "net/http_server.h"
#include "obs/log.h"
#include "warehouse/warehouse.h"

using namespace tide;

namespace {

Status run(const std::string& directory, const std::string& sockets, int port,
           const std::string& user) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  TIDE_TRY(env::prepare_runtime_directory(directory));
  TIDE_TRY(env::make_directories(directory + "/lake"));
  // The warehouse looks for computes in its own place.
  std::string link = env::postgres_socket_directory(directory);
  if (::symlink(sockets.c_str(), link.c_str()) != 0 && errno != EEXIST)
    return Status::from_errno(errno, "link " + link);

  net::HttpRouter router;
  auto endpoint = [port] { return nlohmann::json{{"state", "running"}, {"port", port}}; };
  router.add("GET", "/v1/branches/{name}", [=](const net::HttpRequest& request) {
    if (request.params.at("name") != "main")
      return net::error_response({Code::kNotFound, "no such branch"});
    return net::json_response({{"name", "main"}, {"timeline", 1}, {"endpoint", endpoint()}});
  });
  router.add("GET", "/v1/url", [=](const net::HttpRequest&) {
    return net::json_response({{"database", "app"}, {"role", user}});
  });
  net::HttpServerOptions http;
  http.unix_socket = env::control_socket(directory);
  auto control = TIDE_TRY(net::HttpServer::start(http, std::move(router)));

  tests::LakeDouble lake(
      {env::runtime_directory(directory) + "/lake.sock", directory + "/lake", sockets, port, user});
  TIDE_TRY(lake.start());
  warehouse::WarehouseOptions options;
  options.data_directory = directory;
  options.http_port = 0;
  options.sessions_max = 20;
  options.threads = 2;
  options.memory_bytes_max = uint64_t{512} << 20;
  options.spill_bytes_max = uint64_t{64} << 20;
  return warehouse::run_warehouse(options);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    fprintf(stderr, "usage: warehouse_stand DIR SOCKETS PORT USER\n");
    return 2;
  }
  obs::start_log("warehouse");
  Status status = run(arguments[1], arguments[2], atoi(arguments[3]), arguments[4]);
  if (!status.ok()) fprintf(stderr, "%s\n", status.to_string().c_str());
  return status.ok() ? 0 : 1;
}
