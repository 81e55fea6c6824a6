#include "mirror/row_reader.h"

namespace tide::mirror {

Result<std::unique_ptr<RowReader>> RowReader::make(
    const pgtypes::TypeCatalog& catalog, const std::vector<pgtypes::Attribute>& attributes,
    const std::vector<Target>& targets) {
  std::unique_ptr<RowReader> reader(new RowReader());
  reader->reader_ = pgtypes::TupleReader(attributes);
  for (const Target& target : targets) {
    Slot slot;
    for (size_t i = 0; i < attributes.size(); ++i) {
      if (target.number == 0 || attributes[i].number != target.number) continue;
      slot.attribute = static_cast<int>(i);
      slot.is_varlena = attributes[i].length == -1;
      slot.writer =
          TIDE_TRY(pgtypes::ValueWriter::create(catalog, attributes[i].type, attributes[i].typmod));
    }
    reader->slots_.push_back(std::move(slot));
  }
  return reader;
}

Status RowReader::append(const pgformat::HeapTuple& tuple, const FetchToasted& fetch,
                         columns::Batch& batch) {
  TIDE_TRY(
      reader_.read({tuple.infomask2, tuple.infomask, tuple.hoff, as_chars(tuple.body)}, values_));
  for (size_t i = 0; i < slots_.size(); ++i) {
    columns::Column& column = batch.columns[i];
    Slot& slot = slots_[i];
    if (slot.attribute < 0 || values_[static_cast<size_t>(slot.attribute)].null) {
      column.append_null();
      continue;
    }
    std::string_view datum = values_[static_cast<size_t>(slot.attribute)].datum;
    std::string fetched;
    if (slot.is_varlena && pgtypes::is_external(datum)) {
      fetched = TIDE_TRY(fetch(TIDE_TRY(pgtypes::toast_pointer(datum))));
      datum = fetched;
    }
    if (TIDE_TRY(slot.writer->append(datum, column)) == pgtypes::Appended::kDiverted) ++diverted_;
  }
  return {};
}

}  // namespace tide::mirror
