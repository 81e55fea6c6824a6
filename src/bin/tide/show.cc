#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "bin/tide/commands.h"
#include "bin/tide/instance.h"
#include "bin/tide/text_table.h"
#include "compute/compute.h"
#include "net/api_error.h"
#include "net/http.h"

namespace tide::cli {

using net::encode_uri_component;
using nlohmann::json;

namespace {

/// Asks, prints the answer as JSON or by `print`, and yields the exit code.
template <typename Print>
int show(const Common& common, const Request& request, Print print) {
  Result<std::string> data = data_directory(common.data);
  if (!data.ok()) return fail(data.status(), common.json);
  Result<json> answer = ask(*data, request);
  if (!answer.ok()) return fail(answer.status(), common.json);
  if (common.json) {
    std::puts(net::to_text(*answer).c_str());
    return kExitOk;
  }
  print(*answer);
  return kExitOk;
}

std::string branch_path(const std::string& name, const char* action = "") {
  return fmt::format("/v1/branches/{}{}", encode_uri_component(name), action);
}

Result<json> connection_of(const Common& common, const std::string& target) {
  std::string data = TIDE_TRY(data_directory(common.data));
  return ask(data, {.target = "/v1/url?target=" + encode_uri_component(target)});
}

std::string problem_text(const json& problem) {
  std::string text = fmt::format("{}: {}", text_of(problem, "where"), text_of(problem, "message"));
  if (problem.contains("detail")) text += "\n    DETAIL: " + text_of(problem, "detail");
  if (problem.contains("hint")) text += "\n    HINT: " + text_of(problem, "hint");
  return text;
}

}  // namespace

int status(const Common& common) {
  return show(common, {.target = "/v1/status"}, [](const json& answer) {
    fmt::print("tide {}  PostgreSQL {}  {}  data in {}\n", text_of(answer, "version"),
               text_of(answer, "postgresql_version"), text_of(answer, "state"),
               text_of(answer, "data_directory"));
    fmt::print("object store {}  durability {}  API http://127.0.0.1:{}  warehouse port {}\n",
               text_of(answer, "object_store"), text_of(answer, "durability"),
               text_of(answer, "http_port"), text_of(answer, "warehouse_port"));
    for (const json& stage : answer["stages"]) {
      if (stage["state"] != "done")
        fmt::print("  {:<10} {}\n", text_of(stage, "name"), text_of(stage, "state"));
    }
    std::vector<std::vector<std::string>> roles = {
        {"ROLE", "STATE", "PID", "RESTARTS", "LAST EXIT"}};
    for (const json& role : answer["roles"]) {
      roles.push_back({text_of(role, "name"), text_of(role, "state"), text_of(role, "pid"),
                       text_of(role, "restarts"), text_of(role, "last_exit")});
    }
    fmt::print("\n");
    print_table(roles);
    std::vector<std::vector<std::string>> branches = {
        {"BRANCH", "COMPUTE", "PORT", "EPOCH", "RESTARTS", "LSN", "SIZE", "OWN"}};
    for (const json& branch : answer["branches"]) {
      const json& endpoint = branch["endpoint"];
      branches.push_back({text_of(branch, "name"), text_of(endpoint, "state"),
                          text_of(endpoint, "port"), text_of(endpoint, "epoch"),
                          text_of(endpoint, "restarts"), text_of(branch, "lsn"),
                          bytes_of(branch, "logical_bytes"), bytes_of(branch, "own_bytes")});
    }
    fmt::print("\n");
    print_table(branches);
    for (const json& operation : answer["operations"]) {
      fmt::print("\noperation {}: {} of {} since {}{}\n", text_of(operation, "id"),
                 text_of(operation, "kind"), text_of(operation, "branch"),
                 text_of(operation, "created_at"),
                 operation["step"] == "" ? "" : " at " + text_of(operation, "step"));
    }
    if (!answer["problems"].empty()) fmt::print("\nproblems\n");
    for (const json& problem : answer["problems"]) fmt::print("  {}\n", problem_text(problem));
  });
}

int url(const Common& common, const std::string& target) {
  Result<json> connection = connection_of(common, target);
  if (!connection.ok()) return fail(connection.status(), common.json);
  std::puts(common.json ? net::to_text(*connection).c_str() : text_of(*connection, "url").c_str());
  return kExitOk;
}

int psql(const Common& common, const std::string& target,
         const std::vector<std::string>& arguments) {
  Result<json> connection = connection_of(common, target);
  if (!connection.ok()) return fail(connection.status(), false);
  Result<compute::Installation> installation = compute::Installation::find();
  std::string program = installation.ok() ? installation->program("psql") : "psql";
  std::vector<std::string> words = {
      program, "--host=" + text_of(*connection, "host"), "--port=" + text_of(*connection, "port"),
      "--username=" + text_of(*connection, "role"), "--dbname=" + text_of(*connection, "database")};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> raw;
  for (std::string& word : words) raw.push_back(word.data());
  raw.push_back(nullptr);
  // Not in the arguments, which every user of the machine can read.
  ::setenv("PGPASSWORD", text_of(*connection, "password").c_str(), 1);
  std::fflush(stdout);
  ::execvp(program.c_str(), raw.data());
  return fail(Status::from_errno(errno, fmt::format("run {}", program))
                  .with_hint("Install postgresql-client-15."),
              false);
}

int page(const Common& common, const std::string& branch, const std::string& relation,
         const std::string& block, const std::string& lsn) {
  Result<std::string> data = data_directory(common.data);
  if (!data.ok()) return fail(data.status(), common.json);
  std::string target = branch_path(branch, "/page") + "?rel=" + encode_uri_component(relation) +
                       "&block=" + encode_uri_component(block);
  if (!lsn.empty()) target += "&lsn=" + encode_uri_component(lsn);
  Result<std::string> bytes = ask_raw(*data, {.target = target});
  if (!bytes.ok()) return fail(bytes.status(), common.json);
  if (std::fwrite(bytes->data(), 1, bytes->size(), stdout) != bytes->size() ||
      std::fflush(stdout) != 0) {
    return fail(Status::from_errno(errno, "write the page"), false);
  }
  return kExitOk;
}

int fsck(const Common& common, bool deep) {
  Result<std::string> data = data_directory(common.data);
  if (!data.ok()) return fail(data.status(), common.json);
  Result<json> answer = ask(*data, {.method = "POST",
                                    .target = "/v1/fsck",
                                    .body = net::to_text({{"deep", deep}}),
                                    .timeout = std::chrono::hours(6)});
  if (!answer.ok()) return fail(answer.status(), common.json);
  const json& problems = (*answer)["problems"];
  if (common.json) {
    std::puts(net::to_text(*answer).c_str());
  } else {
    if (answer->contains("checked") && (*answer)["checked"].is_object()) {
      for (const auto& [what, count] : (*answer)["checked"].items()) {
        fmt::print("  {:<24} {}\n", what, net::to_text(count));
      }
    }
    for (const json& problem : problems) {
      fmt::print("{}: {}: {}\n", text_of(problem, "what"), text_of(problem, "where"),
                 text_of(problem, "detail"));
    }
    fmt::print("{}\n",
               problems.empty() ? "no problems" : fmt::format("{} problems", problems.size()));
  }
  return problems.empty() ? kExitOk : kExitError;
}

int branch_create(const Common& common, const std::string& name, const std::string& from,
                  const BranchPoint& point) {
  json body = {{"name", name}};
  if (!from.empty()) body["from"] = from;
  if (!point.lsn.empty()) body["lsn"] = point.lsn;
  if (!point.time.empty()) body["time"] = point.time;
  auto began = std::chrono::steady_clock::now();
  return show(common, {.method = "POST", .target = "/v1/branches", .body = net::to_text(body)},
              [&](const json& answer) {
                double seconds =
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
                fmt::print("{} from {} at {}, made in {}, 0 B of its own\n", name,
                           text_of(answer, "parent"), text_of(answer, "branch_lsn"),
                           seconds_text(seconds));
                fmt::print("  tide psql @{}\n  tide url @{}\n", name, name);
              });
}

int branch_list(const Common& common) {
  return show(common, {.target = "/v1/branches"}, [](const json& answer) {
    std::vector<std::vector<std::string>> rows = {
        {"NAME", "PARENT", "BRANCHED AT", "LSN", "STATE", "COMPUTE", "SIZE", "OWN", "CREATED"}};
    for (const json& branch : answer) {
      rows.push_back({text_of(branch, "name"), text_of(branch, "parent"),
                      text_of(branch, "branch_lsn"), text_of(branch, "lsn"),
                      text_of(branch, "state"), text_of(branch["endpoint"], "state"),
                      bytes_of(branch, "logical_bytes"), bytes_of(branch, "own_bytes"),
                      text_of(branch, "created_at")});
    }
    print_table(rows);
  });
}

int branch_delete(const Common& common, const std::string& name) {
  return show(common, {.method = "DELETE", .target = branch_path(name)},
              [&](const json&) { fmt::print("{} is deleted\n", name); });
}

namespace {
void print_rewound(const json& answer) {
  const json& branch = answer["branch"];
  const json& backup = answer["backup"];
  fmt::print("{} is now {} at {}. The old state is kept as {}.\n", text_of(branch, "name"),
             text_of(branch, "parent"), text_of(branch, "branch_lsn"), text_of(backup, "name"));
}
}  // namespace

int branch_reset(const Common& common, const std::string& name) {
  return show(common, {.method = "POST", .target = branch_path(name, "/reset")}, print_rewound);
}

int branch_restore(const Common& common, const std::string& name, const BranchPoint& point,
                   const std::string& preserve_as) {
  json body = json::object();
  if (!point.lsn.empty()) body["lsn"] = point.lsn;
  if (!point.time.empty()) body["time"] = point.time;
  if (!preserve_as.empty()) body["preserve_as"] = preserve_as;
  return show(
      common,
      {.method = "POST", .target = branch_path(name, "/restore"), .body = net::to_text(body)},
      print_rewound);
}

int endpoint(const Common& common, const std::string& action, const std::string& branch) {
  auto began = std::chrono::steady_clock::now();
  return show(common,
              {.method = "POST",
               .target = fmt::format("/v1/endpoints/{}/{}", encode_uri_component(branch), action)},
              [&](const json& answer) {
                double seconds =
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
                bool running = answer["state"] == "running";
                fmt::print("{} is {}{} ({})\n", branch, text_of(answer, "state"),
                           running ? fmt::format(" on port {}", text_of(answer, "port")) : "",
                           seconds_text(seconds));
              });
}

int endpoint_list(const Common& common) {
  return show(common, {.target = "/v1/endpoints"}, [](const json& answer) {
    std::vector<std::vector<std::string>> rows = {
        {"BRANCH", "STATE", "WANTED", "PORT", "PID", "EPOCH", "LAST START"}};
    for (const json& endpoint : answer) {
      rows.push_back({text_of(endpoint, "branch"), text_of(endpoint, "state"),
                      text_of(endpoint, "wanted"), text_of(endpoint, "port"),
                      text_of(endpoint, "pid"), text_of(endpoint, "epoch"),
                      text_of(endpoint, "last_start")});
    }
    print_table(rows);
  });
}

int operations(const Common& common) {
  return show(common, {.target = "/v1/operations"}, [](const json& answer) {
    std::vector<std::vector<std::string>> rows = {
        {"ID", "KIND", "BRANCH", "STATE", "STEP", "CREATED", "ERROR"}};
    for (const json& operation : answer) {
      std::string error = text_of(operation, "error");
      rows.push_back({text_of(operation, "id"), text_of(operation, "kind"),
                      text_of(operation, "branch"), text_of(operation, "state"),
                      text_of(operation, "step"), text_of(operation, "created_at"),
                      error.substr(0, error.find('\n'))});
    }
    print_table(rows);
  });
}

}  // namespace tide::cli
