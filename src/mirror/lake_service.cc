#include "mirror/lake_service.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>

#include "columns/column.h"
#include "deltalog/schema.h"
#include "net/api_error.h"
#include "obs/log.h"

namespace tide::mirror {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr size_t kMaxConnections = 1000;
constexpr uint64_t kPatienceMs = 10'000;

}  // namespace

/// One connection and its snapshots.
class LakeService::Conversation {
 public:
  Conversation(const Branches& branches, env::FileDescriptor socket)
      : branches_(branches), channel_(std::move(socket)) {}

  void hang_up() { channel_.shut_down(); }

  void serve() {
    while (true) {
      Result<net::BlobMessage> message = channel_.receive();
      if (!message.ok()) return;
      blobs_.clear();
      Result<json> answer = answer_to(message->json);
      Status sent = answer.ok() ? channel_.send(*answer, blobs_)
                                : channel_.send(net::error_json(answer.status()));
      if (!sent.ok()) return;
    }
  }

 private:
  Result<json> answer_to(const std::string& text) {
    json request = TIDE_TRY(net::parse_json(text));
    std::string op = TIDE_TRY(net::string_member(request, "op"));
    if (op == "snapshot") return snapshot(request);
    if (op == "table") return table(request);
    if (op == "release") {
      snapshots_.erase(TIDE_TRY(net::number_member(request, "snapshot")));
      return json::object();
    }
    if (op == "status") return status(request);
    if (op == "exclude" || op == "include") {
      auto timeline = static_cast<uint32_t>(TIDE_TRY(net::number_member(request, "timeline")));
      std::string database = TIDE_TRY(net::string_member(request, "database"));
      std::string name = TIDE_TRY(net::string_member(request, "table"));
      TIDE_TRY(branches_.include(TimelineId{timeline}, database, name, op == "include"));
      return json::object();
    }
    return Status(Code::kInvalid, fmt::format("unknown op {}", op));
  }

  Result<std::shared_ptr<BranchWorker>> worker(const json& request) {
    auto timeline = static_cast<uint32_t>(TIDE_TRY(net::number_member(request, "timeline")));
    std::shared_ptr<BranchWorker> found = branches_.find(TimelineId{timeline});
    if (found == nullptr) {
      return Status(Code::kRetry, fmt::format("no branch of t{} is in the lake yet", timeline));
    }
    return found;
  }

  Result<json> snapshot(const json& request) {
    std::shared_ptr<BranchWorker> from = TIDE_TRY(worker(request));
    BranchWorker::Wanted wanted;
    wanted.database = TIDE_TRY(net::string_member(request, "database"));
    std::string freshness = TIDE_TRY(net::string_member(request, "freshness", "strict"));
    if (freshness != "strict" && freshness != "bounded" && freshness != "lake") {
      return Status(Code::kInvalid, fmt::format("unknown freshness {}", freshness));
    }
    wanted.strict = freshness == "strict";
    wanted.bound = milliseconds(
        freshness == "bounded" ? TIDE_TRY(net::number_member(request, "bound_ms", 5000)) : 0);
    if (request.contains("at_lsn") || request.contains("at_time_us")) {
      return Status(Code::kInvalid, "the past of the lake is not served yet")
          .with_hint("Make a branch at that moment: tide branch create NAME --time T.");
    }
    if (request.contains("min_lsn")) {
      wanted.min_lsn = TIDE_TRY(Lsn::parse(TIDE_TRY(net::string_member(request, "min_lsn"))));
    }
    wanted.patience = milliseconds(TIDE_TRY(net::number_member(request, "wait_ms", kPatienceMs)));
    std::shared_ptr<const DatabaseSnapshot> taken = TIDE_TRY(from->snapshot(wanted));
    uint64_t id = next_++;
    json answer = {{"snapshot", id},
                   {"lsn", taken->lsn.to_string()},
                   {"commit_time_us", taken->commit_time_us},
                   {"catalog_version", taken->catalog_version}};
    uint64_t known = TIDE_TRY(net::number_member(request, "catalog_version", 0));
    if (known != taken->catalog_version) answer["catalog"] = json::parse(*taken->catalog);
    snapshots_[id] = {std::move(taken), std::move(from)};
    return answer;
  }

  Result<json> table(const json& request) {
    auto found = snapshots_.find(TIDE_TRY(net::number_member(request, "snapshot")));
    if (found == snapshots_.end()) return Status(Code::kNotFound, "no such snapshot");
    auto oid = static_cast<uint32_t>(TIDE_TRY(net::number_member(request, "oid")));
    const DatabaseSnapshot::Tables& tables = *found->second.taken->tables;
    auto entry = tables.find(oid);
    if (entry != tables.end()) return table_json(request, *entry->second, 0, *found->second.from);
    // A partition by itself.
    for (const auto& [root, table] : tables) {
      if (table->heaps.contains(oid)) return table_json(request, *table, oid, *found->second.from);
    }
    return Status(Code::kNotFound, fmt::format("no table {} in this snapshot", oid));
  }

