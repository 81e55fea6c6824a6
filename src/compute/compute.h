#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "compute/tar_reader.h"
#include "env/process.h"

namespace tide::compute {

/// A PostgreSQL 15 on this machine.
struct Installation {
  std::string bin_dir;
  std::string library_dir;  ///< $libdir: where extensions' libraries lie.
  std::string version;      ///< "15.20"

  /// Looks at TIDE_PG_BINDIR, /usr/lib/postgresql/15/bin and what pg_config says. kNotFound with
  /// the command that installs it, kInvalid if TIDE_PG_BINDIR names something else.
  static Result<Installation> find();
  std::string program(std::string_view name) const;
};

/// The bootstrap superuser of every cluster: the user's own role, and the one we connect as.
inline constexpr const char* kSuperuser = "tide";

/// Makes the cluster every project begins as: initdb (superuser kSuperuser, UTF-8, C.UTF-8, no data
/// checksums), cleanly shut down. Appears in one step; an existing directory is left as it is.
Status make_template(const Installation& installation, const std::string& directory);

/// What is carried from one life of a compute to the next outside the storage.
struct PreservedState {
  std::string auto_conf;  ///< postgresql.auto.conf: ALTER SYSTEM
  std::map<std::string, std::string>
      statistics;  ///< Files of pg_stat; only a clean stop leaves any.
  Lsn stop_lsn;    ///< End of the WAL at that stop; set by the caller.
};
/// Reads it out of a stopped data directory. A directory that is not there gives an empty state.
Result<PreservedState> read_preserved_state(const std::string& data_dir);

enum class Durability {
  kLocal,     ///< PostgreSQL fsyncs its WAL into a directory of the WAL store.
  kAcceptor,  ///< Commits wait for acceptors that pull the WAL.
};

struct ComputeSpec {
  std::string instance;  ///< With `branch` the name in process titles and logs.
  std::string branch;
  TimelineId timeline;
  Epoch epoch;
  Lsn start_lsn;
  Durability durability = Durability::kLocal;

  std::string data_dir;    ///< Removed and made anew by start().
  std::string socket_dir;  ///< For the private Unix socket; made with mode 0700.
  std::string log_file;    ///< Appended to.
  uint16_t port = 5432;
  bool listen_tcp = true;  ///< On 127.0.0.1 and, where the machine has it, ::1.

  std::string library;  ///< Absolute path of tidewater.so; empty: a plain PostgreSQL (tests).
  std::string page_socket;
  std::string wal_dir;  ///< Local form: becomes pg_wal. Empty: the backup's own pg_wal is used.
  std::string feed_file;
  std::string lock_file;             ///< Held shared by every process of the compute.
  std::string synchronous_standbys;  ///< Acceptor form: value of synchronous_standby_names.

  /// Defaults in postgresql.conf, over ours and under ALTER SYSTEM.
  std::map<std::string, std::string> settings;
  PreservedState preserved;
  std::chrono::milliseconds start_timeout{60'000};
};

enum class StopMode {
  kFast,       ///< Roll back open transactions, write the shutdown checkpoint.
  kImmediate,  ///< Ends at once, as in a crash, but by itself.
};

/// One life of a compute: a postmaster and all its children.
///
/// Destroying this object leaves PostgreSQL running; find_running() takes it up again, also in
/// another process. Thread-safe: stop() may run while another thread watches.
class Compute {
 public:
  ~Compute();

  /// Identity of this life: data directory, timeline and epoch.
  const std::string& id() const { return id_; }
  const std::string& data_dir() const { return data_dir_; }
  pid_t pid() const { return postmaster_.pid(); }
  const env::Process& process() const { return postmaster_; }
  bool alive() const { return postmaster_.alive(); }

  /// Ends the postmaster and then whatever outlived it (programs of COPY). kUnavailable if the
  /// postmaster still lives when the time is up: then kill_all() is what remains.
  Status stop(StopMode mode, std::chrono::milliseconds timeout);

  /// Kills every process of this life, stopped or hung ones too, and returns when their lock proves
  /// that none is left. kUnavailable with the process ids if the kernel does not let go of them.
  Status kill_all(std::chrono::milliseconds timeout);

  struct Watcher {
    std::function<void(const env::ExitStatus&)> on_death;
    /// The new content of postgresql.auto.conf, soon after ALTER SYSTEM. May be empty.
    std::function<void(std::string)> on_settings;
  };
  /// Calls back from a thread of its own until the compute has ended or this object goes; at most
  /// one watcher. on_death comes last and once, also for an end that stop() caused.
  Status watch(Watcher watcher);

 private:
  friend Result<std::unique_ptr<Compute>> start(const Installation&, const ComputeSpec&,
                                                const ByteSource&);
  friend Result<std::unique_ptr<Compute>> find_running(const std::string& data_dir,
                                                       const std::string& lock_file);
  Compute(std::string id, std::string data_dir, std::string lock_file, env::Process postmaster);

  /// Process::wait that remembers how the postmaster ended: the kernel says so only once.
  Result<bool> wait_for_end(std::chrono::milliseconds timeout);
  void run_watcher(const Watcher& watcher, int inotify);

  const std::string id_;
  const std::string data_dir_;
  const std::string lock_file_;
  const env::Process postmaster_;
  env::FileDescriptor quit_;  ///< eventfd that ends the watcher.
  std::mutex mutex_;          ///< Guards the members below.
  env::ExitStatus ended_;
  std::thread watcher_;
};

/// Builds the data directory from a backup (a tar stream) and starts PostgreSQL on it; returns when
/// it accepts connections. kConflict if the port or the lock is taken, kUnavailable with the end of
/// the log as DETAIL if PostgreSQL does not come up. Nothing is left running after an error.
Result<std::unique_ptr<Compute>> start(const Installation& installation, const ComputeSpec& spec,
                                       const ByteSource& backup);

/// The living compute on this data directory, whoever started it; null if there is none. Finds it
/// even if the directory has been deleted.
Result<std::unique_ptr<Compute>> find_running(const std::string& data_dir,
                                              const std::string& lock_file);

/// Kills everything that belongs to a compute on `data_dir` or holds `lock_file` shared, although
/// its postmaster may long be dead. The fence of the local form: see Compute::kill_all.
Status kill_all(const std::string& data_dir, const std::string& lock_file,
                std::chrono::milliseconds timeout);

/// Removes the shared memory that a killed PostgreSQL left behind. Only when none of it is alive.
void remove_shared_memory(const std::string& data_dir);

}  // namespace tide::compute
