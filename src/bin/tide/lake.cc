#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bin/tide/commands.h"
#include "bin/tide/instance.h"
#include "bin/tide/text_table.h"
#include "control/settings.h"
#include "env/instance.h"
#include "net/api_error.h"
#include "net/blob_channel.h"

namespace tide::cli {

using nlohmann::json;

namespace {

constexpr std::chrono::seconds kAnswer{60};

/// Asks the mirror.
Result<json> ask_lake(const std::string& data, const json& request) {
  TIDE_TRY(require_running(data));
  if (!TIDE_TRY(control::Settings::load(data)).mirror) {
    return Status(Code::kUnavailable, "the mirror is switched off")
        .with_hint("Run \"tide down\", then \"tide up --mirror on\".");
  }
  auto ask = [&]() -> Result<json> {
    auto channel = TIDE_TRY(net::BlobChannel::connect(env::lake_socket(data)));
    auto answer = TIDE_TRY(channel->call(request, kAnswer));
    return net::parse_json(answer.json);
  };
  Result<json> answer = ask();
  if (answer.ok() || answer.status().code() != Code::kUnavailable) return answer;
  return std::move(answer)
      .status()
      .with_context("ask the mirror")
      .with_hint(
          fmt::format("`tide status` shows whether it runs; its log is {}/log/mirror.log.", data));
}

std::string member(const json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The array `name` of an object; empty if there is none.
json list_of(const json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_array() ? *found : json::array();
}

/// TABLE[@BRANCH]: the branch behind the last @.
struct Target {
  std::string table;
  std::string branch = "main";
};

Target parse_target(const std::string& text) {
  size_t at = text.rfind('@');
  if (at == std::string::npos) return {.table = text};
  Target target{.table = text.substr(0, at)};
  if (at + 1 < text.size()) target.branch = text.substr(at + 1);
  return target;
}

struct Found {
  json branch;  ///< of the status answer
  json table;
  std::string name;  ///< DATABASE.SCHEMA.TABLE
};

std::string full_name(const json& table) {
  return fmt::format("{}.{}.{}", member(table, "database"), member(table, "schema"),
                     member(table, "table"));
}

/// The one table of the lake's status that is meant: its name may be cut from the left.
Result<Found> find_table(const json& status, const Target& target) {
  std::vector<Found> found;
  bool has_branch = false;
  for (const json& branch : list_of(status, "branches")) {
    if (member(branch, "branch") != target.branch) continue;
    has_branch = true;
    for (const json& table : list_of(branch, "tables")) {
      std::string name = full_name(table);
      if (name == target.table || name.ends_with("." + target.table))
        found.push_back({branch, table, name});
    }
  }
  if (!has_branch) {
    return Status(Code::kNotFound, fmt::format("branch {} is not in the lake", target.branch))
        .with_hint("`tide lake status` lists what is.");
  }
  if (found.empty()) {
    return Status(Code::kNotFound,
                  fmt::format("no table {} on branch {}", target.table, target.branch))
        .with_detail("Tables are named TABLE, SCHEMA.TABLE or DATABASE.SCHEMA.TABLE, as is.")
        .with_hint("`tide lake status` lists them.");
  }
  if (found.size() > 1) {
    std::string names;
    for (const Found& one : found) names += (names.empty() ? "" : ", ") + one.name;
    return Status(Code::kConflict, fmt::format("{} is more than one table", target.table))
        .with_detail(fmt::format("There are {}.", names))
        .with_hint("Write more of the name.");
  }
  return std::move(found[0]);
}

Result<Found> find_table(const std::string& data, const std::string& text) {
  return find_table(TIDE_TRY(ask_lake(data, {{"op", "status"}})), parse_target(text));
}

std::string lag_text(const json& table) {
  auto seconds = table.find("lag_seconds");
  if (seconds == table.end() || !seconds->is_number()) return "-";
  return seconds->get<double>() == 0 ? "0" : seconds_text(seconds->get<double>());
}

void print_status(const json& answer) {
  std::vector<std::vector<std::string>> branches = {
      {"BRANCH", "STATE", "FLUSHED", "APPLIED", "IN THE LAKE", "CUT", "LAST ERROR"}};
  std::vector<std::vector<std::string>> tables = {{"BRANCH", "TABLE", "ROWS", "FILES", "SIZE",
                                                   "VERSION", "BEHIND", "TIME", "TRANSACTIONS",
                                                   "LAST ERROR"}};
  std::vector<std::vector<std::string>> others = {{"BRANCH", "NOT MIRRORED", "REASON"}};
  for (const json& branch : list_of(answer, "branches")) {
    std::string name = text_of(branch, "branch");
    branches.push_back({name, text_of(branch, "state"), text_of(branch, "flushed_lsn"),
                        text_of(branch, "applied_lsn"), text_of(branch, "published_lsn"),
                        text_of(branch, "cut"), text_of(branch, "last_error")});
    for (const json& table : list_of(branch, "tables")) {
      if (table.contains("not_mirrored")) {
        others.push_back({name, full_name(table), text_of(table, "not_mirrored")});
        continue;
      }
      tables.push_back({name, full_name(table), text_of(table, "rows"), text_of(table, "files"),
                        bytes_of(table, "file_bytes"), text_of(table, "version"),
                        bytes_of(table, "lag_bytes"), lag_text(table),
                        text_of(table, "lag_transactions"), text_of(table, "last_error")});
    }
  }
  print_table(branches);
  for (const auto* rows : {&tables, &others}) {
    if (rows->size() == 1) continue;
    fmt::print("\n");
    print_table(*rows);
  }
}

Result<std::string> path_of(const std::string& data, const std::string& text) {
  Found found = TIDE_TRY(find_table(data, text));
  std::string location = member(found.table, "location");
  if (location.empty()) {
    return Status(Code::kNotFound, fmt::format("{} is not in the lake", found.name))
        .with_detail(member(found.table, "not_mirrored"));
  }
  control::Settings settings = TIDE_TRY(control::Settings::load(data));
  std::string directory = control::object_store_directory(settings.object_store);
  return (directory.empty() ? settings.object_store : directory) + "/lake/" + location;
}

/// "exclude" or "include"; the table's name.
Result<std::string> change(const std::string& data, const std::string& text, const char* op) {
  Found found = TIDE_TRY(find_table(data, text));
  TIDE_TRY(ask_lake(data, {{"op", op},
                           {"timeline", found.branch.value("timeline", 0U)},
                           {"database", member(found.table, "database")},
                           {"table", fmt::format("{}.{}", member(found.table, "schema"),
                                                 member(found.table, "table"))}}));
  return found.name;
}

}  // namespace

int lake_status(const Common& common) {
  Result<std::string> data = data_directory(common.data);
  if (!data.ok()) return fail(data.status(), common.json);
  Result<json> answer = ask_lake(*data, {{"op", "status"}});
  if (!answer.ok()) return fail(answer.status(), common.json);
  answer->erase("blobs");  // of the conversation, not of the lake
  if (common.json) {
    std::puts(net::to_text(*answer).c_str());
  } else {
    print_status(*answer);
  }
  return kExitOk;
}

int lake_path(const Common& common, const std::string& table) {
  Result<std::string> data = data_directory(common.data);
  if (!data.ok()) return fail(data.status(), common.json);
  Result<std::string> path = path_of(*data, table);
  if (!path.ok()) return fail(path.status(), common.json);
  std::puts(common.json ? net::to_text({{"path", *path}}).c_str() : path->c_str());
  return kExitOk;
}

int lake_change(const Common& common, const std::string& op, const std::string& table) {
  Result<std::string> data = data_directory(common.data);
  if (!data.ok()) return fail(data.status(), common.json);
  Result<std::string> changed = change(*data, table, op.c_str());
  if (!changed.ok()) return fail(changed.status(), common.json);
  if (common.json) {
    std::puts(net::to_text({{"table", *changed}, {"included", op == "include"}}).c_str());
  } else {
    fmt::print("{} is {} the lake\n", *changed, op == "include" ? "in" : "kept out of");
  }
  return kExitOk;
}

}  // namespace tide::cli
