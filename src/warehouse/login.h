#pragma once

#include <memory>
#include <string>

#include "pgwire/scram.h"
#include "warehouse/branches.h"
#include "warehouse/outcome.h"

namespace tide::warehouse {

/// What PostgreSQL knows of a role that logs in.
struct StoredRole {
  bool may_log_in = false;
  pgwire::ScramVerifier verifier;
};

/// Reads a role's SCRAM verifier from pg_authid of the branch. A role that does not exist, has no
/// such password or whose password has expired gets a verifier that nothing fits, so that the
/// answer tells nothing. `secret`: of this process, for those.
Outcome<StoredRole> find_role(const std::string& socket_directory, const Branch& branch,
                              const std::string& role, const std::string& secret);

/// Checks a password outright (HTTP Basic).
Outcome<bool> check_password(const StoredRole& role, const std::string& password);

}  // namespace tide::warehouse
