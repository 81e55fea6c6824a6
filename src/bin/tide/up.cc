#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "bin/tide/commands.h"
#include "bin/tide/instance.h"
#include "compute/compute.h"
#include "control/roles.h"
#include "control/settings.h"
#include "control/store.h"
#include "control/supervisor.h"
#include "env/file.h"
#include "env/instance.h"
#include "env/privileges.h"
#include "env/process.h"
#include "net/api_error.h"

namespace tide::cli {

using nlohmann::json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::seconds kReady{180};
/// A role that died this often while everything starts will not recover by itself.
constexpr int kHopelessRestarts = 4;

/// Text lines for people; nothing with --json.
class Printer {
 public:
  explicit Printer(bool json) : json_(json) {}
  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    if (json_) return;
    fmt::print(format, std::forward<Args>(args)...);
    std::putchar('\n');
    std::fflush(stdout);
  }

 private:
  const bool json_;
};

Result<bool> port_taken(int port) {
  int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return Status::from_errno(errno, "socket");
  env::FileDescriptor closes(probe);
  int yes = 1;
  ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return false;
  if (errno == EADDRINUSE) return true;
  return Status::from_errno(errno, fmt::format("use port {}", port));
}

Status check_port(int port, const char* what, const char* option) {
  if (!TIDE_TRY(port_taken(port))) return {};
  return Status(Code::kConflict, fmt::format("port {} is in use", port))
      .with_detail(fmt::format("It was to be {}.", what))
      .with_hint(fmt::format("Stop what uses it, or choose another one with {} PORT.", option));
}

/// Makes or checks the data directory. True if it is new.
Result<bool> prepare_data_directory(const std::string& data,
                                    const std::optional<env::Account>& account) {
  struct stat state;
  bool is_new = false;
  if (::stat(data.c_str(), &state) != 0) {
    if (errno != ENOENT) return Status::from_errno(errno, fmt::format("look at {}", data));
    TIDE_TRY(env::make_directories(data, 0700));
    is_new = true;
  } else if (!S_ISDIR(state.st_mode)) {
    return Status(Code::kInvalid, fmt::format("{} is not a directory", data))
        .with_hint("Name another one with --data.");
  } else if (!env::exists(control::settings_file(data))) {
    std::vector<std::string> names = TIDE_TRY(env::list_directory(data));
    std::erase(names, "lost+found");
    if (!names.empty()) {
      return Status(Code::kConflict,
                    fmt::format("{} is not empty and not a data directory of tide", data))
          .with_detail(
              fmt::format("It holds {}{}.", names[0],
                          names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : ""))
          .with_hint("Name an empty or new directory with --data.");
    }
    is_new = true;
  }
  if (is_new) {
    if (::chmod(data.c_str(), 0700) != 0)
      return Status::from_errno(errno, fmt::format("chmod {}", data));
    if (account) TIDE_TRY(env::give_to(data, *account));
  }
  if (::stat(data.c_str(), &state) != 0)
    return Status::from_errno(errno, fmt::format("look at {}", data));
  uid_t wanted = account ? account->uid : ::geteuid();
  if (state.st_uid != wanted) {
    return Status(Code::kDenied, fmt::format("{} belongs to user id {}, tide would run as {}", data,
                                             state.st_uid, wanted))
        .with_hint(account
                       ? fmt::format("Give it to that user: chown -R {} {}", account->name, data)
                       : "Run tide as that user, or name another directory with --data.");
  }
  return is_new;
}

/// A file:// object store outside of DIR is made here, as only we may be allowed to.
Status prepare_object_store(const std::string& url, const std::optional<env::Account>& account) {
  std::string directory = control::object_store_directory(url);
  if (directory.empty()) return {};
  bool is_new = !env::exists(directory);
  Status made = env::make_directories(directory, 0700);
  if (!made.ok()) return std::move(made).with_context("make the object store");
  if (!account) return {};
  bool is_empty = TIDE_TRY(env::list_directory(directory)).empty();
  return is_new || is_empty ? env::give_to(directory, *account) : Status();
}

