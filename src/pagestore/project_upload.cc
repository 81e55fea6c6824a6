#include "pagestore/project_upload.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <rocksdb/db.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "base/crc32c.h"
#include "env/file.h"
#include "pagestore/rocks_status.h"

namespace tide::pagestore {
namespace {

constexpr char kRecordName[] = "REMOTE-FILES";
constexpr char kScratchName[] = "upload.tmp";
constexpr uint64_t kVerifyBytes = uint64_t{8} << 20;
constexpr int kVerifyRounds = 5;

std::string random_name() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

Status fenced(std::string_view why) {
  return Status(Code::kStaleEpoch, fmt::format("this copy of the project was fenced: {}", why))
      .with_hint(
          "Another node has taken the project over. Drop this copy; restore from the object store "
          "to use it here.");
}

Result<uint32_t> crc_of_file(const std::string& path, uint64_t& size) {
  env::FileDescriptor file = TIDE_TRY(env::open_file(path, O_RDONLY));
  uint32_t crc = kCrc32cInit;
  size = 0;
  Bytes buffer(size_t{1} << 20);
  while (true) {
    ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, fmt::format("read {}", path));
    if (got == 0) return crc32c_finish(crc);
    crc = crc32c_extend(crc, BytesView(buffer).first(static_cast<size_t>(got)));
    size += static_cast<uint64_t>(got);
  }
}

/// Keeps RocksDB from deleting files while it lives.
class DeletionsHeld {
 public:
  static Result<std::unique_ptr<DeletionsHeld>> take(rocksdb::DB& db) {
    TIDE_TRY(status_of(db.DisableFileDeletions(), "hold back file deletions"));
    return std::unique_ptr<DeletionsHeld>(new DeletionsHeld(db));
  }
  ~DeletionsHeld() { db_.EnableFileDeletions(/*force=*/false).PermitUncheckedError(); }

 private:
  explicit DeletionsHeld(rocksdb::DB& db) : db_(db) {}
  rocksdb::DB& db_;
};

}  // namespace

struct ProjectUpload::Record {
  std::string lineage;
  ManifestId id;  ///< The last manifest known to this directory; sequence 0 if none of its
                  ///< generation was uploaded.
  std::vector<RemoteFile> files;
  std::vector<Blob> blobs;
};

/// A consistent set of files, pinned until this goes away.
struct ProjectUpload::LiveFiles {
  struct Pending {
    std::string name;
    std::string path;  ///< Where its bytes are for the time of the upload.
    uint64_t size = 0;
    std::optional<uint32_t> crc;  ///< As RocksDB computed it when it wrote the file, if it did.
  };
  std::vector<RemoteFile> done;
  std::vector<Pending> pending;
  std::vector<Blob> small_files;
  std::unique_ptr<DeletionsHeld> held;  ///< Only where files could not be pinned by hard links.
};

ProjectUpload::ProjectUpload(rocksdb::DB& db, std::string directory,
                             objectstore::ObjectStore& store, Options options)
    : db_(db),
      directory_(std::move(directory)),
      scratch_(directory_ + "/" + kScratchName),
      store_(store),
      options_(options) {}

Result<std::optional<ProjectUpload::Record>> ProjectUpload::load_record(
    const std::string& directory) {
  std::string path = directory + "/" + kRecordName;
  Result<std::string> text = env::read_file(path);
  if (!text.ok() && text.status().code() == Code::kNotFound) return std::optional<Record>();
  if (!text.ok()) return std::move(text).status();
  // The record is a manifest without small files: the same checks apply.
  Result<ProjectManifest> manifest = decode_manifest(*text);
  if (!manifest.ok()) return std::move(manifest).status().with_context(path);
  return std::optional<Record>(
      {manifest->lineage, manifest->id, std::move(manifest->files), std::move(manifest->blobs)});
}

Status ProjectUpload::save_record(const std::string& directory, const Record& record) {
  ProjectManifest manifest;
  manifest.id = record.id;
  manifest.lineage = record.lineage;
  manifest.files = record.files;
  manifest.blobs = record.blobs;
  return env::write_file_atomically(directory + "/" + kRecordName, encode(manifest));
}

