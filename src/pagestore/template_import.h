#pragma once

#include <string>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pagestore/page_store.h"

namespace tide::pagestore {

struct ImportedTemplate {
  uint64_t system_id = 0;
  Lsn lsn;  ///< every imported page is valid from here on
};

/// Makes timeline 1 out of a cluster that initdb made and that was shut down cleanly, under a new
/// system identifier, durably. Doing it again after a crash starts over; kExists once timeline 1
/// exists.
Result<ImportedTemplate> import_template(PageStore& store, const std::string& cluster_directory);

}  // namespace tide::pagestore
