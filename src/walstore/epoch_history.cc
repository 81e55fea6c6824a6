#include "walstore/epoch_history.h"

#include <nlohmann/json.hpp>

namespace tide::walstore {

std::string_view durability_name(Durability durability) {
  return durability == Durability::kLocal ? "local" : "acceptor";
}

Result<Durability> parse_durability(std::string_view name) {
  if (name == "local") return Durability::kLocal;
  if (name == "acceptor") return Durability::kAcceptor;
  return Status(Code::kInvalid, fmt::format("no such form of durability: \"{}\"", name))
      .with_hint("Use local or acceptor.");
}

const EpochHistory::Entry* EpochHistory::writer_of(Lsn lsn) const {
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (entry->start <= lsn) return entry->end && lsn >= *entry->end ? nullptr : &*entry;
  }
  return nullptr;
}

std::string EpochHistory::to_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const Entry& entry : entries) {
    nlohmann::json item = {{"epoch", entry.epoch.value},
                           {"start", entry.start.to_string()},
                           {"prev", entry.prev.to_string()},
                           {"durability", durability_name(entry.durability)}};
    if (entry.end) item["end"] = entry.end->to_string();
    if (entry.last_record.is_valid()) item["last_record"] = entry.last_record.to_string();
    if (entry.clean) item["clean"] = true;
    list.push_back(std::move(item));
  }
  return nlohmann::json{{"format", 1}, {"promised", promised.value}, {"epochs", std::move(list)}}
      .dump(1);
}

Result<EpochHistory> EpochHistory::from_json(std::string_view text) {
  try {
    return read_json(text);
  } catch (const nlohmann::json::exception& error) {
    return Status(Code::kCorrupt, "epoch history has a member of a wrong type")
        .with_detail(error.what());
  }
}

Result<EpochHistory> EpochHistory::read_json(std::string_view text) {
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("format", 0) != 1 || !json.contains("epochs")) {
    return Status(Code::kCorrupt, "epoch history is not valid JSON of format 1");
  }
  EpochHistory history;
  history.promised = Epoch{json.value("promised", uint64_t{0})};
  for (const auto& item : json["epochs"]) {
    Entry entry;
    entry.epoch = Epoch{item.value("epoch", uint64_t{0})};
    entry.start = TIDE_TRY(Lsn::parse(item.value("start", "")));
    entry.prev = TIDE_TRY(Lsn::parse(item.value("prev", "")));
    entry.durability = TIDE_TRY(parse_durability(item.value("durability", "")));
    if (item.contains("end")) entry.end = TIDE_TRY(Lsn::parse(item.value("end", "")));
    if (item.contains("last_record"))
      entry.last_record = TIDE_TRY(Lsn::parse(item.value("last_record", "")));
    entry.clean = item.value("clean", false);
    // Each begins where the one before ended: otherwise it would not be known who wrote what.
    const Entry* before = history.last();
    if ((entry.end && *entry.end < entry.start) || entry.epoch > history.promised ||
        (before != nullptr && (before->epoch >= entry.epoch || before->end != entry.start))) {
      return Status(Code::kCorrupt,
                    fmt::format("epoch history is not one line at epoch {}", entry.epoch));
    }
    history.entries.push_back(entry);
  }
  return history;
}

}  // namespace tide::walstore
