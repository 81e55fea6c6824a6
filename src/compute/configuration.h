#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compute/compute.h"

namespace tide::compute {

/// 'text' as a string of postgresql.conf.
std::string quoted(std::string_view text);

/// The value `name` has in the text of a postgresql.conf or postgresql.auto.conf: the last one
/// given.
std::optional<std::string> setting_in(std::string_view conf, std::string_view name);

/// What the user may override: our defaults, then `spec.settings`.
std::string postgresql_conf(const ComputeSpec& spec);
std::string pg_hba_conf();

/// shared_preload_libraries: ours first, then those the user asked for that the machine has. One
/// that is missing would keep the server from starting, and with it the ALTER SYSTEM that cures it.
std::string preload_libraries(const Installation& installation, const ComputeSpec& spec);

/// The postmaster's arguments. Settings given here cannot be changed by ALTER SYSTEM or a file.
std::vector<std::string> postgres_arguments(const Installation& installation,
                                            const ComputeSpec& spec,
                                            std::string_view listen_addresses);

}  // namespace tide::compute
