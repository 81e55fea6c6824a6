#include <CLI/CLI.hpp>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "bin/tide/commands.h"
#include "bin/tide/instance.h"
#include "control/roles.h"
#include "control/settings.h"

namespace {

using namespace tide::cli;

/// --data and --json, which every command has.
void add_common(CLI::App* command, Common& common) {
  command
      ->add_option("--data", common.data, "Data directory (default: TIDE_DATA, else ~/.tidewater)")
      ->type_name("DIR");
  command->add_flag("--json", common.json, "Answer in JSON");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Tidewater: serverless PostgreSQL 15 on separated storage.", "tide");
  app.set_version_flag("--version", std::string("tide ") + tide::control::kVersion);
  app.require_subcommand(1);
  app.fallthrough(false);

  Common common;
  std::function<int()> action;
  auto command = [&](CLI::App* parent, const char* name, const char* help,
                     std::function<int()> run) {
    CLI::App* added = parent->add_subcommand(name, help);
    add_common(added, common);
    added->callback([&action, run = std::move(run)] { action = run; });
    return added;
  };

  UpOptions up_options;
  CLI::App* up_command = command(&app, "up", "Start everything", [&] {
    up_options.data = common.data;
    up_options.json = common.json;
    return up(up_options);
  });
  up_command->add_option("--port", up_options.port, "PostgreSQL port of branch main (default 5432)")
      ->check(CLI::Range(1, 65535));
  up_command
      ->add_option("--http-port", up_options.http_port, "Port of the control API (default 7432)")
      ->check(CLI::Range(1, 65535));
  up_command
      ->add_option("--warehouse-port", up_options.warehouse_port,
                   "Port of analytical SQL (default 7433)")
      ->check(CLI::Range(1, 65535));
  up_command->add_option("--object-store", up_options.object_store,
                         "file:///DIR or s3://BUCKET/PREFIX (default: in the data directory)");
  up_command
      ->add_option("--durability", up_options.durability,
                   "local: WAL is synced on this machine; acceptor: commits wait for the WAL store "
                   "(default local)")
      ->check(CLI::IsMember({"local", "acceptor"}));
  up_command
      ->add_option("--mirror", up_options.mirror,
                   "off: tables are not kept as Delta tables, no warehouse. Switched off later, "
                   "the lake stays as "
                   "it is, and the WAL it lacks is kept until it is on again (default on)")
      ->check(CLI::IsMember({"on", "off"}));
  up_command->add_flag("--detach,-d", up_options.detach, "Return when everything is ready");

  command(&app, "down", "Stop everything; data stays", [&] {
    return down({common.data, common.json});
  });
  command(&app, "status", "Show roles, branches and problems", [&] { return status(common); });

  std::string target;
  CLI::App* url_command =
      command(&app, "url", "Print a connection URL", [&] { return url(common, target); });
  url_command->add_option(
      "TARGET", target,
      "DATABASE@BRANCH, DATABASE or @BRANCH; with .lake behind it: analytical SQL");

  std::vector<std::string> psql_arguments;
  CLI::App* psql_command = command(&app, "psql", "Open psql; its own options may follow",
                                   [&] { return psql(common, target, psql_arguments); });

  std::string name;
  std::string from;
  std::string preserve_as;
  BranchPoint point;
  auto add_point = [&](CLI::App* to) {
    auto* lsn = to->add_option("--lsn", point.lsn, "Position in the WAL, X/Y");
    to->add_option("--time", point.time, "Moment, RFC 3339: 2026-01-02T03:04:05Z")->excludes(lsn);
  };
  CLI::App* branch = app.add_subcommand("branch", "Create, list and change branches");
  branch->require_subcommand(1);
  CLI::App* create = command(branch, "create", "Make a branch",
                             [&] { return branch_create(common, name, from, point); });
  create->add_option("NAME", name, "Lower-case letters, digits and hyphens")->required();
  create->add_option("--from", from, "Branch to start from (default main)");
  add_point(create);
  command(branch, "list", "List branches", [&] { return branch_list(common); });
  CLI::App* remove =
      command(branch, "delete", "Delete a branch", [&] { return branch_delete(common, name); });
  remove->add_option("NAME", name)->required();
  CLI::App* reset =
      command(branch, "reset", "Set a branch to its parent's state of now; the old state is kept",
              [&] { return branch_reset(common, name); });
  reset->add_option("NAME", name)->required();
  CLI::App* restore =
      command(branch, "restore", "Take a branch back in its history; the old state is kept",
              [&] { return branch_restore(common, name, point, preserve_as); });
  restore->add_option("NAME", name)->required();
  restore->add_option("--preserve-as", preserve_as,
                      "Name for the old state (default NAME-before-restore-N)");
  add_point(restore);

  CLI::App* endpoints =
      app.add_subcommand("endpoint", "Start and suspend the computes of branches");
  endpoints->require_subcommand(1);
  struct Verb {
    const char* name;
    const char* help;
  };
  for (const Verb& verb :
       {Verb{"start", "Start a branch's compute"}, Verb{"suspend", "Stop it; the data stays"},
        Verb{"restart", "Kill it and start the next one: for a compute that hangs"}}) {
    CLI::App* added = command(endpoints, verb.name, verb.help, [&, action_name = verb.name] {
      return endpoint(common, action_name, name);
    });
    added->add_option("BRANCH", name)->required();
  }
  command(endpoints, "list", "List endpoints", [&] { return endpoint_list(common); });

  CLI::App* lake = app.add_subcommand("lake", "The tables as Delta tables");
  lake->require_subcommand(1);
  command(lake, "status", "Which tables are in the lake, how far, and which are not and why",
          [&] { return lake_status(common); });
  std::string table;
  command(lake, "path", "Print the directory of a table's Delta table",
          [&] { return lake_path(common, table); })
      ->add_option("TABLE[@BRANCH]", table)
      ->required();
  for (const Verb& verb : {Verb{"exclude", "Keep a table out of the lake"},
                           Verb{"include", "Bring it back into the lake"}}) {
    command(lake, verb.name, verb.help,
            [&, op = verb.name] { return lake_change(common, op, table); })
        ->add_option("TABLE[@BRANCH]", table)
        ->required();
  }

  std::string relation;
  std::string block;
  std::string lsn;
  CLI::App* page_command = command(&app, "page", "Write one page's 8,192 bytes to standard output",
                                   [&] { return page(common, name, relation, block, lsn); });
  page_command->add_option("BRANCH", name)->required();
  page_command->add_option("SPC/DB/REL[.FORK]", relation, "FORK: main, fsm, vm or init")
      ->required();
  page_command->add_option("BLOCK", block)->required()->check(CLI::NonNegativeNumber);
  page_command->add_option("--lsn", lsn, "As of this position in the WAL (default: the newest)");

  bool deep = false;
  CLI::App* fsck_command =
      command(&app, "fsck", "Check everything that is stored", [&] { return fsck(common, deep); });
  fsck_command->add_flag("--deep", deep, "Read and check every page and segment");
  command(&app, "operations", "List the last changes", [&] { return operations(common); });

  // Not for users: what the supervisor runs.
  RoleOptions role_options;
  std::vector<std::string> roles = {kSupervise};
  for (const tide::control::Role& role : tide::control::kRoles) roles.emplace_back(role.name);
  for (const std::string& role : roles) {
    CLI::App* added = app.add_subcommand(role)->group("");
    added->add_option("--data", role_options.data)->required();
    added->add_option("--supervisor", role_options.supervisor);
    added->add_option("--library", role_options.library);
    added->add_flag("--shutdown", role_options.shutdown);
    added->callback([&action, &role_options, role] {
      action = [&role_options, role] { return run_role(role, role_options); };
    });
  }

  // psql's own options must not be taken for ours: everything from the first word on that only psql
  // knows is its, as is everything behind "--".
  psql_command->add_option(
      "TARGET", target,
      "DATABASE@BRANCH, DATABASE or @BRANCH; with .lake behind it: analytical SQL");
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "psql") {
    for (size_t i = 1; i < words.size(); ++i) {
      if (words[i] == "--data") ++i;  // and its value
      bool ours = i >= words.size() || !words[i].starts_with('-') ||
                  words[i].starts_with("--data") || words[i] == "--help" || words[i] == "-h";
      if (ours) continue;
      size_t begin = words[i] == "--" ? i + 1 : i;
      psql_arguments.assign(words.begin() + static_cast<std::ptrdiff_t>(begin), words.end());
      words.resize(i);
      break;
    }
  }
  auto is_named = [&words](const CLI::App* known) { return known->get_name() == words[0]; };
  if (!words.empty() && !words[0].starts_with('-') &&
      std::as_const(app).get_subcommands(is_named).empty()) {
    std::cerr << "tide: there is no command " << words[0] << "\nHINT: tide --help lists them.\n";
    return kExitUsage;
  }
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  return action ? action() : kExitUsage;
}
