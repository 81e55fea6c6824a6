#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "delta/table_writer.h"
#include "deltalog/deletion_vector.h"
#include "deltalog/path.h"

namespace tide::delta {
namespace {

/// Names inside the table's root that an action refers to.
class References {
 public:
  explicit References(std::string root) : root_(std::move(root) + "/") {}

  void add(const std::string& path,
           const std::optional<deltalog::DeletionVectorDescriptor>& deletion_vector) {
    insert(deltalog::file_name(path));
    if (!deletion_vector) return;
    Result<deltalog::DeletionVectorPlace> place = deltalog::place_of(*deletion_vector);
    if (place.ok() && !place->file.empty()) insert(place->file);
  }
  bool contains(const std::string& name) const { return names_.contains(name); }

 private:
  void insert(std::string name) {
    // An absolute path into our own root is one of its names too.
    if (name.starts_with(root_)) name.erase(0, root_.size());
    names_.insert(std::move(name));
  }

  std::string root_;
  std::set<std::string> names_;
};

/// Hidden from readers, so never a data file: what begins with '_' or '.', in any folder. Folders
/// of partitions by a column whose name begins so ("_c=1") and change data are data.
bool is_hidden(const std::string& name) {
  size_t begin = 0;
  while (begin < name.size()) {
    size_t end = std::min(name.find('/', begin), name.size());
    std::string_view part = std::string_view(name).substr(begin, end - begin);
    bool folder = end < name.size();
    bool data = folder && (part == "_change_data" || part.find('=') != std::string_view::npos);
    if (!data && (part.starts_with('_') || part.starts_with('.'))) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

Result<TableWriter::Vacuumed> TableWriter::vacuum(int64_t now_ms, const VacuumOptions& options) {
  // What others committed may name files that we do not know yet.
  TIDE_TRY(refresh());
  int64_t oldest = now_ms - deleted_file_retention_ms();
  References needed(TIDE_TRY(directory_.local_path("")));
  References expired(TIDE_TRY(directory_.local_path("")));
  for (const auto& [key, add] : state_.files()) needed.add(add.path, add.deletion_vector);
  for (const auto& [key, remove] : state_.tombstones()) {
    bool old = remove.deletion_timestamp.value_or(0) < oldest;
    (old ? expired : needed).add(remove.path, remove.deletion_vector);
  }
  Vacuumed vacuumed;
  for (const TableDirectory::Entry& entry : TIDE_TRY(directory_.list("", true))) {
    if (is_hidden(entry.name) || needed.contains(entry.name)) continue;
    bool old = entry.modified_ms ? *entry.modified_ms < oldest : expired.contains(entry.name);
    if (!old || (options.in_use && options.in_use(entry.name))) continue;
    if (!options.dry_run) TIDE_TRY(directory_.remove(entry.name));
    vacuumed.files.push_back(entry.name);
    vacuumed.bytes += entry.size;
  }
  return vacuumed;
}

}  // namespace tide::delta
