#include "control/storage_client.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "net/api_error.h"

namespace tide::control {

using nlohmann::json;

namespace {

Result<Lsn> lsn_member(const json& object, const char* name) {
  return Lsn::parse(TIDE_TRY(net::string_member(object, name)));
}

/// An LSN that may be missing or null: then 0/0.
Result<Lsn> optional_lsn_member(const json& object, const char* name) {
  std::string text = TIDE_TRY(net::string_member(object, name, ""));
  if (text.empty()) return Lsn();
  return Lsn::parse(text);
}

}  // namespace

net::HttpCall StorageClient::call(std::string method, std::string target, std::string body) const {
  return {.unix_socket = socket_,
          .method = std::move(method),
          .target = std::move(target),
          .body = std::move(body)};
}

Result<StorageClient::Imported> StorageClient::import_project(
    const std::string& template_directory) {
  net::HttpCall request =
      call("POST", "/v1/project", net::to_text({{"template", template_directory}}));
  request.timeout = std::chrono::minutes(3);
  json answer = TIDE_TRY(net::json_call(request));
  Imported imported;
  imported.system_id = TIDE_TRY(net::string_member(answer, "system_id"));
  imported.timeline =
      TimelineId{static_cast<uint32_t>(TIDE_TRY(net::number_member(answer, "timeline")))};
  imported.lsn = TIDE_TRY(lsn_member(answer, "lsn"));
  return imported;
}

Result<json> StorageClient::status() {
  net::HttpCall request = call("GET", "/v1/status");
  request.timeout = std::chrono::seconds(5);
  return net::json_call(request);
}

Result<std::vector<StorageClient::Timeline>> StorageClient::timelines() {
  net::HttpCall request = call("GET", "/v1/timelines");
  request.timeout = std::chrono::seconds(10);
  json answer = TIDE_TRY(net::json_call(request));
  if (!answer.is_array())
    return Status(Code::kBug, "the storage's list of timelines is not a list");
  std::vector<Timeline> timelines;
  for (const json& entry : answer) {
    Timeline timeline;
    timeline.id = TimelineId{static_cast<uint32_t>(TIDE_TRY(net::number_member(entry, "id")))};
    timeline.epoch = Epoch{TIDE_TRY(net::number_member(entry, "epoch", 0))};
    if (uint64_t parent = TIDE_TRY(net::number_member(entry, "parent", 0)); parent != 0) {
      timeline.parent = TimelineId{static_cast<uint32_t>(parent)};
    }
    timeline.branch_lsn = TIDE_TRY(optional_lsn_member(entry, "branch_lsn"));
    timeline.active = TIDE_TRY(net::bool_member(entry, "active", false));
    timeline.end_lsn = TIDE_TRY(optional_lsn_member(entry, "end_lsn"));
    timeline.oldest_lsn = TIDE_TRY(optional_lsn_member(entry, "oldest_lsn"));
    timeline.oldest_time = TIDE_TRY(net::string_member(entry, "oldest_time", ""));
    timeline.logical_bytes = TIDE_TRY(net::number_member(entry, "logical_bytes", 0));
    timeline.own_bytes = TIDE_TRY(net::number_member(entry, "own_bytes", 0));
    timelines.push_back(std::move(timeline));
  }
  return timelines;
}

Result<Lsn> StorageClient::create_timeline(TimelineId id, TimelineId parent, const std::string& lsn,
                                           const std::string& time) {
  json body = {{"id", id.value}, {"parent", parent.value}};
  if (!lsn.empty()) body["lsn"] = lsn;
  if (!time.empty()) body["time"] = time;
  json answer = TIDE_TRY(net::json_call(call("POST", "/v1/timelines", net::to_text(body))));
  return lsn_member(answer, "branch_lsn");
}

Status StorageClient::delete_timeline(TimelineId id) {
  Result<json> answer = net::json_call(call("DELETE", fmt::format("/v1/timelines/{}", id.value)));
  if (answer.ok() || answer.status().code() == Code::kNotFound) return {};
  return std::move(answer).status();
}

Result<StorageClient::BegunEpoch> StorageClient::begin_epoch(TimelineId timeline, Epoch epoch,
                                                             compute::Durability durability) {
  json body = {{"epoch", epoch.value},
               {"durability", durability == compute::Durability::kLocal ? "local" : "acceptor"}};
  net::HttpCall request =
      call("POST", fmt::format("/v1/timelines/{}/epochs", timeline.value), net::to_text(body));
  request.timeout = std::chrono::minutes(2);
  json answer = TIDE_TRY(net::json_call(request));
  BegunEpoch begun;
  begun.epoch = Epoch{TIDE_TRY(net::number_member(answer, "epoch"))};
  begun.start_lsn = TIDE_TRY(lsn_member(answer, "start_lsn"));
  begun.wal_dir = TIDE_TRY(net::string_member(answer, "wal_dir", ""));
  begun.feed_file = TIDE_TRY(net::string_member(answer, "feed_file", ""));
  begun.lock_file = TIDE_TRY(net::string_member(answer, "lock_file"));
  begun.system_id = TIDE_TRY(net::string_member(answer, "system_id", ""));
  begun.page_socket = TIDE_TRY(net::string_member(answer, "page_socket"));
  return begun;
}

Result<std::unique_ptr<net::HttpStream>> StorageClient::backup(TimelineId timeline, Epoch epoch) {
  return net::HttpStream::open(
      call("GET", fmt::format("/v1/timelines/{}/backup?epoch={}", timeline.value, epoch.value)));
}

Status StorageClient::stream_epoch(TimelineId timeline, Epoch epoch, const std::string& conninfo) {
  Result<json> answer = net::json_call(
      call("POST", fmt::format("/v1/timelines/{}/epochs/{}/stream", timeline.value, epoch.value),
           net::to_text({{"conninfo", conninfo}})));
  return answer.ok() ? Status() : std::move(answer).status();
}

Result<StorageClient::ClosedEpoch> StorageClient::close_epoch(TimelineId timeline, Epoch epoch) {
  net::HttpCall request =
      call("POST", fmt::format("/v1/timelines/{}/epochs/{}/close", timeline.value, epoch.value));
  request.timeout = std::chrono::minutes(2);
  json answer = TIDE_TRY(net::json_call(request));
  ClosedEpoch closed;
  closed.end_lsn = TIDE_TRY(lsn_member(answer, "end_lsn"));
  closed.clean = TIDE_TRY(net::bool_member(answer, "clean", false));
  return closed;
}

Result<std::string> StorageClient::page(TimelineId timeline, const std::string& rel,
                                        const std::string& block, const std::string& lsn) {
  std::string target =
      fmt::format("/v1/timelines/{}/page?rel={}&block={}", timeline.value,
                  net::encode_uri_component(rel), net::encode_uri_component(block));
  if (!lsn.empty()) target += "&lsn=" + net::encode_uri_component(lsn);
  net::HttpReply reply = TIDE_TRY(net::http_call(call("GET", target)));
  if (reply.status != 200) return net::status_from_reply(reply.status, reply.body);
  return std::move(reply.body);
}

Status StorageClient::flush(std::chrono::milliseconds timeout) {
  net::HttpCall request = call("POST", "/v1/flush");
  request.timeout = timeout;
  Result<json> answer = net::json_call(request);
  return answer.ok() ? Status() : std::move(answer).status();
}

Result<json> StorageClient::fsck(bool deep) {
  net::HttpCall request = call("POST", "/v1/fsck", net::to_text({{"deep", deep}}));
  request.timeout = std::chrono::hours(6);
  return net::json_call(request);
}

Result<std::string> StorageClient::metrics() {
  net::HttpCall request = call("GET", "/metrics");
  request.timeout = std::chrono::seconds(5);
  net::HttpReply reply = TIDE_TRY(net::http_call(request));
  if (reply.status != 200) return net::status_from_reply(reply.status, reply.body);
  return std::move(reply.body);
}

}  // namespace tide::control
