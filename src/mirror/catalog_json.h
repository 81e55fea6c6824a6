#pragma once

#include <string>

#include "mirror/database_mirror.h"
#include "mirror/timeline_mirror.h"

namespace tide::mirror {

/// {"tables": [...]} of the lake service (docs/formats/lake-service.md): every table of the lake
/// with its columns and who may read it, partitions and what is not mirrored included.
std::string catalog_json(const TimelineMirror& timeline, const DatabaseMirror& database);

}  // namespace tide::mirror