/// Newest first.
Result<std::vector<ManifestId>> ProjectUpload::list_manifests(objectstore::ObjectStore& store) {
  std::vector<objectstore::ObjectInfo> objects = TIDE_TRY(store.list("manifest/"));
  std::vector<ManifestId> ids;
  for (const objectstore::ObjectInfo& object : objects) {
    if (std::optional<ManifestId> id = parse_manifest_key(object.key)) ids.push_back(*id);
  }
  std::sort(ids.rbegin(), ids.rend());
  return ids;
}

Result<ProjectManifest> ProjectUpload::read_manifest(objectstore::ObjectStore& store,
                                                     ManifestId id) {
  std::string key = manifest_key(id);
  std::string text = TIDE_TRY(store.get(key));
  Result<ProjectManifest> manifest = decode_manifest(text);
  if (!manifest.ok()) return std::move(manifest).status().with_context(key);
  if (manifest->id != id)
    return Status(Code::kCorrupt, fmt::format("{}: holds another manifest", key));
  return manifest;
}

/// The states among the newest-first `ids`: all but the claims.
std::vector<ManifestId> ProjectUpload::states_of(std::vector<ManifestId> ids) {
  std::erase_if(ids, [](ManifestId id) { return id.sequence == kClaimSequence; });
  return ids;
}

/// The newest that can be read; nothing if `ids` is empty. A damaged manifest is passed over, a
/// store that cannot be reached is an error.
Result<std::optional<ProjectManifest>> ProjectUpload::newest_valid(
    objectstore::ObjectStore& store, const std::vector<ManifestId>& ids,
    std::vector<std::string>& skipped) {
  for (ManifestId id : ids) {
    Result<ProjectManifest> manifest = read_manifest(store, id);
    if (manifest.ok()) return std::optional<ProjectManifest>(std::move(manifest).value());
    Code code = manifest.status().code();
    if (code != Code::kCorrupt && code != Code::kNotFound) return std::move(manifest).status();
    skipped.push_back(manifest.status().to_string());
  }
  if (!ids.empty()) {
    return Status(Code::kCorrupt, "no manifest of the project can be used")
        .with_detail(skipped.back());
  }
  return std::optional<ProjectManifest>();
}

/// Makes the generation after all that exist ours and returns all manifests below it. From then on
/// nobody else removes anything that the newest state among them names: a writer looks for higher
/// generations between its last manifest and its removals, so either it sees the claim, or we see
/// that manifest.
Result<std::vector<ManifestId>> ProjectUpload::claim(objectstore::ObjectStore& store,
                                                     ManifestId newest, const std::string& lineage,
                                                     uint64_t& generation) {
  ProjectManifest claim;
  claim.id = {newest.generation + 1, kClaimSequence};
  claim.lineage = lineage;
  generation = claim.id.generation;
  std::string text = encode(claim);
  bool written = TIDE_TRY(store.put_if_absent(manifest_key(claim.id), as_bytes(text)));
  if (!written) {
    return Status(Code::kConflict,
                  fmt::format("another node took the project over at the same time (generation {})",
                              generation))
        .with_hint("Only one node may open a project. Try again if that other node is gone.");
  }
  std::vector<ManifestId> ids = TIDE_TRY(list_manifests(store));
  if (ids.empty() || ids.front() > claim.id) return fenced("a newer generation appeared");
  std::erase_if(ids, [&](ManifestId id) { return id.generation >= generation; });
  return ids;
}

Result<std::optional<OpenedProject>> ProjectUpload::restore(objectstore::ObjectStore& store,
                                                            const std::string& directory) {
  TIDE_TRY(env::make_directories(directory));
  if (env::exists(directory + "/CURRENT")) {
    return Status(Code::kConflict, fmt::format("{} has a database already", directory))
        .with_hint("Reattach to it, or remove it before restoring.");
  }
  // CURRENT is written last: without it, whatever is here is a restore that did not finish.
  std::vector<std::string> remains = TIDE_TRY(env::list_directory(directory));
  for (const std::string& name : remains) TIDE_TRY(env::remove_tree(directory + "/" + name));

  std::vector<ManifestId> ids = TIDE_TRY(list_manifests(store));
  if (states_of(ids).empty()) return std::optional<OpenedProject>();
  OpenedProject opened;
  std::string lineage = random_name();
  ids = TIDE_TRY(claim(store, ids.front(), lineage, opened.generation));
  std::optional<ProjectManifest> base =
      TIDE_TRY(newest_valid(store, states_of(ids), opened.skipped));
  if (!base) return Status(Code::kCorrupt, "the manifests of the project are gone");

  const Blob* current = nullptr;
  for (const Blob& file : base->small_files) {
    if (file.name == "CURRENT") {
      current = &file;
      continue;
    }
    TIDE_TRY(env::write_file_atomically(directory + "/" + file.name, file.bytes));
  }
  if (current == nullptr) return Status(Code::kCorrupt, "project manifest has no file CURRENT");
  TIDE_TRY(save_record(directory,
                       {lineage, {opened.generation, kClaimSequence}, base->files, base->blobs}));
  TIDE_TRY(env::write_file_atomically(directory + "/CURRENT", current->bytes));
  opened.base = base->id;
  opened.files = std::move(base->files);
  opened.blobs = std::move(base->blobs);
  return std::optional<OpenedProject>(std::move(opened));
}