  Result<json> table_json(const json& request, const TableSnapshot& table, uint32_t only,
                          const BranchWorker& from) {
    std::vector<uint64_t> known;
    if (request.contains("known_segments") && request["known_segments"].is_array()) {
      for (const json& id : request["known_segments"]) {
        if (id.is_number_unsigned()) known.push_back(id.get<uint64_t>());
      }
    }
    json files = json::array();
    json segments = json::array();
    auto blob = [&](std::string bytes) {
      blobs_.push_back(std::move(bytes));
      return blobs_.size() - 1;
    };
    for (const auto& [relation, heap] : table.heaps) {
      if (only != 0 && relation != only) continue;
      for (const HeapVersion::File& file : heap->files) {
        json out = {{"path", TIDE_TRY(from.local_path(table.directory, file.file.name))},
                    {"rows", file.file.rows},
                    {"size", file.file.size},
                    {"stats", file.file.stats},
                    {"ctid", true}};
        if (file.deleted != nullptr && !file.deleted->empty())
          out["deleted"] = blob(file.deleted->encode());
        files.push_back(std::move(out));
      }
      for (const HeapVersion::Segment& segment : heap->segments) {
        json out = {{"id", segment.id}, {"rows", segment.rows->rows()}};
        if (std::find(known.begin(), known.end(), segment.id) == known.end()) {
          out["data"] = blob(columns::encode(*segment.rows));
        }
        if (segment.deleted != nullptr && !segment.deleted->empty()) {
          out["deleted"] = blob(segment.deleted->encode());
        }
        segments.push_back(std::move(out));
      }
    }
    json columns = json::array();
    for (const LakeColumn& column : table.columns) {
      columns.push_back(
          {{"name", column.name},
           {"id", column.id},
           {"physical", column.physical},
           {"type_json", json::parse(deltalog::write_type(deltalog::from_columns(column.type)))}});
    }
    return json{{"files", files}, {"segments", segments}, {"columns", columns}};
  }

  Result<json> status(const json& request) {
    json branches = json::array();
    for (const std::shared_ptr<BranchWorker>& worker : branches_.all()) {
      if (request.contains("timeline") && request["timeline"] != worker->timeline().value) continue;
      branches.push_back(json::parse(worker->status()));
    }
    return json{{"branches", branches}};
  }

  struct Taken {
    std::shared_ptr<const DatabaseSnapshot> taken;
    std::shared_ptr<BranchWorker> from;
  };
  const Branches& branches_;
  net::BlobChannel channel_;
  std::map<uint64_t, Taken> snapshots_;
  uint64_t next_ = 1;
  std::vector<std::string> blobs_;  ///< of the answer in the making
};

Result<std::unique_ptr<LakeService>> LakeService::start(const std::string& socket_path,
                                                        Branches branches) {
  env::FileDescriptor listener = TIDE_TRY(net::listen_unix(socket_path));
  return std::unique_ptr<LakeService>(new LakeService(std::move(listener), std::move(branches)));
}

LakeService::LakeService(env::FileDescriptor listener, Branches branches)
    : branches_(std::move(branches)),
      listener_(std::move(listener)),
      quit_(::eventfd(0, EFD_CLOEXEC)),
      acceptor_([this] { accept_loop(); }) {}

LakeService::~LakeService() {
  uint64_t one = 1;
  if (::write(quit_.get(), &one, sizeof one) < 0) obs::warn("lake service: cannot be woken to end");
  acceptor_.join();
  std::lock_guard lock(mutex_);
  for (Serving& each : serving_) each.conversation->hang_up();
  for (Serving& each : serving_) each.thread.join();
}

void LakeService::accept_loop() {
  while (true) {
    pollfd waits[2] = {{listener_.get(), POLLIN, 0}, {quit_.get(), POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) return;
    if (waits[1].revents != 0) return;
    if (waits[0].revents == 0) continue;
    env::FileDescriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket.is_open()) continue;
    std::lock_guard lock(mutex_);
    for (auto each = serving_.begin(); each != serving_.end();) {
      if (!each->done) {
        ++each;
        continue;
      }
      each->thread.join();
      each = serving_.erase(each);
    }
    if (serving_.size() >= kMaxConnections) continue;  // closes it
    Serving& fresh = serving_.emplace_back();
    fresh.conversation = std::make_unique<Conversation>(branches_, std::move(socket));
    fresh.thread = std::thread([&fresh] {
      fresh.conversation->serve();
      fresh.done = true;
    });
  }
}

}  // namespace tide::mirror
