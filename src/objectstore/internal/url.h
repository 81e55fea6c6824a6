#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace tide::objectstore::internal {

/// The parts of a store's URL, percent-decoded; see `objectstore::open`.
struct StoreUrl {
  std::string scheme;  ///< "file" or "s3".
  std::string path;    ///< file: the absolute directory.
  std::string bucket;  ///< s3 only, as are all below.
  std::string prefix;  ///< Without slashes at its ends; may be empty.
  std::string endpoint;
  std::string region;
  bool conditional_put = true;
};

Result<StoreUrl> parse_url(std::string_view url);

/// Percent-encoding as SigV4 wants it: all but A-Z a-z 0-9 - . _ ~ (and '/', if kept) become %XX.
std::string uri_encode(std::string_view text, bool keep_slash);
/// Undoes percent-encoding; `plus_is_space` also turns '+' into a space. kInvalid for a bad %XX.
Result<std::string> uri_decode(std::string_view text, bool plus_is_space);

}  // namespace tide::objectstore::internal
