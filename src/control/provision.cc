#include "control/provision.h"

#include <errno.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <sys/random.h>

#include <memory>

#include "compute/compute.h"
#include "env/process.h"

namespace tide::control {

namespace {

struct Finish {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
struct Clear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, Finish>;
using Answer = std::unique_ptr<PGresult, Clear>;

Result<std::string> random_bytes(size_t count) {
  std::string bytes(count, '\0');
  size_t done = 0;
  while (done < count) {
    ssize_t got = ::getrandom(bytes.data() + done, count - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, "getrandom");
    done += static_cast<size_t>(got);
  }
  return bytes;
}

std::string trimmed(const char* text) {
  std::string message = text;
  while (!message.empty() && message.back() == '\n') message.pop_back();
  return message;
}

/// The first column of the first row; empty if there is no row.
Result<std::string> run(PGconn* connection, const std::string& sql) {
  Answer answer(PQexec(connection, sql.c_str()));
  ExecStatusType status = PQresultStatus(answer.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    return Status(Code::kUnavailable,
                  fmt::format("PostgreSQL: {}", trimmed(PQerrorMessage(connection))));
  }
  if (status != PGRES_TUPLES_OK || PQntuples(answer.get()) == 0) return std::string();
  return std::string(PQgetvalue(answer.get(), 0, 0));
}

/// Both quotes belong to libpq's answer; freed here.
std::string taken(char* text) {
  std::string copy = text == nullptr ? "" : text;
  PQfreemem(text);
  return copy;
}

}  // namespace

Result<std::string> random_password(size_t length) {
  constexpr std::string_view kLetters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
  std::string password;
  while (password.size() < length) {
    for (char c : TIDE_TRY(random_bytes(length))) {
      // Bytes above the largest multiple would favour the first letters.
      size_t value = static_cast<unsigned char>(c);
      if (value >= 256 / kLetters.size() * kLetters.size()) continue;
      if (password.size() < length) password += kLetters[value % kLetters.size()];
    }
  }
  return password;
}

Result<std::string> random_token(size_t bytes) {
  std::string token;
  for (char c : TIDE_TRY(random_bytes(bytes)))
    token += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return token;
}

Status provision_owner(const std::string& socket_directory, int port, const Owner& owner) {
  std::string port_text = fmt::format("{}", port);
  const char* keywords[] = {"host", "port", "user", "dbname", "connect_timeout", "application_name",
                            nullptr};
  const char* values[] = {socket_directory.c_str(),
                          port_text.c_str(),
                          compute::kSuperuser,
                          "postgres",
                          "10",
                          "tide control",
                          nullptr};
  Connection connection(PQconnectdbParams(keywords, values, 0));
  if (PQstatus(connection.get()) != CONNECTION_OK) {
    return {Code::kUnavailable, fmt::format("connect to the new PostgreSQL: {}",
                                            trimmed(PQerrorMessage(connection.get())))};
  }
  PGconn* pg = connection.get();
  std::string role_name = taken(PQescapeIdentifier(pg, owner.role.data(), owner.role.size()));
  std::string role_text = taken(PQescapeLiteral(pg, owner.role.data(), owner.role.size()));
  std::string database_name =
      taken(PQescapeIdentifier(pg, owner.database.data(), owner.database.size()));
  std::string database_text =
      taken(PQescapeLiteral(pg, owner.database.data(), owner.database.size()));
  // The server sees the SCRAM verifier only, so that no log can hold the password.
  std::string verifier =
      taken(PQencryptPasswordConn(pg, owner.password.c_str(), owner.role.c_str(), "scram-sha-256"));
  if (verifier.empty()) return {Code::kUnavailable, trimmed(PQerrorMessage(pg))};
  std::string verifier_text = taken(PQescapeLiteral(pg, verifier.data(), verifier.size()));

  bool exists = !TIDE_TRY(run(pg, "SELECT 1 FROM pg_roles WHERE rolname = " + role_text)).empty();
  TIDE_TRY(run(pg, fmt::format("{} ROLE {} SUPERUSER LOGIN CREATEDB CREATEROLE PASSWORD {}",
                               exists ? "ALTER" : "CREATE", role_name, verifier_text)));
  exists = !TIDE_TRY(run(pg, "SELECT 1 FROM pg_database WHERE datname = " + database_text)).empty();
  if (!exists)
    TIDE_TRY(run(pg, fmt::format("CREATE DATABASE {} OWNER {}", database_name, role_name)));
  return {};
}

bool is_answering(const std::string& socket_directory, int port, pid_t postmaster) {
  char state = env::process_state(postmaster);
  if (state == 'T' || state == 't') return false;
  std::string port_text = fmt::format("{}", port);
  const char* keywords[] = {"host", "port", "user", "dbname", "connect_timeout", nullptr};
  const char* values[] = {
      socket_directory.c_str(), port_text.c_str(), compute::kSuperuser, "postgres", "3", nullptr};
  PGPing ping = PQpingParams(keywords, values, 0);
  // Refusing (too many clients) is an answer too.
  return ping == PQPING_OK || ping == PQPING_REJECT;
}

}  // namespace tide::control
