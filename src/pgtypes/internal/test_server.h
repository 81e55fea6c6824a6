#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/page_tag.h"
#include "pgformat/internal/test_cluster.h"
#include "pgtypes/append.h"
#include "pgtypes/oids.h"
#include "pgtypes/text.h"
#include "pgtypes/tuple.h"
#include "pgtypes/type_catalog.h"
#include "pgtypes/varlena.h"

/// For tests only: a server whose tables we read from their files, and the catalog it describes.
namespace tide::pgtypes {

inline std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

inline std::string from_hex(std::string_view hex) {
  auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(digit(hex[i]) << 4 | digit(hex[i + 1]));
  }
  return bytes;
}

class ServerCatalog : public TypeCatalog {
 public:
  const TypeInfo* type(uint32_t oid) const override {
    auto found = types.find(oid);
    return found == types.end() ? nullptr : &found->second;
  }
  std::optional<std::string_view> enum_label(uint32_t oid) const override {
    auto found = labels.find(oid);
    if (found == labels.end()) return std::nullopt;
    return found->second;
  }
  const std::vector<Attribute>* attributes(uint32_t relation) const override {
    auto found = columns.find(relation);
    return found == columns.end() ? nullptr : &found->second;
  }
  std::optional<std::string> object_name(uint32_t reg, uint32_t oid) const override {
    auto found = names.find({reg, oid});
    if (found == names.end()) return std::nullopt;
    return found->second;
  }

  std::unordered_map<uint32_t, TypeInfo> types;
  std::unordered_map<uint32_t, std::string> labels;
  std::unordered_map<uint32_t, std::vector<Attribute>> columns;
  std::map<std::pair<uint32_t, uint32_t>, std::string> names;
};

/// One row as its file has it; external values assembled.
struct StoredRow {
  std::string ctid;
  std::string item;                                ///< the tuple's bytes
  std::vector<std::optional<std::string>> datums;  ///< by attribute
};

class TestServer {
 public:
  bool start() {
    return cluster_.init("") && cluster_.start() &&
           psql(
               "CREATE DATABASE judge ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' "
               "TEMPLATE template0",
               "postgres")
               .has_value();
  }

  std::string directory() const { return cluster_.root(); }
  std::string all_wal() const { return cluster_.all_wal(1); }
  /// A file in directory() that the server can read.
  void write_file(const std::string& name, const std::string& content) const {
    std::ofstream(directory() + "/" + name, std::ios::binary) << content;
  }

  /// Output of a script, columns separated by 0x1F, or nothing after an error (which is printed).
  std::optional<std::string> psql(const std::string& script,
                                  const std::string& database = "judge") {
    std::ofstream(cluster_.root() + "/script.sql")
        << "SET client_min_messages = error; SET datestyle = 'ISO'; SET timezone = 'UTC';\n"
           "SET extra_float_digits = 1; SET bytea_output = 'hex'; SET lc_monetary = 'C';\n"
           "SET intervalstyle = 'iso_8601'; SET xmloption = 'content';\n"
        << script;
    std::string text;
    if (pgformat::run_as_postgres("psql -XqAt -F \x1f -v ON_ERROR_STOP=1 -U postgres -h " +
                                      cluster_.root() + " -f " + cluster_.root() + "/script.sql " +
                                      database,
                                  &text) != 0) {
      fprintf(stderr, "%s\n", text.c_str());
      return std::nullopt;
    }
    return text;
  }

  using Rows = std::vector<std::vector<std::string>>;

  Rows rows(const std::string& query) { return rows_of({query})[0]; }

  /// Answers of several queries, from one session.
  std::vector<Rows> rows_of(const std::vector<std::string>& queries) {
    std::string script;
    for (const std::string& query : queries) script += query + "\n\\echo \x1e\n";
    std::optional<std::string> text = psql(script);
    EXPECT_TRUE(text);
    std::vector<Rows> answers(1);
    for (const std::string& line : split(text.value_or(""), '\n')) {
      if (line == "\x1e") {
        answers.emplace_back();
      } else if (!line.empty()) {
        answers.back().push_back(split(line, '\x1f'));
      }
    }
    answers.resize(queries.size());
    return answers;
  }