Result<OpenedProject> ProjectUpload::reattach(objectstore::ObjectStore& store,
                                              const std::string& directory) {
  if (!env::exists(directory + "/CURRENT")) {
    return Status(Code::kNotFound, fmt::format("{} has no database", directory));
  }
  std::optional<Record> record = TIDE_TRY(load_record(directory));
  std::vector<ManifestId> ids = TIDE_TRY(list_manifests(store));
  OpenedProject opened;
  if (ids.empty()) {
    if (record && record->id != ManifestId{1, kClaimSequence}) {
      return Status(Code::kCorrupt, "the object store has lost the manifests of this project")
          .with_detail(fmt::format("{} was there last as {}.", directory, manifest_key(record->id)))
          .with_hint("Check that the object store's URL is the one used before.");
    }
    // Never uploaded: go on as a new project would.
    if (!record) TIDE_TRY(save_record(directory, {random_name(), {1, kClaimSequence}, {}, {}}));
    opened.generation = 1;
    return opened;
  }
  // Strictly the newest, claim or state: passing over a damaged one could hide that we are fenced.
  ProjectManifest newest = TIDE_TRY(read_manifest(store, ids.front()));
  if (!record || record->lineage != newest.lineage) {
    return fenced(fmt::format("{} comes from another directory", manifest_key(newest.id)));
  }
  ids = TIDE_TRY(claim(store, ids.front(), record->lineage, opened.generation));
  // Our own last upload, whose record a crash may have lost; before the first one, what was
  // restored.
  opened.base = record->id;
  opened.files = std::move(record->files);
  opened.blobs = std::move(record->blobs);
  std::optional<ProjectManifest> state =
      TIDE_TRY(newest_valid(store, states_of(ids), opened.skipped));
  if (state && state->lineage == record->lineage && state->id > record->id) {
    opened.base = state->id;
    opened.files = std::move(state->files);
    opened.blobs = std::move(state->blobs);
  }
  TIDE_TRY(save_record(
      directory,
      {record->lineage, {opened.generation, kClaimSequence}, opened.files, opened.blobs}));
  return opened;
}

Result<std::unique_ptr<ProjectUpload>> ProjectUpload::open(rocksdb::DB& db,
                                                           const std::string& directory,
                                                           objectstore::ObjectStore& store,
                                                           uint64_t generation) {
  return open(db, directory, store, generation, Options());
}

Result<std::unique_ptr<ProjectUpload>> ProjectUpload::open(rocksdb::DB& db,
                                                           const std::string& directory,
                                                           objectstore::ObjectStore& store,
                                                           uint64_t generation, Options options) {
  std::unique_ptr<ProjectUpload> upload(new ProjectUpload(db, directory, store, options));
  upload->generation_ = generation;
  TIDE_TRY(status_of(db.GetDbSessionId(upload->session_), "read database session"));
  TIDE_TRY(env::remove_tree(upload->scratch_));

  std::optional<Record> record = TIDE_TRY(load_record(directory));
  std::vector<ManifestId> ids = TIDE_TRY(list_manifests(store));
  if (!record) {
    if (!ids.empty())
      return fenced("the object store has this project already, from another directory");
    record = Record{random_name(), {generation, kClaimSequence}, {}, {}};
    TIDE_TRY(save_record(directory, *record));
  }
  if (record->id.generation != generation) {
    return Status(Code::kInvalid, fmt::format("{} is attached as generation {}, not {}", directory,
                                              record->id.generation, generation));
  }
  upload->lineage_ = record->lineage;
  upload->next_sequence_ = record->id.sequence + 1;
  for (RemoteFile& file : record->files) upload->uploaded_.emplace(file.name, std::move(file));

  if (!ids.empty() && ids.front().generation > generation) {
    return fenced(
        fmt::format("generation {} exists, this is {}", ids.front().generation, generation));
  }
  if (!ids.empty() && ids.front() > record->id) {
    // Either our own upload, whose record was lost in a crash, or a second new project at the same
    // place.
    ProjectManifest newest = TIDE_TRY(read_manifest(store, ids.front()));
    if (newest.lineage != record->lineage)
      return fenced("the object store has this project from another directory");
    upload->next_sequence_ = newest.id.sequence + 1;
    for (RemoteFile& file : newest.files) upload->uploaded_.emplace(file.name, std::move(file));
  }
  return upload;
}

