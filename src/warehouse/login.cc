#include "warehouse/login.h"

#include <fmt/format.h>

#include "warehouse/postgres_link.h"
#include "warehouse/sql_tokens.h"

namespace tide::warehouse {

namespace {

/// The bootstrap superuser of every cluster of ours (docs/decisions/0004).
constexpr char kSuperuser[] = "tide";

}  // namespace

Outcome<StoredRole> find_role(const std::string& socket_directory, const Branch& branch,
                              const std::string& role, const std::string& secret) {
  std::unique_ptr<PostgresLink> link =
      TIDE_TRY(PostgresLink::open({.socket_directory = socket_directory,
                                   .port = branch.port,
                                   .parameters = {{"user", kSuperuser},
                                                  {"database", "postgres"},
                                                  {"application_name", "tide warehouse: login"}}}));
  PostgresLink::Rows rows = TIDE_TRY(link->query(fmt::format(
      "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = {} AND rolcanlogin AND "
      "(rolvaliduntil IS NULL OR rolvaliduntil > pg_catalog.now())",
      quoted_literal(role))));
  if (!rows.rows.empty() && rows.rows[0][0]) {
    Result<pgwire::ScramVerifier> verifier = pgwire::ScramVerifier::parse(*rows.rows[0][0]);
    if (verifier.ok()) return StoredRole{true, *verifier};
  }
  return StoredRole{false, TIDE_TRY(pgwire::ScramVerifier::doomed(secret, role))};
}

Outcome<bool> check_password(const StoredRole& role, const std::string& password) {
  pgwire::ScramVerifier given =
      TIDE_TRY(pgwire::ScramVerifier::make(password, role.verifier.salt, role.verifier.iterations));
  return role.may_log_in && given.stored_key == role.verifier.stored_key;
}

}  // namespace tide::warehouse
