#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace tide::env {

/// A user of this machine.
struct Account {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string name;
};

/// The account our roles run under when we are root: TIDE_USER, else `postgres`. Nothing if we are
/// not root: then we stay who we are. kNotFound if there is no such user, kInvalid if it is root
/// itself.
Result<std::optional<Account>> service_account();

/// Gives a file, or a directory with all that is in it, to the account.
Status give_to(const std::string& path, const Account& account);

/// The first directory on the way to `path` (itself included) that the account may not pass
/// through.
std::optional<std::string> first_barrier(const std::string& path, const Account& account);

/// Makes `directories` reachable under their own paths for an account that may not pass through a
/// directory above them, for this process and its children only: in a mount namespace of our own
/// the first such directory is covered by an empty one, and each of ours is mounted in its place in
/// it. Nothing happens if all are reachable. Needs root; call it before any thread is started.
/// kDenied if the system does not permit it.
Status enter_private_view(const Account& account, const std::vector<std::string>& directories);

/// Becomes the account for good.
Status become(const Account& account);

}  // namespace tide::env