Result<std::vector<ManifestId>> ProjectUpload::list_unless_fenced() {
  std::vector<ManifestId> ids = TIDE_TRY(list_manifests(store_));
  if (!ids.empty() && ids.front().generation > generation_) {
    fenced_ = true;
    return fenced(
        fmt::format("generation {} exists, this is {}", ids.front().generation, generation_));
  }
  return ids;
}

Result<ProjectUpload::LiveFiles> ProjectUpload::take_live_files() {
  std::unique_ptr<DeletionsHeld> held = TIDE_TRY(DeletionsHeld::take(db_));
  rocksdb::LiveFilesStorageInfoOptions wanted;
  wanted.include_checksum_info = true;
  wanted.wal_size_for_flush = options_.flush ? 0 : UINT64_MAX;
  std::vector<rocksdb::LiveFileStorageInfo> infos;
  TIDE_TRY(status_of(db_.GetLiveFilesStorageInfo(wanted, &infos), "list live files"));

  TIDE_TRY(env::remove_tree(scratch_));
  TIDE_TRY(env::make_directories(scratch_));
  LiveFiles live;
  bool pinned = true;
  for (const rocksdb::LiveFileStorageInfo& info : infos) {
    std::string path = info.directory + "/" + info.relative_filename;
    bool immutable = info.file_type == rocksdb::kTableFile || info.file_type == rocksdb::kBlobFile;
    if (!immutable) {
      Blob file{info.relative_filename, info.replacement_contents};
      if (file.bytes.empty() && info.size > 0) {
        env::FileDescriptor open = TIDE_TRY(env::open_file(path, O_RDONLY));
        file.bytes = TIDE_TRY(env::read_range(open.get(), 0, info.size));
        if (file.bytes.size() != info.size) {
          return Status(Code::kCorrupt, fmt::format("{} has {} bytes, should have {}", path,
                                                    file.bytes.size(), info.size));
        }
      }
      // Databases that write no log of their own still have an empty one.
      if (info.file_type != rocksdb::kWalFile || !file.bytes.empty())
        live.small_files.push_back(std::move(file));
      continue;
    }
    auto known = uploaded_.find(info.relative_filename);
    if (known != uploaded_.end()) {
      if (known->second.size != info.size) {
        return Status(Code::kBug, fmt::format("{} has {} bytes, was uploaded with {}", path,
                                              info.size, known->second.size));
      }
      live.done.push_back(known->second);
      continue;
    }
    LiveFiles::Pending pending{.name = info.relative_filename, .path = path, .size = info.size};
    if (info.file_checksum_func_name == "FileChecksumCrc32c" && info.file_checksum.size() == 4) {
      pending.crc = load_be32(info.file_checksum.data());
    }
    std::string link = scratch_ + "/" + info.relative_filename;
    if (::link(path.c_str(), link.c_str()) == 0) {
      pending.path = link;
    } else if (errno == EXDEV || errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK) {
      pinned = false;
    } else if (errno == ENOENT) {
      return Status(Code::kCorrupt,
                    fmt::format("{} is neither here nor in the object store", path));
    } else {
      return Status::from_errno(errno, fmt::format("link {} to {}", path, link));
    }
    live.pending.push_back(std::move(pending));
  }
  if (!pinned) live.held = std::move(held);
  return live;
}

