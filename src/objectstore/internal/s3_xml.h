#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "objectstore/object_store.h"

namespace tide::objectstore::internal {

/// The small part of XML in which S3 answers: elements with text, attributes skipped, no mixed
/// content. Character references and the five named entities are resolved; anything else is
/// kCorrupt.

/// One page of ListObjectsV2.
struct ListPage {
  std::vector<ObjectInfo> objects;
  std::optional<std::string> next_token;  ///< Present if there are more pages.
};
Result<ListPage> parse_list_page(std::string_view xml);

/// <Error><Code>..</Code><Message>..</Message></Error>; empty fields if the body is not that.
struct S3Error {
  std::string code;
  std::string message;
};
S3Error parse_error(std::string_view xml);

/// Text of the first element with that name, at any depth; kCorrupt if there is none.
Result<std::string> parse_element(std::string_view xml, std::string_view name);

std::string escape_text(std::string_view text);

}  // namespace tide::objectstore::internal
