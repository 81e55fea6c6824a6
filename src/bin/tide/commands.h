#pragma once

#include <string>
#include <vector>

#include "base/status.h"

/// One function per command; each prints its outcome and yields the exit code.
namespace tide::cli {

struct UpOptions {
  std::string data;
  int port = 0;            ///< 0: what the instance had, 5432 for a new one.
  int http_port = 0;       ///< 0: what the instance had, 7432 for a new one.
  int warehouse_port = 0;  ///< 0: what the instance had, 7433 for a new one.
  std::string object_store;
  std::string durability;
  std::string mirror;  ///< "on", "off"; empty: what the instance had, on for a new one.
  bool detach = false;
  bool json = false;
};
int up(const UpOptions& options);

struct DownOptions {
  std::string data;
  bool json = false;
};
int down(const DownOptions& options);

struct Common {
  std::string data;
  bool json = false;
};
int status(const Common& common);
int url(const Common& common, const std::string& target);
int psql(const Common& common, const std::string& target,
         const std::vector<std::string>& arguments);
int page(const Common& common, const std::string& branch, const std::string& relation,
         const std::string& block, const std::string& lsn);
int fsck(const Common& common, bool deep);

struct BranchPoint {
  std::string lsn;
  std::string time;
};
int branch_create(const Common& common, const std::string& name, const std::string& from,
                  const BranchPoint& point);
int branch_list(const Common& common);
int branch_delete(const Common& common, const std::string& name);
int branch_reset(const Common& common, const std::string& name);
int branch_restore(const Common& common, const std::string& name, const BranchPoint& point,
                   const std::string& preserve_as);

/// `action`: start, suspend or restart.
int endpoint(const Common& common, const std::string& action, const std::string& branch);
int endpoint_list(const Common& common);
int operations(const Common& common);

int lake_status(const Common& common);
/// `table`: [[DATABASE.]SCHEMA.]TABLE[@BRANCH], as in the status.
int lake_path(const Common& common, const std::string& table);
/// `op`: exclude or include.
int lake_change(const Common& common, const std::string& op, const std::string& table);

struct RoleOptions {
  std::string data;
  int supervisor = 0;
  std::string library;
  bool shutdown = false;
};
inline constexpr const char* kSupervise = "supervise";
/// kSupervise, or one of control::kRoles.
int run_role(const std::string& role, const RoleOptions& options);

}  // namespace tide::cli