Status ProjectUpload::upload_files(LiveFiles& live, UploadReport& report) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> stop = false;
  std::mutex mutex;
  Status failed;
  auto upload_one = [&](const LiveFiles::Pending& pending) -> Status {
    uint64_t size = 0;
    uint32_t crc = TIDE_TRY(crc_of_file(pending.path, size));
    if (size != pending.size || (pending.crc && *pending.crc != crc)) {
      return Status(Code::kCorrupt, fmt::format("{}/{} changed on disk after it was written",
                                                directory_, pending.name))
          .with_detail(fmt::format(
              "It has {} bytes with CRC {:08x}; the database wrote {} bytes{}.", size, crc,
              pending.size, pending.crc ? fmt::format(" with CRC {:08x}", *pending.crc) : ""))
          .with_hint(
              "Check the disk. The object store's copy is untouched: a restore gets the last good "
              "state.");
    }
    RemoteFile file{pending.name, page_key(pending.name, session_, generation_), size, crc};
    TIDE_TRY(store_.put_file(file.key, pending.path));
    std::lock_guard lock(mutex);
    uploaded_[file.name] = file;
    live.done.push_back(std::move(file));
    ++report.files_uploaded;
    report.bytes_uploaded += size;
    return {};
  };
  auto work = [&] {
    while (!stop) {
      size_t index = next++;
      if (index >= live.pending.size()) return;
      Status status = upload_one(live.pending[index]);
      if (status.ok()) continue;
      stop = true;
      std::lock_guard lock(mutex);
      if (failed.ok())
        failed = std::move(status).with_context(fmt::format("upload {}", live.pending[index].name));
    }
  };
  std::vector<std::jthread> threads;
  size_t count =
      std::min<size_t>(live.pending.size(), static_cast<size_t>(std::max(options_.parallel, 1)));
  for (size_t i = 1; i < count; ++i) threads.emplace_back(work);
  work();
  threads.clear();
  return failed;
}

/// `ids` were listed after `newest` was written, and `newest` was the first: what `claim` relies
/// on.
Status ProjectUpload::remove_unreferenced(const ProjectManifest& newest,
                                          const std::vector<ManifestId>& ids,
                                          UploadReport& report) {
  if (ids.empty() || ids.front() != newest.id) {
    return Status(Code::kRetry,
                  fmt::format("{} is not in the list of manifests", manifest_key(newest.id)));
  }
  std::set<std::string> referenced;
  for (const RemoteFile& file : newest.files) referenced.insert(file.key);
  std::vector<ManifestId> states = states_of(ids);
  states.resize(std::min<size_t>(states.size(), 2));
  if (states.size() == 2) {
    // If it cannot be read we do not know what it names, so nothing is removed.
    ProjectManifest second = TIDE_TRY(read_manifest(store_, states[1]));
    for (const RemoteFile& file : second.files) referenced.insert(file.key);
  }
  // Claims too: the newest state shows their generation.
  for (ManifestId id : ids) {
    if (std::find(states.begin(), states.end(), id) != states.end()) continue;
    TIDE_TRY(store_.remove(manifest_key(id)));
    ++report.objects_removed;
  }
  std::vector<objectstore::ObjectInfo> pages = TIDE_TRY(store_.list("pages/"));
  for (const objectstore::ObjectInfo& page : pages) {
    std::optional<uint64_t> generation = generation_of_page_key(page.key);
    if (!generation || *generation > generation_ || referenced.contains(page.key)) continue;
    TIDE_TRY(store_.remove(page.key));
    ++report.objects_removed;
  }
  return {};
}

