#include "pagestore/keys.h"

#include "base/bytes.h"

namespace tide::pagestore {

std::string rel_body(const RelFork& rel) {
  std::string body;
  body.reserve(17);
  append_be32(body, rel.spc);
  append_be32(body, rel.db);
  append_be32(body, rel.rel);
  body.push_back(static_cast<char>(rel.fork));
  return body;
}

std::string page_body(const PageTag& tag) {
  std::string body = rel_body(tag.rel);
  append_be32(body, tag.block);
  return body;
}

std::string slru_body(Slru slru, uint32_t page) {
  std::string body(1, static_cast<char>(slru));
  append_be32(body, page);
  return body;
}

std::string database_body(uint32_t spc, uint32_t db) {
  std::string body;
  append_be32(body, spc);
  append_be32(body, db);
  return body;
}

std::string number_body(uint32_t number) {
  std::string body;
  append_be32(body, number);
  return body;
}

RelFork rel_of_body(std::string_view body) {
  return {load_be32(body.data()), load_be32(body.data() + 4), load_be32(body.data() + 8),
          static_cast<Fork>(body[12])};
}

PageTag page_of_body(std::string_view body) {
  return {rel_of_body(body), load_be32(body.data() + 13)};
}

SlruPage slru_of_body(std::string_view body) {
  return {static_cast<Slru>(body[0]), load_be32(body.data() + 1)};
}

std::string version_prefix(Kind kind, TimelineId timeline, std::string_view body) {
  std::string key;
  key.reserve(kKeyHeadSize + body.size() + kKeyLsnSize);
  key.push_back(static_cast<char>(kind));
  append_be32(key, timeline.value);
  key.append(body);
  return key;
}

std::string version_key(Kind kind, TimelineId timeline, std::string_view body, Lsn lsn) {
  std::string key = version_prefix(kind, timeline, body);
  append_be64(key, ~lsn.value());
  return key;
}

std::optional<KeyParts> split_key(std::string_view key) {
  if (key.size() < kKeyHeadSize + kKeyLsnSize) return std::nullopt;
  size_t body_size = key.size() - kKeyHeadSize - kKeyLsnSize;
  return KeyParts{static_cast<Kind>(key[0]), TimelineId{load_be32(key.data() + 1)},
                  key.substr(kKeyHeadSize, body_size),
                  Lsn(~load_be64(key.data() + kKeyHeadSize + body_size))};
}

}  // namespace tide::pagestore