Result<control::Settings> settle(const UpOptions& options, const std::string& data, bool is_new,
                                 Printer& out) {
  control::Settings settings;
  bool changed = is_new;
  if (is_new) {
    settings.object_store = "file://" + data + "/objects";
    settings.created_at = control::now_text();
    settings.created_by = control::kVersion;
  } else {
    settings = TIDE_TRY(control::Settings::load(data));
  }
  auto set = [&](auto& field, const auto& wanted, const char* what) {
    if (field == wanted) return;
    if (!is_new) out.line("{} is now {} (was {})", what, wanted, field);
    field = wanted;
    changed = true;
  };
  if (options.port != 0) set(settings.port, options.port, "port");
  if (options.http_port != 0) set(settings.http_port, options.http_port, "http port");
  if (options.warehouse_port != 0)
    set(settings.warehouse_port, options.warehouse_port, "warehouse port");
  if (!options.durability.empty()) set(settings.durability, options.durability, "durability");
  if (!options.mirror.empty() && settings.mirror != (options.mirror == "on")) {
    if (!is_new) out.line("mirror is now {}", options.mirror);
    settings.mirror = options.mirror == "on";
    changed = true;
  }
  if (!options.object_store.empty()) {
    TIDE_TRY(control::check_object_store_url(options.object_store));
    std::string url = options.object_store;
    std::string directory = control::object_store_directory(url);
    if (!directory.empty()) url = "file://" + TIDE_TRY(env::canonical_path(directory));
    if (!is_new && url != settings.object_store) {
      return Status(Code::kConflict, "an instance cannot change its object store")
          .with_detail(fmt::format("It is {}.", settings.object_store))
          .with_hint(
              "Open the other store with a data directory of its own: --data NEW --object-store "
              "URL");
    }
    settings.object_store = url;
  }
  if (settings.port == settings.http_port || settings.port == settings.warehouse_port ||
      settings.http_port == settings.warehouse_port) {
    return Status(Code::kInvalid,
                  fmt::format("--port, --http-port and --warehouse-port are {}, {} and {}",
                              settings.port, settings.http_port, settings.warehouse_port))
        .with_hint("Choose three different ports.");
  }
  if (changed) TIDE_TRY(settings.save(data));
  return settings;
}

Result<env::Process> start_supervisor(const std::string& data, const std::string& library,
                                      const std::optional<env::Account>& account) {
  TIDE_TRY(env::make_directories(data + "/log", 0700));
  std::string log = data + "/log/supervisor.log";
  env::FileDescriptor output = TIDE_TRY(env::open_file(log, O_WRONLY | O_CREAT | O_APPEND, 0600));
  if (account) {
    for (const std::string& path : {data + "/log", log, control::settings_file(data)}) {
      if (::lchown(path.c_str(), account->uid, account->gid) != 0) {
        return Status::from_errno(errno, fmt::format("give {} to user {}", path, account->name));
      }
    }
  }
  env::SpawnSpec spec;
  spec.program = TIDE_TRY(program_path());
  spec.arguments = {"supervise", "--data", data, "--library", library};
  spec.directory = "/";
  spec.output = output.get();
  spec.own_session = true;
  return env::spawn(spec);
}