Result<UploadReport> ProjectUpload::upload(const std::vector<Blob>& blobs) {
  std::lock_guard lock(mutex_);
  if (fenced_) return fenced("a newer generation exists");
  std::vector<ManifestId> ids = TIDE_TRY(list_unless_fenced());

  UploadReport report;
  ProjectManifest manifest;
  {
    LiveFiles live = TIDE_TRY(take_live_files());
    Status uploaded = upload_files(live, report);
    env::remove_tree(scratch_).ignore("removed before the next upload");
    TIDE_TRY(std::move(uploaded));
    manifest.files = std::move(live.done);
    manifest.small_files = std::move(live.small_files);
  }
  std::sort(manifest.files.begin(), manifest.files.end(),
            [](const RemoteFile& a, const RemoteFile& b) { return a.name < b.name; });
  manifest.blobs = blobs;
  manifest.lineage = lineage_;
  // A number is spent even if the write fails: it may have been carried out all the same.
  manifest.id = {generation_, next_sequence_++};
  std::string text = encode(manifest);
  std::string key = manifest_key(manifest.id);
  bool written = TIDE_TRY(store_.put_if_absent(key, as_bytes(text)));
  if (!written) {
    fenced_ = true;
    return fenced(fmt::format("{} exists already", key));
  }
  // Others drop WAL on the strength of this report: it speaks of what the store gives back, and
  // only while nobody has taken the project over, for whom this manifest would not count.
  std::string stored = TIDE_TRY(store_.get(key));
  if (stored != text)
    return Status(Code::kCorrupt, fmt::format("{} reads back differently than written", key));
  ids = TIDE_TRY(list_unless_fenced());
  TIDE_TRY(save_record(directory_, {lineage_, manifest.id, manifest.files, manifest.blobs}));

  uploaded_.clear();
  for (const RemoteFile& file : manifest.files) {
    uploaded_.emplace(file.name, file);
    report.bytes += file.size;
  }
  report.id = manifest.id;
  report.files = manifest.files.size();
  report.cleanup = remove_unreferenced(manifest, ids, report);
  return report;
}

/// The newest state and the one before it, unless that is of a former generation: a fenced node may
/// still have written it, and nobody keeps its objects.
Result<std::vector<ManifestId>> ProjectUpload::list_states_to_verify(
    objectstore::ObjectStore& store) {
  std::vector<ManifestId> ids = TIDE_TRY(list_manifests(store));
  ids = states_of(std::move(ids));
  ids.resize(std::min<size_t>(ids.size(), 2));
  if (ids.size() == 2 && ids[1].generation != ids[0].generation) ids.pop_back();
  return ids;
}

/// One round over the manifests `ids`; faults go to `problems`.
Status ProjectUpload::verify_manifests(objectstore::ObjectStore& store,
                                       const std::vector<ManifestId>& ids, bool deep,
                                       std::vector<std::string>& problems) {
  std::map<std::string, RemoteFile> files;
  for (ManifestId id : ids) {
    Result<ProjectManifest> manifest = read_manifest(store, id);
    if (!manifest.ok()) {
      Code code = manifest.status().code();
      if (code != Code::kCorrupt && code != Code::kNotFound) return std::move(manifest).status();
      problems.push_back(manifest.status().message());
      continue;
    }
    for (RemoteFile& file : manifest->files) files.emplace(file.key, std::move(file));
  }
  for (const auto& [key, file] : files) {
    std::optional<uint64_t> size = TIDE_TRY(store.head(key));
    if (!size) {
      problems.push_back(fmt::format("object {} is missing", key));
      continue;
    }
    if (*size != file.size) {
      problems.push_back(
          fmt::format("object {} has {} bytes, should have {}", key, *size, file.size));
      continue;
    }
    if (!deep) continue;
    uint32_t crc = kCrc32cInit;
    uint64_t at = 0;
    while (at < file.size) {
      Result<std::string> part = store.get_range(key, at, std::min(kVerifyBytes, file.size - at));
      if (!part.ok() && part.status().code() != Code::kNotFound) return std::move(part).status();
      if (!part.ok() || part->empty()) break;
      crc = crc32c_extend(crc, as_bytes(*part));
      at += part->size();
    }
    if (at < file.size) {
      problems.push_back(fmt::format("object {} went away while it was read", key));
    } else if (crc32c_finish(crc) != file.crc32c) {
      problems.push_back(fmt::format("object {} has CRC {:08x}, should have {:08x}", key,
                                     crc32c_finish(crc), file.crc32c));
    }
  }
  return {};
}

Status ProjectUpload::verify(objectstore::ObjectStore& store, bool deep,
                             const std::function<void(const std::string& problem)>& problem) {
  for (int round = 0; round < kVerifyRounds; ++round) {
    std::vector<ManifestId> ids = TIDE_TRY(list_states_to_verify(store));
    std::vector<std::string> problems;
    TIDE_TRY(verify_manifests(store, ids, deep, problems));
    if (!problems.empty()) {
      // What an upload replaced in the meantime is rightly gone: look at the newer manifests
      // instead.
      std::vector<ManifestId> now = TIDE_TRY(list_states_to_verify(store));
      if (now != ids) continue;
    }
    for (const std::string& text : problems) problem(text);
    return {};
  }
  return Status(Code::kRetry, "the project is uploaded faster than it can be checked");
}

}  // namespace tide::pagestore
