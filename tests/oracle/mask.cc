// What of a page WAL does not decide, taken away from both of two pages: for the page oracle, by ctypes.

#include <cstring>

#include "../redo/page_mask.cc"

extern "C" int tide_pages_differ(const char* kind, uint32_t block, std::byte* a, std::byte* b) {
  using namespace tide::redo_oracle;
  PageKind known;
  if (!parse_page_kind(kind, &known)) return -1;
  mask_page(known, block, a);
  mask_page(known, block, b);
  return std::memcmp(a, b, tide::kPageSize) != 0;
}