/// Waits until the instance is ready, telling about each stage when it is done.
Result<json> wait_until_ready(const std::string& data, const env::Process* supervisor,
                              uint64_t log_from, Printer& out) {
  auto deadline = Clock::now() + kReady;
  std::map<std::string, std::string> told;
  // What the roles died of before, and under another supervisor, does not count.
  pid_t counted_of = 0;
  std::map<std::string, int> restarts_before;
  json last;
  while (true) {
    net::HttpCall call{.unix_socket = env::control_socket(data), .target = "/v1/status"};
    call.timeout = std::chrono::seconds(10);
    Result<json> status = net::json_call(call);
    if (status.ok()) {
      last = *status;
      for (const json& stage : last["stages"]) {
        std::string name = stage["name"];
        std::string state = stage["state"];
        if (state == "done" && told[name] != "done") {
          told[name] = "done";
          out.line("  {:<10}  {:<52}  {:>8}", name, stage["detail"].get<std::string>(),
                   seconds_text(stage["seconds"].get<double>()));
        } else if (stage["problem"].is_object() && stage["seconds"].get<double>() > 2) {
          std::string problem = stage["problem"].value("message", "");
          if (told[name] != problem) {
            told[name] = problem;
            out.line("  {:<10}  waits: {}", name, problem);
          }
        }
      }
      if (last.value("ready", false)) return last;
    }
    if (supervisor != nullptr && !supervisor->alive()) {
      return Status(Code::kUnavailable, "tide ended while it was starting")
          .with_detail(tail(data + "/log/supervisor.log", log_from, 12))
          .with_hint(fmt::format("More is in {}/log.", data));
    }
    if (Result<control::SupervisorState> state = control::read_supervisor_state(data); state.ok()) {
      bool is_first = counted_of == 0;
      if (state->pid != counted_of) restarts_before.clear();
      counted_of = state->pid;
      for (const auto& role : state->roles) {
        if (is_first) restarts_before[role.name] = role.restarts;
        if (role.restarts - restarts_before[role.name] < kHopelessRestarts) continue;
        const control::Role* known = control::find_role(role.name);
        if (known == nullptr || !known->essential) continue;
        return Status(Code::kUnavailable,
                      fmt::format("the {} role does not start: it {}", role.name, role.last_exit))
            .with_detail(tail(fmt::format("{}/log/{}.log", data, role.name), 0, 8))
            .with_hint(fmt::format("More is in {}/log/{}.log.", data, role.name));
      }
    }
    if (Clock::now() > deadline) {
      std::string detail;
      for (const auto& [name, what] : told) {
        if (what != "done") detail += fmt::format("{}: {}. ", name, what);
      }
      return Status(Code::kUnavailable, fmt::format("not ready within {} s", kReady.count()))
          .with_detail(detail)
          .with_hint(fmt::format("More is in {}/log.", data));
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
}

/// Orderly stop by Ctrl-C, kill or a closing terminal.
int wait_in_foreground(const std::string& data, const sigset_t& signals, Printer& out) {
  out.line("Ctrl-C stops everything; data stays");
  while (true) {
    timespec pause{1, 0};
    int signal = ::sigtimedwait(&signals, nullptr, &pause);
    if (signal > 0) {
      out.line("");
      return down({.data = data});
    }
    if (!control::supervisor_runs(data)) {
      return fail(
          Status(Code::kUnavailable, "tide has ended").with_hint(fmt::format("See {}/log.", data)),
          false);
    }
  }
}

struct Begun {
  std::string data;
  bool already_running = false;
  json answer;
};

Result<Begun> begin(const UpOptions& options, Printer& out) {
  auto began = Clock::now();
  Begun begun;
  begun.data = TIDE_TRY(data_directory(options.data));
  const std::string& data = begun.data;
  std::optional<env::Account> account = TIDE_TRY(env::service_account());
  if (!options.object_store.empty())
    TIDE_TRY(control::check_object_store_url(options.object_store));
  compute::Installation installation = TIDE_TRY(compute::Installation::find());
  std::string library = TIDE_TRY(library_path());

  bool was_there = env::exists(control::settings_file(data));
  begun.already_running = was_there && control::supervisor_runs(data);
  std::optional<env::Process> supervisor;
  uint64_t log_from = 0;
  if (begun.already_running) {
    out.line("tide {}  PostgreSQL {}  runs already, data in {}", control::kVersion,
             installation.version, data);
    control::Settings settings = TIDE_TRY(control::Settings::load(data));
    bool other =
        (options.port != 0 && options.port != settings.port) ||
        (options.http_port != 0 && options.http_port != settings.http_port) ||
        (options.warehouse_port != 0 && options.warehouse_port != settings.warehouse_port) ||
        (!options.durability.empty() && options.durability != settings.durability) ||
        (!options.mirror.empty() && (options.mirror == "on") != settings.mirror);
    if (other) {
      return Status(Code::kConflict, "tide runs already with other settings")
          .with_detail(
              fmt::format("port {}, http port {}, warehouse port {}, durability {}, mirror {}",
                          settings.port, settings.http_port, settings.warehouse_port,
                          settings.durability, settings.mirror ? "on" : "off"))
          .with_hint("Run \"tide down\" first, then \"tide up\" with the new ones.");
    }
  } else {
    // Looked at before anything is made, so that a mistake leaves nothing behind.
    control::Settings before;
    if (was_there) before = TIDE_TRY(control::Settings::load(data));
    if (compute_processes(data).empty()) {
      TIDE_TRY(
          check_port(options.port != 0 ? options.port : before.port, "PostgreSQL's", "--port"));
    }
    TIDE_TRY(check_port(options.http_port != 0 ? options.http_port : before.http_port,
                        "the control API's", "--http-port"));
    TIDE_TRY(
        check_port(options.warehouse_port != 0 ? options.warehouse_port : before.warehouse_port,
                   "the warehouse's", "--warehouse-port"));
    bool is_new = TIDE_TRY(prepare_data_directory(data, account));
    out.line("tide {}  PostgreSQL {}  data in {}{}", control::kVersion, installation.version, data,
             is_new ? " (new)" : "");
    control::Settings settings = TIDE_TRY(settle(options, data, is_new, out));
    TIDE_TRY(prepare_object_store(settings.object_store, account));
    Result<uint64_t> size = env::file_size(data + "/log/supervisor.log");
    log_from = size.ok() ? *size : 0;
    supervisor = TIDE_TRY(start_supervisor(data, library, account));
  }

  Result<json> ready = wait_until_ready(data, supervisor ? &*supervisor : nullptr, log_from, out);
  if (!ready.ok()) {
    if (supervisor && supervisor->alive()) {
      // Nothing must go on trying behind the user's back.
      supervisor->signal(SIGTERM).ignore("it is waited for");
      supervisor->wait(std::chrono::seconds(60))
          .status()
          .ignore("reported below is why it did not start");
    }
    return std::move(ready).status();
  }
  json connection = TIDE_TRY(ask(data, {.target = "/v1/url"}));
  json stages = json::array();
  for (const json& stage : (*ready)["stages"]) {
    stages.push_back(
        {{"name", stage["name"]}, {"detail", stage["detail"]}, {"seconds", stage["seconds"]}});
  }
  begun.answer = {
      {"ready", true},
      {"already_running", begun.already_running},
      {"data_directory", data},
      {"url", connection["url"]},
      {"port", connection["port"]},
      {"http_port", (*ready)["http_port"]},
      {"http_url", fmt::format("http://127.0.0.1:{}", (*ready)["http_port"].get<int>())},
      {"warehouse_port", (*ready)["warehouse_port"]},
      {"mirror", TIDE_TRY(control::Settings::load(data)).mirror},
      {"object_store", (*ready)["object_store"]},
      {"stages", stages},
      {"seconds", std::chrono::duration<double>(Clock::now() - began).count()}};
  return begun;
}

}  // namespace

int up(const UpOptions& options) {
  // Before anything is started, so that a Ctrl-C at any moment is noticed below.
  sigset_t signals;
  sigemptyset(&signals);
  if (!options.detach) {
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  }
  ::signal(SIGPIPE, SIG_IGN);
  Printer out(options.json);
  Result<Begun> begun = begin(options, out);
  if (!begun.ok()) return fail(begun.status(), options.json);
  const json& answer = begun->answer;
  if (options.json) {
    std::puts(net::to_text(answer).c_str());
    std::fflush(stdout);
  }
  std::string flag =
      std::getenv("TIDE_DATA") == nullptr && !options.data.empty() ? " --data " + begun->data : "";
  out.line("Ready in {}\n", seconds_text(answer["seconds"].get<double>()));
  out.line("  Postgres  {}", answer["url"].get<std::string>());
  const bool mirror = answer["mirror"];
  if (mirror) {
    out.line("  Lake      its tables for analytical SQL, on port {}: tide url .lake{}",
             answer["warehouse_port"].get<int>(), flag);
  }
  out.line("  API       {} (token in {}/secrets/token)\n", answer["http_url"].get<std::string>(),
           begun->data);
  out.line("  tide psql{}                 open psql on main", flag);
  if (mirror)
    out.line("  tide psql .lake{}           the same tables in DuckDB, each commit included", flag);
  out.line("  tide branch create dev{}    a full copy of main in milliseconds", flag);
  out.line("  tide down{}                 stop everything; data stays", flag);
  if (options.detach || begun->already_running) return kExitOk;
  return wait_in_foreground(begun->data, signals, out);
}

}  // namespace tide::cli
