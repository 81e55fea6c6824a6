#include "pagestore/project_manifest.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "base/crc32c.h"

namespace tide::pagestore {
namespace {

using Json = nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr std::string_view kHead = "{\"crc32c\":\"";
constexpr std::string_view kMiddle = "\",\"body\":";
constexpr size_t kBodyAt = kHead.size() + 8 + kMiddle.size();

Status corrupt(std::string_view what) {
  return Status(Code::kCorrupt, fmt::format("project manifest: {}", what));
}

std::string base64_encode(std::string_view bytes) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) text += j <= count ? kAlphabet[group >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t group = 0;
    size_t padding = 0;
    for (size_t j = 0; j < 4; ++j) {
      char c = text[i + j];
      int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                  : c >= 'a' && c <= 'z' ? c - 'a' + 26
                  : c >= '0' && c <= '9' ? c - '0' + 52
                  : c == '+'             ? 62
                  : c == '/'             ? 63
                                         : -1;
      if (c == '=' && i + 4 == text.size() && j >= 2) {
        ++padding;
        value = 0;
      } else if (padding > 0) {
        return std::nullopt;
      }
      if (value < 0) return std::nullopt;
      group = group << 6 | static_cast<uint32_t>(value);
    }
    for (size_t j = 0; j + padding < 3; ++j)
      bytes += static_cast<char>(group >> (16 - 8 * j) & 255);
  }
  return bytes;
}

std::optional<uint64_t> parse_hex(std::string_view text, size_t digits) {
  uint64_t value = 0;
  auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() != digits || error != std::errc() || stop != text.data() + text.size())
    return std::nullopt;
  return value;
}

Json encode_blobs(const std::vector<Blob>& blobs) {
  Json list = Json::array();
  for (const Blob& blob : blobs) {
    list.push_back({{"name", blob.name},
                    {"size", blob.bytes.size()},
                    {"crc32c", fmt::format("{:08x}", crc32c(as_bytes(blob.bytes)))},
                    {"base64", base64_encode(blob.bytes)}});
  }
  return list;
}

