#include "bin/tide/instance.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "bin/tide/commands.h"
#include "control/roles.h"
#include "control/settings.h"
#include "control/supervisor.h"
#include "env/file.h"
#include "env/instance.h"
#include "env/process.h"
#include "net/api_error.h"
#include "net/http_client.h"

namespace tide::cli {

using nlohmann::json;

namespace {
constexpr std::string_view kNotRunning = "tide is not running";
constexpr std::chrono::seconds kControlRestart{20};
}  // namespace

bool is_not_running(const Status& status) { return status.message().starts_with(kNotRunning); }

int fail(const Status& status, bool as_json) {
  if (as_json) {
    std::puts(net::to_text(net::error_json(status)).c_str());
  } else {
    fmt::print(stderr, "tide: {}\n", status.message());
    if (!status.detail().empty()) fmt::print(stderr, "DETAIL: {}\n", status.detail());
    if (!status.hint().empty()) fmt::print(stderr, "HINT: {}\n", status.hint());
  }
  if (is_not_running(status)) return kExitNotRunning;
  return status.code() == Code::kDenied ? kExitDenied : kExitError;
}

Result<std::string> data_directory(const std::string& option) {
  std::string path = option;
  if (path.empty()) {
    const char* variable = std::getenv("TIDE_DATA");
    if (variable != nullptr) path = variable;
  }
  if (path.empty()) {
    const char* home = std::getenv("HOME");
    if (home == nullptr || *home == '\0') {
      const passwd* entry = ::getpwuid(::geteuid());
      home = entry == nullptr ? nullptr : entry->pw_dir;
    }
    if (home == nullptr) {
      return Status(Code::kInvalid, "there is no home directory")
          .with_hint("Name a data directory with --data.");
    }
    path = std::string(home) + "/.tidewater";
  }
  return env::canonical_path(path);
}

Status require_running(const std::string& data) {
  if (control::supervisor_runs(data)) return {};
  std::string here = env::exists(control::settings_file(data))
                         ? fmt::format("The instance in {} is stopped.", data)
                         : fmt::format("There is no instance in {}.", data);
  Status status(Code::kUnavailable, fmt::format("{} for {}", kNotRunning, data));
  return std::move(status).with_detail(here).with_hint(
      fmt::format("Start it with: tide up --data {}", data));
}

namespace {
Result<net::HttpReply> call(const std::string& data, const Request& request) {
  TIDE_TRY(require_running(data));
  auto deadline = std::chrono::steady_clock::now() + kControlRestart;
  while (true) {
    net::HttpCall call{.unix_socket = env::control_socket(data),
                       .method = request.method,
                       .target = request.target,
                       .body = request.body,
                       .timeout = request.timeout};
    Result<net::HttpReply> reply = net::http_call(call);
    // Only what never arrived may be sent again.
    bool nobody_there = !reply.ok() && reply.status().message().starts_with("connect to");
    if (!nobody_there || std::chrono::steady_clock::now() > deadline) return reply;
    TIDE_TRY(require_running(data));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}
}  // namespace

Result<std::string> ask_raw(const std::string& data, const Request& request) {
  net::HttpReply reply = TIDE_TRY(call(data, request));
  if (reply.status < 200 || reply.status >= 300)
    return net::status_from_reply(reply.status, reply.body);
  return std::move(reply.body);
}

Result<json> ask(const std::string& data, const Request& request) {
  return net::parse_json(TIDE_TRY(ask_raw(data, request)));
}

std::vector<pid_t> compute_processes(const std::string& data) {
  return env::find_processes([&](pid_t pid) {
    std::string directory = env::process_directory(pid);
    if (directory.starts_with(data + "/compute/")) return true;
    for (const std::string& argument : env::process_arguments(pid)) {
      if (argument.starts_with(data + "/compute/")) return true;
    }
    return false;
  });
}

std::vector<pid_t> instance_processes(const std::string& data) {
  std::vector<pid_t> found = env::find_processes([&](pid_t pid) {
    std::vector<std::string> arguments = env::process_arguments(pid);
    // tide ROLE --data DIR ...
    return arguments.size() >= 4 && arguments[2] == "--data" && arguments[3] == data &&
           (arguments[1] == kSupervise || control::find_role(arguments[1]) != nullptr);
  });
  for (pid_t pid : compute_processes(data)) found.push_back(pid);
  return found;
}

Result<std::string> program_path() {
  std::error_code error;
  std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return Status::from_errno(error.value(), "find this program");
  return path.string();
}

Result<std::string> library_path() {
  if (const char* chosen = std::getenv("TIDE_LIBRARY"); chosen != nullptr && *chosen != '\0') {
    return env::canonical_path(chosen);
  }
  std::filesystem::path directory = std::filesystem::path(TIDE_TRY(program_path())).parent_path();
  std::filesystem::path candidates[] = {directory / "lib/tidewater.so",
                                        directory.parent_path() / "lib/tidewater/tidewater.so"};
  for (const auto& candidate : candidates) {
    if (env::exists(candidate.string())) return env::canonical_path(candidate.string());
  }
  return Status(Code::kNotFound, "tidewater.so is missing")
      .with_detail(
          fmt::format("Looked for {} and {}.", candidates[0].string(), candidates[1].string()))
      .with_hint("Build it (make build), or name it in TIDE_LIBRARY.");
}

std::string tail(const std::string& path, uint64_t from, size_t lines) {
  Result<env::FileDescriptor> file = env::open_file(path, O_RDONLY);
  Result<uint64_t> size = env::file_size(path);
  if (!file.ok() || !size.ok() || *size <= from) return {};
  constexpr uint64_t kMost = 8192;
  uint64_t begin = *size - from > kMost ? *size - kMost : from;
  Result<std::string> text = env::read_range(file->get(), begin, *size - begin);
  if (!text.ok()) return {};
  std::deque<std::string> last;
  size_t at = 0;
  while (at < text->size()) {
    size_t end = text->find('\n', at);
    if (end == std::string::npos) end = text->size();
    last.push_back(text->substr(at, end - at));
    if (last.size() > lines) last.pop_front();
    at = end + 1;
  }
  std::string joined;
  for (const std::string& line : last) joined += (joined.empty() ? "" : "\n") + line;
  return joined;
}

std::string bytes_text(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  const char* units[] = {"kB", "MB", "GB", "TB", "PB"};
  int unit = -1;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string seconds_text(double seconds) {
  return seconds < 0.1 ? fmt::format("{:.0f} ms", seconds * 1000)
                       : fmt::format("{:.1f} s", seconds);
}

}  // namespace tide::cli
