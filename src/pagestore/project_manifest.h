#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pagestore/remote_files.h"

namespace tide::pagestore {

/// A small named byte string that travels inside a manifest.
struct Blob {
  std::string name;
  std::string bytes;
  friend bool operator==(const Blob&, const Blob&) = default;
};

/// Place of a manifest in a project's history: later generations first, then later uploads.
struct ManifestId {
  uint64_t generation = 0;
  uint64_t sequence = 0;
  friend constexpr auto operator<=>(const ManifestId&, const ManifestId&) = default;
};

/// A manifest with this sequence only claims its generation; it holds no state.
inline constexpr uint64_t kClaimSequence = 0;

/// "manifest/0000000000000002-000000000000000a.json"
std::string manifest_key(ManifestId id);
std::optional<ManifestId> parse_manifest_key(std::string_view key);

/// "pages/000123-SESSION-g0000000000000002.sst" for file 000123.sst.
std::string page_key(const std::string& file_name, const std::string& session, uint64_t generation);
std::optional<uint64_t> generation_of_page_key(std::string_view key);

/// One complete state of a project in the object store: the format docs/formats/object-layout.md
/// calls project manifest, version 1.
struct ProjectManifest {
  ManifestId id;
  /// Random text that names the database directory which the files come from: two directories that
  /// went apart never share it, so nobody takes the other's files for its own.
  std::string lineage;
  std::vector<RemoteFile> files;  ///< Table and blob files, each an object of its own.
  std::vector<Blob> small_files;  ///< CURRENT, MANIFEST-n, OPTIONS-n and, if any, logs.
  std::vector<Blob> blobs;        ///< The caller's.
};

std::string encode(const ProjectManifest& manifest);
/// kCorrupt unless the text is whole (CRC over everything) and every field makes sense.
Result<ProjectManifest> decode_manifest(std::string_view text);

}  // namespace tide::pagestore
