#include "mirror/row_reader.h"

#include "pgtypes/text.h"

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
    slot.text_of = target.text_of;
    reader->slots_.push_back(std::move(slot));
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i].text_of < 0) continue;
    reader->slots_.at(static_cast<size_t>(targets[i].text_of)).text_slot = static_cast<int>(i);
  }
  return reader;
}

Status RowReader::append(const pgformat::HeapTuple& tuple, const FetchToasted& fetch,
                         columns::Batch& batch) {
  TIDE_TRY(
      reader_.read({tuple.infomask2, tuple.infomask, tuple.hoff, as_chars(tuple.body)}, values_));
  homeless_.clear();
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    slot.diverted = false;
    if (slot.text_of >= 0) continue;
    columns::Column& column = batch.columns[i];
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
    if (TIDE_TRY(slot.writer->append(datum, column)) == pgtypes::Appended::kStored) continue;
    if (slot.text_slot < 0) {
      homeless_.push_back(i);
      continue;
    }
    slot.diverted = true;
    slot.text.clear();
    TIDE_TRY(pgtypes::append_text(slot.writer->type(), datum, {}, slot.text));
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].text_of < 0) continue;
    const Slot& of = slots_[static_cast<size_t>(slots_[i].text_of)];
    if (of.diverted) {
      batch.columns[i].append_bytes(of.text);
    } else {
      batch.columns[i].append_null();
    }
  }
  return {};
}

}  // namespace tide::mirror
