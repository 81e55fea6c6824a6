#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "pgformat/wal_segment.h"

/// For tests only: a cluster made with the installed PostgreSQL, in a directory that goes with it.
namespace tide::pgformat {

inline const std::string kPostgresBin = "/usr/lib/postgresql/15/bin/";

inline bool postgres_is_installed() {
  return std::filesystem::exists(kPostgresBin + "initdb") &&
         std::filesystem::exists(kPostgresBin + "pg_waldump");
}

/// Runs a shell command, as user postgres when we are root (PostgreSQL refuses root).
inline int run_as_postgres(const std::string& command, std::string* output = nullptr) {
  std::string quoted;
  for (char c : command) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  std::string full =
      geteuid() == 0
          ? "setpriv --reuid=postgres --regid=postgres --clear-groups sh -c '" + quoted + "'"
          : "sh -c '" + quoted + "'";
  full += " 2>&1";
  FILE* pipe = popen(full.c_str(), "r");
  if (pipe == nullptr) return -1;
  std::string text;
  std::array<char, 65536> buffer;
  while (size_t size = fread(buffer.data(), 1, buffer.size(), pipe))
    text.append(buffer.data(), size);
  int status = pclose(pipe);
  if (output != nullptr)
    *output = std::move(text);
  else if (status != 0)
    fprintf(stderr, "%s\n%s\n", command.c_str(), text.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

inline std::string read_whole_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

class TestCluster {
 public:
  TestCluster() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "tide-pgformat-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    std::filesystem::permissions(root_, std::filesystem::perms::all);
  }
  ~TestCluster() {
    stop();
    std::filesystem::remove_all(root_);
  }
  TestCluster(const TestCluster&) = delete;
  TestCluster& operator=(const TestCluster&) = delete;

  std::string root() const { return root_; }
  std::string data() const { return root_ + "/data"; }
  std::string wal() const { return data() + "/pg_wal"; }
  std::string log() const { return read_whole_file(root_ + "/log"); }

  bool init(const std::string& settings) {
    if (run_as_postgres(kPostgresBin + "initdb -N -A trust -U postgres -D " + data()) != 0)
      return false;
    std::ofstream conf(data() + "/postgresql.conf", std::ios::app);
    conf << "listen_addresses=''\nunix_socket_directories='" << root_ << "'\nfsync=off\n"
         << "wal_keep_size='4GB'\nmax_wal_size='4GB'\nautovacuum=off\n"
         << settings;
    return true;
  }
  bool start() {
    running_ = run_as_postgres(kPostgresBin + "pg_ctl -w -s -t 60 -D " + data() + " -l " + root_ +
                               "/log start </dev/null") == 0;
    return running_;
  }
  bool stop() {
    if (!running_) return true;
    running_ = false;
    return run_as_postgres(kPostgresBin + "pg_ctl -w -s -m fast -D " + data() + " stop") == 0;
  }
  /// Ends it as a crash would.
  bool crash() {
    running_ = false;
    return run_as_postgres(kPostgresBin + "pg_ctl -w -s -m immediate -D " + data() + " stop") == 0;
  }
  /// Runs a script with psql, stops at its first error.
  bool sql(const std::string& script, std::string* output = nullptr) {
    std::ofstream(root_ + "/script.sql") << script;
    std::string text;
    bool ok = run_as_postgres("psql -XqAt -v ON_ERROR_STOP=1 -U postgres -h " + root_ + " -f " +
                                  root_ + "/script.sql postgres",
                              &text) == 0;
    if (!ok) fprintf(stderr, "%s\n", text.c_str());
    if (output != nullptr) *output = text;
    return ok;
  }
  /// All WAL from segment `first` on as one string.
  std::string all_wal(uint64_t first) const {
    std::string all;
    for (uint64_t number = first; std::filesystem::exists(wal() + "/" + segment_file_name(number));
         ++number) {
      all += read_whole_file(wal() + "/" + segment_file_name(number));
    }
    return all;
  }
  std::string control_file() const { return read_whole_file(data() + "/global/pg_control"); }

  /// Writes pieces over the files in pg_wal, which are made as PostgreSQL makes them: 16 MiB.
  void write_pieces(const std::vector<SegmentPiece>& pieces) const {
    for (const SegmentPiece& piece : pieces) {
      std::string path = wal() + "/" + segment_file_name(piece.segment);
      if (!std::filesystem::exists(path)) {
        std::ofstream(path).close();
        std::filesystem::resize_file(path, kWalSegmentSize);
        own(path);
      }
      std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
      file.seekp(static_cast<std::streamoff>(piece.offset));
      file.write(piece.bytes.data(), static_cast<std::streamsize>(piece.bytes.size()));
    }
  }
  void write_control(const std::string& content) const {
    std::ofstream(data() + "/global/pg_control", std::ios::binary) << content;
  }

 private:
  /// Gives a file that we made to the user that PostgreSQL runs as.
  void own(const std::string& path) const {
    std::filesystem::permissions(
        path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    if (geteuid() == 0) {
      int status = std::system(("chown postgres " + path).c_str());
      (void)status;
    }
  }

  std::string root_;
  bool running_ = false;
};

/// A bit of everything that writes WAL. Ends with nothing running but one prepared transaction.
inline const char* const kWorkload = R"SQL(
CREATE EXTENSION IF NOT EXISTS plpgsql;
CREATE TABLE t (id serial PRIMARY KEY, a int, b text, c int[], p point, r int4range) WITH (fillfactor=70);
INSERT INTO t(a,b,c,p,r) SELECT i, repeat(md5(i::text), 3), ARRAY[i, i%7], point(i, i%100), int4range(i,i+5)
  FROM generate_series(1,4000) i;
CREATE INDEX t_a ON t(a);
CREATE INDEX t_hash ON t USING hash(b);
CREATE INDEX t_gin ON t USING gin(c);
CREATE INDEX t_gist ON t USING gist(p);
CREATE INDEX t_spgist ON t USING spgist(r);
CREATE INDEX t_brin ON t USING brin(a);
VACUUM t;
UPDATE t SET a = a + 1 WHERE id % 10 = 0;
UPDATE t SET b = b || 'x' WHERE id % 17 = 0;
DELETE FROM t WHERE id % 13 = 0;
INSERT INTO t(a,b,c,p,r) SELECT i, md5(i::text), ARRAY[i, i%5], point(i, 7), int4range(i,i+1)
  FROM generate_series(4001,9000) i;
VACUUM (FREEZE) t;
SELECT count(*) FROM (SELECT * FROM t WHERE id < 500 FOR UPDATE) x;
BEGIN;
SELECT count(*) FROM (SELECT * FROM t WHERE id BETWEEN 600 AND 900 FOR KEY SHARE) x;
SAVEPOINT s;
SELECT count(*) FROM (SELECT * FROM t WHERE id BETWEEN 600 AND 900 FOR NO KEY UPDATE) x;
UPDATE t SET a = 0 WHERE id BETWEEN 600 AND 650;
RELEASE s;
COMMIT;
DO $$ BEGIN FOR i IN 1..400 LOOP
  BEGIN
    PERFORM 1 FROM t WHERE id = 1000 + i FOR SHARE;
    BEGIN
      UPDATE t SET a = -i WHERE id = 1000 + i;
      IF i % 3 = 0 THEN RAISE EXCEPTION 'undo'; END IF;
    EXCEPTION WHEN raise_exception THEN NULL; END;
  END;
END LOOP; END $$;
CREATE TABLE copied (x int, y text);
COPY copied FROM PROGRAM 'seq 1 20000 | sed "s/$/\tabc/"';
VACUUM copied;
DELETE FROM copied WHERE x > 10000;
VACUUM copied;
INSERT INTO copied VALUES (1, 'again');
CREATE TABLE frozen (x int);
BEGIN; TRUNCATE frozen; COPY frozen FROM PROGRAM 'seq 1 5000' WITH (FREEZE); COMMIT;
INSERT INTO frozen VALUES (1);
CREATE TABLE toasted (x int, y text);
ALTER TABLE toasted ALTER y SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT i, repeat(md5(i::text), 1000) FROM generate_series(1,20) i;
UPDATE toasted SET y = y || 'z' WHERE x < 10;
INSERT INTO t(id) VALUES (1) ON CONFLICT DO NOTHING;
INSERT INTO t(id, a) VALUES (100000, 1) ON CONFLICT (id) DO UPDATE SET a = 2;
CREATE TABLE dropped AS SELECT generate_series(1,100) x;
CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1,100) x;
DROP TABLE dropped;
BEGIN; CREATE TABLE aborted AS SELECT 1; ROLLBACK;
TRUNCATE toasted;
SELECT lo_from_bytea(0, repeat('blob', 2000)::bytea) > 0;
VACUUM FULL pg_class;
REINDEX TABLE pg_class;
CLUSTER t USING t_a;
CREATE DATABASE by_log STRATEGY wal_log;
CREATE DATABASE by_file STRATEGY file_copy;
CREATE DATABASE gone STRATEGY file_copy;
DROP DATABASE gone;
SELECT pg_logical_emit_message(true, 'tide-test', 'body');
SELECT pg_logical_emit_message(false, 'tide-test', repeat('x', 20000000));
SELECT pg_create_restore_point('here');
SELECT pg_replication_origin_create('from elsewhere');
SELECT pg_replication_origin_advance('from elsewhere', '7/77');
SELECT pg_replication_origin_session_setup('from elsewhere');
BEGIN;
SELECT pg_replication_origin_xact_setup('8/88', '2020-02-02 02:02:02+00');
INSERT INTO frozen VALUES (2);
COMMIT;
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_create('gone');
SELECT pg_replication_origin_advance('gone', '1/1');
SELECT pg_replication_origin_drop('gone');
BEGIN; INSERT INTO frozen VALUES (3); SAVEPOINT p; INSERT INTO frozen VALUES (4); RELEASE p;
PREPARE TRANSACTION 'commits';
COMMIT PREPARED 'commits';
BEGIN; CREATE TABLE never AS SELECT 1; PREPARE TRANSACTION 'aborts';
ROLLBACK PREPARED 'aborts';
SELECT pg_switch_wal() IS NOT NULL;
SELECT pg_switch_wal() IS NOT NULL;
CHECKPOINT;
SET wal_compression = pglz; UPDATE copied SET y = 'p' WHERE x % 100 = 0; CREATE INDEX c1 ON copied(x);
SET wal_compression = lz4; CREATE INDEX c2 ON copied(x);
SET wal_compression = zstd; CREATE INDEX c3 ON copied(x);
RESET wal_compression;
DELETE FROM copied WHERE x > 5000;
VACUUM (TRUNCATE) copied;
SELECT count(txid_current()) FROM generate_series(1,1);
BEGIN; LOCK TABLE t; COMMIT;
CREATE MATERIALIZED VIEW m AS SELECT a FROM t;
REFRESH MATERIALIZED VIEW m;
SELECT setval('t_id_seq', 200000); SELECT nextval('t_id_seq');
BEGIN; INSERT INTO frozen VALUES (5); SAVEPOINT p; INSERT INTO frozen VALUES (6); RELEASE p;
CREATE TABLE on_commit AS SELECT 1; DROP TABLE unlogged;
PREPARE TRANSACTION 'stays';
)SQL";

}  // namespace tide::pgformat