std::optional<std::string> text_at(const Json& json, const char* name) {
  auto found = json.find(name);
  if (found == json.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<uint64_t> number_at(const Json& json, const char* name) {
  auto found = json.find(name);
  if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<uint64_t>();
}

/// A name that is one plain file in a directory.
bool is_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

Result<std::vector<Blob>> decode_blobs(const Json& json, const char* field) {
  std::vector<Blob> blobs;
  auto list = json.find(field);
  if (list == json.end() || !list->is_array()) return corrupt(fmt::format("no list {}", field));
  for (const Json& item : *list) {
    if (!item.is_object()) return corrupt(fmt::format("bad entry in {}", field));
    std::optional<std::string> name = text_at(item, "name");
    std::optional<uint64_t> size = number_at(item, "size");
    std::optional<std::string> crc = text_at(item, "crc32c");
    std::optional<std::string> base64 = text_at(item, "base64");
    if (!name || !size || !crc || !base64)
      return corrupt(fmt::format("entry in {} lacks a field", field));
    std::optional<std::string> bytes = base64_decode(*base64);
    if (!bytes || bytes->size() != *size ||
        fmt::format("{:08x}", crc32c(as_bytes(*bytes))) != *crc) {
      return corrupt(fmt::format("{} \"{}\" does not match its size and CRC", field, *name));
    }
    blobs.push_back({std::move(*name), std::move(*bytes)});
  }
  return blobs;
}

}  // namespace

std::string manifest_key(ManifestId id) {
  return fmt::format("manifest/{:016x}-{:016x}.json", id.generation, id.sequence);
}

std::optional<ManifestId> parse_manifest_key(std::string_view key) {
  constexpr std::string_view kFolder = "manifest/";
  constexpr std::string_view kEnd = ".json";
  if (!key.starts_with(kFolder) || !key.ends_with(kEnd)) return std::nullopt;
  key = key.substr(kFolder.size(), key.size() - kFolder.size() - kEnd.size());
  if (key.size() != 33 || key[16] != '-') return std::nullopt;
  std::optional<uint64_t> generation = parse_hex(key.substr(0, 16), 16);
  std::optional<uint64_t> sequence = parse_hex(key.substr(17), 16);
  if (!generation || !sequence) return std::nullopt;
  return ManifestId{*generation, *sequence};
}

std::string page_key(const std::string& file_name, const std::string& session,
                     uint64_t generation) {
  size_t dot = std::min(file_name.rfind('.'), file_name.size());
  return fmt::format("pages/{}-{}-g{:016x}{}", file_name.substr(0, dot), session, generation,
                     file_name.substr(dot));
}

std::optional<uint64_t> generation_of_page_key(std::string_view key) {
  if (!key.starts_with("pages/")) return std::nullopt;
  key = key.substr(0, key.rfind('.'));
  size_t mark = key.rfind("-g");
  if (mark == std::string_view::npos) return std::nullopt;
  return parse_hex(key.substr(mark + 2), 16);
}

std::string encode(const ProjectManifest& manifest) {
  Json body = {{"format", kFormatVersion},
               {"generation", manifest.id.generation},
               {"sequence", manifest.id.sequence},
               {"lineage", manifest.lineage},
               {"files", Json::array()},
               {"small_files", encode_blobs(manifest.small_files)},
               {"blobs", encode_blobs(manifest.blobs)}};
  for (const RemoteFile& file : manifest.files) {
    body["files"].push_back({{"name", file.name},
                             {"key", file.key},
                             {"size", file.size},
                             {"crc32c", fmt::format("{:08x}", file.crc32c)}});
  }
  std::string text = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return fmt::format("{}{:08x}{}{}}}", kHead, crc32c(as_bytes(text)), kMiddle, text);
}

Result<ProjectManifest> decode_manifest(std::string_view text) {
  // The frame is fixed, so that the CRC covers the body's bytes as they were written.
  if (text.size() < kBodyAt + 1 || !text.starts_with(kHead) ||
      text.substr(kHead.size() + 8, kMiddle.size()) != kMiddle || text.back() != '}') {
    return corrupt("not framed as one");
  }
  std::string_view body_text = text.substr(kBodyAt, text.size() - kBodyAt - 1);
  if (parse_hex(text.substr(kHead.size(), 8), 8) != crc32c(as_bytes(body_text)))
    return corrupt("CRC does not match");
  Json body = Json::parse(body_text, nullptr, false);
  if (!body.is_object()) return corrupt("not a JSON object");
  std::optional<uint64_t> format = number_at(body, "format");
  if (!format) return corrupt("no format version");
  if (*format != kFormatVersion) {
    return Status(Code::kInvalid,
                  fmt::format("project manifest has format version {}, this program knows {}",
                              *format, kFormatVersion))
        .with_hint("Use the version of tide that wrote it, or a newer one.");
  }
  std::optional<uint64_t> generation = number_at(body, "generation");
  std::optional<uint64_t> sequence = number_at(body, "sequence");
  std::optional<std::string> lineage = text_at(body, "lineage");
  auto files = body.find("files");
  if (!generation || !sequence || !lineage || files == body.end() || !files->is_array())
    return corrupt("lacks a field");
  ProjectManifest manifest;
  manifest.id = {*generation, *sequence};
  manifest.lineage = std::move(*lineage);
  std::set<std::string> names;
  for (const Json& item : *files) {
    if (!item.is_object()) return corrupt("bad entry in files");
    std::optional<std::string> name = text_at(item, "name");
    std::optional<std::string> key = text_at(item, "key");
    std::optional<uint64_t> size = number_at(item, "size");
    std::optional<std::string> crc = text_at(item, "crc32c");
    std::optional<uint64_t> crc_value = crc ? parse_hex(*crc, 8) : std::nullopt;
    if (!name || !key || !size || !crc_value || !is_file_name(*name) ||
        !names.insert(*name).second) {
      return corrupt("bad entry in files");
    }
    TIDE_TRY(objectstore::check_key(*key));
    manifest.files.push_back(
        {std::move(*name), std::move(*key), *size, static_cast<uint32_t>(*crc_value)});
  }
  manifest.small_files = TIDE_TRY(decode_blobs(body, "small_files"));
  for (const Blob& file : manifest.small_files) {
    if (!is_file_name(file.name) || !names.insert(file.name).second)
      return corrupt("bad name in small_files");
  }
  manifest.blobs = TIDE_TRY(decode_blobs(body, "blobs"));
  return manifest;
}

}  // namespace tide::pagestore