  /// What the server's catalogs say now; writes all tables to their files.
  void load_catalog(ServerCatalog& catalog) {
    catalog = {};
    relations_.clear();
    for (const auto& row : rows("CHECKPOINT; SELECT c.relname, c.oid, pg_relation_filepath(c.oid), "
                                "CASE t.oid WHEN 0 THEN '' ELSE pg_relation_filepath(t.oid) END "
                                "FROM pg_class c LEFT JOIN "
                                "pg_class t ON t.oid = c.reltoastrelid WHERE c.relnamespace = "
                                "'public'::regnamespace AND "
                                "c.relkind = 'r';")) {
      relations_[row[0]] = {static_cast<uint32_t>(std::stoul(row[1])), row[2], row[3]};
    }
    auto number = [](const std::string& text) { return static_cast<uint32_t>(std::stoul(text)); };
    for (const auto& row :
         rows("SELECT t.oid, typname, typnamespace::oid, typlen, typbyval, typalign, typtype, "
              "typcategory, typdelim, typrelid, typelem, typlen = -1 AND typelem <> 0 AND "
              "typsubscript = 'array_subscript_handler'::regproc, typbasetype, typtypmod, "
              "coalesce(r.rngsubtype, 0), coalesce(m.rngtypid, 0) FROM pg_type t LEFT JOIN "
              "pg_range r "
              "ON r.rngtypid = t.oid LEFT JOIN pg_range m ON m.rngmultitypid = t.oid;")) {
      TypeInfo type;
      type.oid = number(row[0]);
      type.name = row[1];
      type.schema = number(row[2]);
      type.length = static_cast<int16_t>(std::stoi(row[3]));
      type.by_value = row[4] == "t";
      type.align = row[5][0];
      type.kind = row[6][0];
      type.category = row[7][0];
      type.delimiter = row[8][0];
      type.relation = number(row[9]);
      type.element = number(row[10]);
      type.is_array = row[11] == "t";
      type.base_type = number(row[12]);
      type.base_typmod = std::stoi(row[13]);
      type.range_subtype = number(row[14]);
      type.range_of_multirange = number(row[15]);
      catalog.types[type.oid] = type;
      if (type.relation != 0) catalog.columns[type.relation];
    }
    for (const auto& row : rows("SELECT oid, enumlabel FROM pg_enum;")) {
      catalog.labels[number(row[0])] = row[1];
    }
    for (const auto& row :
         rows("SELECT attrelid, attname, attnum, atttypid, atttypmod, attlen, attbyval, attalign, "
              "attnotnull, attisdropped FROM pg_attribute WHERE attnum > 0 ORDER BY attrelid, "
              "attnum;")) {
      Attribute attribute;
      attribute.name = row[1];
      attribute.number = static_cast<int16_t>(std::stoi(row[2]));
      attribute.type = number(row[3]);
      attribute.typmod = std::stoi(row[4]);
      attribute.length = static_cast<int16_t>(std::stoi(row[5]));
      attribute.by_value = row[6] == "t";
      attribute.align = row[7][0];
      attribute.not_null = row[8] == "t";
      attribute.dropped = row[9] == "t";
      catalog.columns[number(row[0])].push_back(attribute);
    }
    const std::pair<const char*, const char*> sources[] = {
        {"regproc", "pg_proc"},           {"regprocedure", "pg_proc"},
        {"regoper", "pg_operator"},       {"regoperator", "pg_operator"},
        {"regclass", "pg_class"},         {"regtype", "pg_type"},
        {"regrole", "pg_authid"},         {"regnamespace", "pg_namespace"},
        {"regconfig", "pg_ts_config"},    {"regdictionary", "pg_ts_dict"},
        {"regcollation", "pg_collation"},
    };
    for (const auto& [reg, table] : sources) {
      for (const auto& row :
           rows(fmt::format("SELECT '{0}'::regtype::oid, oid, oid::{0} FROM {1};", reg, table))) {
        catalog.names[{number(row[0]), number(row[1])}] = row[2];
      }
    }
  }

  /// Of a table that load_catalog() saw.
  uint32_t relation_oid(const std::string& table) const { return relations_.at(table).oid; }

  /// Every tuple in the file (below 1 GiB) of a table as it was when load_catalog() ran.
  std::vector<StoredRow> stored_rows(const std::string& table, const ServerCatalog& catalog) {
    const Relation& relation = relations_.at(table);
    std::map<uint32_t, std::vector<std::string>> chunks;
    if (!relation.toast_path.empty()) {
      std::vector<Attribute> columns(3);
      columns[0].length = 4;
      columns[1].length = 4;
      columns[2].length = -1;
      for_each_tuple(
          file_at(relation.toast_path), columns,
          [&](const std::string&, std::string_view, std::vector<AttributeValue>& values) {
            auto& parts = chunks[load<uint32_t>(values[0].datum.data())];
            auto sequence = load<uint32_t>(values[1].datum.data());
            if (parts.size() <= sequence) parts.resize(sequence + 1);
            std::string scratch;
            parts[sequence] = inline_payload(values[2].datum, scratch).value();
          });
    }
    std::vector<StoredRow> result;
    for_each_tuple(
        file_at(relation.path), *catalog.attributes(relation.oid),
        [&](const std::string& ctid, std::string_view item, std::vector<AttributeValue>& values) {
          StoredRow row;
          row.ctid = ctid;
          row.item = item;
          for (const AttributeValue& value : values) {
            if (value.null) {
              row.datums.emplace_back();
            } else if (is_external(value.datum)) {
              ToastPointer pointer = toast_pointer(value.datum).value();
              std::vector<std::string_view> parts(chunks[pointer.value_id].begin(),
                                                  chunks[pointer.value_id].end());
              row.datums.emplace_back(assemble_external(pointer, parts).value());
              ++external_values;
            } else {
              if (value.datum.size() > 8 && (value.datum[0] & 3) == 2) ++compressed_values;
              row.datums.emplace_back(std::string(value.datum));
            }
          }
          result.push_back(std::move(row));
        });
    return result;
  }

  size_t external_values = 0;
  size_t compressed_values = 0;  ///< and short ones that look so: only whether there are any counts

 private:
  template <typename Visit>
  static void for_each_tuple(const std::string& file, const std::vector<Attribute>& attributes,
                             Visit visit) {
    TupleReader reader(attributes);
    std::vector<AttributeValue> values;
    for (size_t block = 0; (block + 1) * kPageSize <= file.size(); ++block) {
      std::string_view page = std::string_view(file).substr(block * kPageSize, kPageSize);
      for (uint16_t number = 1; number <= line_pointer_count(page); ++number) {
        auto item = page_item(page, number);
        if (!item.ok()) continue;
        auto tuple = TupleView::from_page_item(*item);
        ASSERT_TRUE(tuple.ok());
        Status read = reader.read(*tuple, values);
        ASSERT_TRUE(read.ok()) << read.to_string();
        visit(fmt::format("({},{})", block, number), *item, values);
      }
    }
  }

  struct Relation {
    uint32_t oid;
    std::string path;
    std::string toast_path;
  };

  std::string file_at(const std::string& path) const {
    return pgformat::read_whole_file(cluster_.data() + "/" + path);
  }

  pgformat::TestCluster cluster_;
  std::map<std::string, Relation> relations_;
};

}  // namespace tide::pgtypes
