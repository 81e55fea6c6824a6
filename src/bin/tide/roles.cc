#include "control/roles.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <optional>

#include "bin/tide/commands.h"
#include "bin/tide/instance.h"
#include "compute/compute.h"
#include "control/control.h"
#include "control/settings.h"
#include "control/supervisor.h"
#include "env/file.h"
#include "env/privileges.h"
#include "mirror/mirror.h"
#include "obs/log.h"
#include "storage/storage.h"
#include "warehouse/warehouse.h"

namespace tide::cli {

namespace {

/// From root to the account that all roles run under, with a view in which it can reach what it
/// needs.
Status lower_privileges(const std::string& data, const std::string& program,
                        const std::string& library) {
  std::optional<env::Account> account = TIDE_TRY(env::service_account());
  if (!account) return {};
  control::Settings settings = TIDE_TRY(control::Settings::load(data));
  std::vector<std::string> needed = {data, std::filesystem::path(program).parent_path().string(),
                                     std::filesystem::path(library).parent_path().string()};
  std::string objects = control::object_store_directory(settings.object_store);
  if (!objects.empty() && env::is_directory(objects)) needed.push_back(objects);
  TIDE_TRY(env::enter_private_view(*account, needed));
  return env::become(*account);
}

Status supervise(const RoleOptions& options) {
  std::string program = TIDE_TRY(program_path());
  TIDE_TRY(lower_privileges(options.data, program, options.library));
  control::Settings settings = TIDE_TRY(control::Settings::load(options.data));
  ::umask(0077);
  if (::chdir(options.data.c_str()) != 0)
    return Status::from_errno(errno, fmt::format("enter {}", options.data));
  return control::run_supervisor({.data_directory = options.data,
                                  .program = program,
                                  .library = options.library,
                                  .shutdown_only = options.shutdown,
                                  .mirror = settings.mirror});
}

Status run_storage_role(const RoleOptions& options) {
  control::Settings settings = TIDE_TRY(control::Settings::load(options.data));
  storage::StorageOptions storage_options;
  storage_options.data_directory = options.data;
  storage_options.object_store = settings.object_store;
  storage_options.library = options.library;
  // Redo helpers need a cluster's pg_control, so the template comes before everything else.
  compute::Installation installation = TIDE_TRY(compute::Installation::find());
  storage_options.postgres = installation.program("postgres");
  storage_options.template_directory = options.data + "/template";
  TIDE_TRY(compute::make_template(installation, storage_options.template_directory));
  return storage::run_storage(storage_options);
}

Status run_control_role(const RoleOptions& options) {
  return control::run_control({.data_directory = options.data,
                               .library = options.library,
                               .shutdown_only = options.shutdown});
}

Status run_mirror_role(const RoleOptions& options) {
  control::Settings settings = TIDE_TRY(control::Settings::load(options.data));
  return mirror::run_mirror({.data_directory = options.data,
                             .object_store = settings.object_store,
                             .version = control::kVersion});
}

Status run_warehouse_role(const RoleOptions& options) {
  control::Settings settings = TIDE_TRY(control::Settings::load(options.data));
  warehouse::WarehouseOptions warehouse_options;
  warehouse_options.data_directory = options.data;
  warehouse_options.port = settings.warehouse_port;
  return warehouse::run_warehouse(warehouse_options);
}

}  // namespace

int run_role(const std::string& role, const RoleOptions& options) {
  if (options.supervisor != 0) {
    Status bound = control::bind_to_supervisor(options.supervisor);
    if (!bound.ok()) return fail(bound, false);
  }
  ::umask(0077);
  obs::start_log(role);
  struct Main {
    std::string_view role;
    Status (*run)(const RoleOptions&);
  };
  constexpr Main kMains[] = {{kSupervise, supervise},
                             {control::kStorageRole, run_storage_role},
                             {control::kControlRole, run_control_role},
                             {control::kMirrorRole, run_mirror_role},
                             {control::kWarehouseRole, run_warehouse_role}};
  Status outcome(Code::kBug, "there is no such role");
  for (const Main& main : kMains) {
    if (main.role == role) outcome = main.run(options);
  }
  if (outcome.ok()) return kExitOk;
  obs::error("{}", outcome.to_string());
  return kExitError;
}

}  // namespace tide::cli
