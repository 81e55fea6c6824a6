#include "storage/storage.h"

#include <signal.h>

#include <optional>

#include "env/file.h"
#include "env/instance.h"
#include "obs/log.h"
#include "pagestore/project_upload.h"
#include "pagestore/remote_files.h"
#include "redo/redo_pool.h"
#include "storage/learner_service.h"
#include "storage/object_mirror.h"
#include "storage/page_service.h"
#include "storage/project.h"
#include "storage/storage_api.h"
#include "storage/upkeep.h"

namespace tide::storage {
namespace {

/// What the object store knows of this project, brought here where it is missing.
struct Attachment {
  std::unique_ptr<objectstore::ObjectStore> store;
  uint64_t generation = 1;
  std::unique_ptr<pagestore::RemoteFiles> remote_files;
};

Result<Attachment> attach(const std::string& url, const Project::Paths& paths) {
  Attachment attachment;
  if (url.empty()) return attachment;
  attachment.store = TIDE_TRY(objectstore::open(url));
  std::optional<pagestore::OpenedProject> opened;
  if (env::exists(paths.pages + "/CURRENT")) {
    opened = TIDE_TRY(pagestore::ProjectUpload::reattach(*attachment.store, paths.pages));
  } else {
    opened = TIDE_TRY(pagestore::ProjectUpload::restore(*attachment.store, paths.pages));
    if (opened) {
      obs::info("opening the project from {}", attachment.store->describe());
      TIDE_TRY(ObjectMirror::restore_wal(*attachment.store, paths.wal));
    }
  }
  if (!opened) return attachment;
  for (const std::string& skipped : opened->skipped) obs::warn("object store: {}", skipped);
  attachment.generation = opened->generation;
  attachment.remote_files =
      TIDE_TRY(pagestore::RemoteFiles::open(paths.pages, *attachment.store, opened->files));
  return attachment;
}

}  // namespace

Status run_storage(const StorageOptions& options) {
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);  // before any thread: all inherit it

  const std::string& directory = options.data_directory;
  TIDE_TRY(env::prepare_runtime_directory(directory));
  auto lock = TIDE_TRY(env::open_lock_file(directory + "/storage.lock"));
  if (!TIDE_TRY(env::try_lock(lock.get(), env::LockKind::kExclusive))) {
    return {Code::kConflict, fmt::format("another storage role runs on {}", directory)};
  }
  redo::Options redo_options;
  redo_options.directory = directory + "/redo";
  redo_options.postgres = options.postgres;
  redo_options.library = options.library;
  redo_options.template_directory = options.template_directory;
  redo_options.instance = directory;
  redo_options.helpers = options.redo_helpers;
  auto redo = TIDE_TRY(redo::RedoPool::open(redo_options));

  Project::Paths paths{directory + "/pages", directory + "/wal"};
  Attachment attachment = TIDE_TRY(attach(options.object_store, paths));
  auto project = TIDE_TRY(Project::open(
      paths, *redo, attachment.remote_files ? attachment.remote_files->file_system() : nullptr));
  std::unique_ptr<ObjectMirror> mirror;
  if (attachment.store != nullptr) {
    mirror = TIDE_TRY(
        ObjectMirror::open(*attachment.store, *project, paths.pages, attachment.generation));
  }
  {
    Upkeep upkeep(*project, mirror.get(), {});
    std::string page_socket = env::page_socket(directory);
    LearnerService learners(*project, attachment.store.get());
    auto pages = TIDE_TRY(PageService::start(
        page_socket, project->store(), [&](TimelineId id) { return project->current_epoch(id); },
        &learners));
    ApiParts parts{*project, *pages, *redo, upkeep, page_socket};
    net::HttpServerOptions server_options;
    server_options.name = "storage";
    server_options.unix_socket = env::storage_socket(directory);
    server_options.body_bytes_max = 64 << 20;
    auto server = TIDE_TRY(net::HttpServer::start(server_options, storage_routes(parts)));
    obs::info("storage is ready");
    int signal = 0;
    sigwait(&stop_signals, &signal);
    obs::info("storage stops on signal {}", signal);
    server->stop(std::chrono::seconds(2));
  }
  return project->store().flush();
}

}  // namespace tide::storage
