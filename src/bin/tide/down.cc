#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "bin/tide/commands.h"
#include "bin/tide/instance.h"
#include "control/settings.h"
#include "control/supervisor.h"
#include "env/file.h"
#include "env/process.h"
#include "net/api_error.h"

namespace tide::cli {

using nlohmann::json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::seconds kDown{600};

struct Outcome {
  bool was_running = false;
  double seconds = 0;
};

/// Waits for the supervisor's end, telling what it is doing.
Status follow(const std::string& data, const env::Process& supervisor, bool quiet) {
  auto deadline = Clock::now() + kDown;
  std::string told;
  auto since = Clock::now();
  auto finish_line = [&] {
    if (told.empty() || quiet) return;
    fmt::print("  {:<20} {:>8}\n", told,
               seconds_text(std::chrono::duration<double>(Clock::now() - since).count()));
    std::fflush(stdout);
  };
  while (supervisor.alive()) {
    if (Result<control::SupervisorState> state = control::read_supervisor_state(data); state.ok()) {
      if (state->state != told && state->state != "running" && state->state != "stopped") {
        finish_line();
        told = state->state;
        since = Clock::now();
      }
    }
    if (Clock::now() > deadline) {
      return Status(Code::kUnavailable, fmt::format("tide did not end within {} s", kDown.count()))
          .with_detail(fmt::format("It is at: {}. Process {}.", told, supervisor.pid()))
          .with_hint(fmt::format("See {}/log. Killing it loses nothing that was committed.", data));
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
  finish_line();
  return {};
}

Result<Outcome> stop(const std::string& data, bool quiet) {
  auto began = Clock::now();
  Outcome outcome;
  Result<uint64_t> size = env::file_size(data + "/log/supervisor.log");
  uint64_t log_from = size.ok() ? *size : 0;
  std::optional<env::Process> supervisor;
  if (control::supervisor_runs(data)) {
    outcome.was_running = true;
    control::SupervisorState state = TIDE_TRY(control::read_supervisor_state(data));
    Result<env::Process> process = env::Process::open(state.pid);
    if (process.ok()) {
      TIDE_TRY(process->signal(SIGTERM));
      supervisor = std::move(process).value();
    }
  } else if (!instance_processes(data).empty()) {
    // The supervisor was killed. A new one ends in order what the old one left.
    outcome.was_running = true;
    env::SpawnSpec spec;
    spec.program = TIDE_TRY(program_path());
    spec.arguments = {"supervise", "--data", data, "--library", TIDE_TRY(library_path()),
                      "--shutdown"};
    spec.directory = "/";
    spec.output_file = data + "/log/supervisor.log";
    spec.own_session = true;
    supervisor = TIDE_TRY(env::spawn(spec));
  }
  if (supervisor) TIDE_TRY(follow(data, *supervisor, quiet));

  // What could not be ended in order is killed: that loses nothing that was committed.
  std::string killed;
  auto deadline = Clock::now() + std::chrono::seconds(20);
  while (true) {
    std::vector<pid_t> left = instance_processes(data);
    if (left.empty()) break;
    for (pid_t pid : left) {
      Result<env::Process> process = env::Process::open(pid);
      if (!process.ok()) continue;
      killed += fmt::format(" {}", pid);
      process->signal(SIGKILL).ignore("looked for again");
    }
    if (Clock::now() > deadline) {
      return Status(Code::kUnavailable, "some processes do not end")
          .with_detail(fmt::format("Process ids:{}.", killed));
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
  if (!killed.empty() && !quiet) {
    fmt::print("  killed what did not end in order (nothing committed is lost)\n");
    std::string why = tail(data + "/log/supervisor.log", log_from, 5);
    if (!why.empty()) fmt::print(stderr, "{}\n", why);
  }
  outcome.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  return outcome;
}

}  // namespace

int down(const DownOptions& options) {
  Result<std::string> data = data_directory(options.data);
  if (!data.ok()) return fail(data.status(), options.json);
  if (!env::exists(control::settings_file(*data))) {
    return fail(require_running(*data), options.json);
  }
  Result<Outcome> outcome = stop(*data, options.json);
  if (!outcome.ok()) return fail(outcome.status(), options.json);
  if (options.json) {
    json answer = {{"stopped", true},
                   {"was_running", outcome->was_running},
                   {"data_directory", *data},
                   {"seconds", outcome->seconds}};
    std::puts(net::to_text(answer).c_str());
  } else if (outcome->was_running) {
    fmt::print("Stopped in {}; data stays in {}\n", seconds_text(outcome->seconds), *data);
  } else {
    fmt::print("Nothing was running; data is in {}\n", *data);
  }
  return kExitOk;
}

}  // namespace tide::cli
