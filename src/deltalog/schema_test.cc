#include "deltalog/schema.h"

#include <gtest/gtest.h>

#include "deltalog/protocol.h"

namespace tide::deltalog {
namespace {

constexpr char kSchema[] = R"json({"type":"struct","fields":[
  {"name":"a","type":"long","nullable":false,"metadata":
    {"delta.columnMapping.id":1,"delta.columnMapping.physicalName":"col-a","comment":"x"}},
  {"name":"b","type":"decimal(10,2)","nullable":true,"metadata":{}},
  {"name":"m","type":{"type":"map","keyType":"string","valueType":
    {"type":"array","elementType":"byte","containsNull":false},"valueContainsNull":true},
   "nullable":true,"metadata":{}},
  {"name":"s","type":{"type":"struct","fields":
    [{"name":"x","type":"timestamp_ntz","nullable":true,"metadata":{}}]},
   "nullable":true,"metadata":{}},
  {"name":"v","type":"variant","nullable":true,"metadata":{}},
  {"name":"n","type":"void","nullable":true,"metadata":{}},
  {"name":"g","type":"geometry(OGC:CRS84)","nullable":true,"metadata":{}}]})json";

TEST(Schema, SurvivesItsJson) {
  Result<Schema> schema = parse_schema(kSchema);
  ASSERT_TRUE(schema.ok()) << schema.status().to_string();
  ASSERT_EQ(schema->fields.size(), 7U);
  EXPECT_EQ(schema->fields[0].column_id, 1);
  EXPECT_EQ(physical_name(schema->fields[0]), "col-a");
  EXPECT_EQ(schema->fields[0].metadata, R"({"comment":"x"})");
  EXPECT_EQ(to_string(schema->fields[2].type), "map<string,array<byte>>");
  EXPECT_EQ(schema->find("A"), &schema->fields[0]);
  Result<Schema> back = parse_schema(write_schema(*schema));
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(*back == *schema);
}

TEST(Schema, TypesWithoutAFormAreCarriedAndRefused) {
  Schema schema = *parse_schema(kSchema);
  EXPECT_EQ(check_readable(schema).code(), Code::kInvalid);
  EXPECT_NE(check_readable(schema).message().find("\"v\" has type variant"), std::string::npos);
  EXPECT_EQ(unreadable_part(schema.fields[6].type), "geometry(OGC:CRS84)");
  EXPECT_FALSE(unreadable_part(schema.fields[5].type));
  EXPECT_EQ(to_columns(schema.fields[2].type).status().code(), Code::kInvalid);
  EXPECT_EQ(*duckdb_type(schema.fields[2].type, Names::kLogical), "MAP(VARCHAR, TINYINT[])");
  EXPECT_EQ(*duckdb_type(schema.fields[3].type, Names::kLogical), "STRUCT(\"x\" TIMESTAMP)");
}

TEST(Schema, WhatIsNoSchemaIsCorrupt) {
  for (const char* bad :
       {"", "1", "{}", R"({"type":"array"})", R"({"type":"struct"})",
        R"({"type":"struct","fields":[{"name":"a"}]})",
        R"({"type":"struct","fields":[{"name":"a","type":{"type":"array"}}]})",
        R"({"type":"struct","fields":[{"name":"a","type":{"type":"map","keyType":"long"}}]})"}) {
    EXPECT_EQ(parse_schema(bad).status().code(), Code::kCorrupt) << bad;
  }
  std::string deep = R"("long")";
  for (int i = 0; i < 5000; ++i) deep = R"({"type":"array","elementType":)" + deep + "}";
  EXPECT_EQ(parse_type(deep).status().code(), Code::kCorrupt);
}

TEST(Schema, ColumnMappingGivesEveryFieldAnIdOnce) {
  Schema schema = from_columns({{"id", columns::Kind::kInt64},
                                {"s", columns::Type::structure({{"x", columns::Kind::kString}})},
                                {"l", columns::Type::list(columns::Kind::kDate)}});
  schema.fields[2].column_id = 7;
  int32_t max = 0;
  assign_column_mapping(schema, max);
  EXPECT_EQ(max, 10);
  EXPECT_EQ(schema.fields[0].column_id, 8);
  EXPECT_EQ(schema.fields[1].type.children[0].physical_name, "x");
  Schema again = schema;
  assign_column_mapping(again, max);
  EXPECT_TRUE(again == schema);
  EXPECT_EQ(to_columns(schema)->at(1).type,
            columns::Type::structure({{"x", columns::Kind::kString}}));
}

TEST(Protocol, ReadersRefuseByName) {
  Protocol protocol{3, 7, {{"deletionVectors", "catalogManaged", "unheardOf"}}, {{}}};
  Status status = check_readable(protocol);
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("catalogManaged, unheardOf"), std::string::npos);
  EXPECT_TRUE(check_readable(Protocol{2, 5}).ok());
  EXPECT_TRUE(reader_has(Protocol{2, 5}, "columnMapping"));
  EXPECT_FALSE(reader_has(Protocol{1, 5}, "columnMapping"));
  EXPECT_TRUE(writer_has(Protocol{1, 4}, "changeDataFeed"));
  EXPECT_FALSE(check_readable(Protocol{99, 7}).ok());
  EXPECT_FALSE(check_readable(Protocol{1, 7, {{"deletionVectors"}}, {{}}}).ok());
  EXPECT_FALSE(check_readable(Protocol{3, 7}).ok());
}

TEST(Protocol, WritersRefusePromisesTheyDoNotKeep) {
  Schema schema = from_columns({{"id", columns::Kind::kInt64}});
  Metadata metadata;
  EXPECT_TRUE(check_writable(lake_protocol(schema), metadata, schema).ok());
  EXPECT_TRUE(check_writable(Protocol{1, 6}, metadata, schema).ok());
  EXPECT_FALSE(check_writable(Protocol{1, 7, {}, {{"rowTracking"}}}, metadata, schema).ok());
  metadata.configuration["delta.constraints.positive"] = "id > 0";
  EXPECT_FALSE(check_writable(Protocol{1, 3}, metadata, schema).ok());
  metadata.configuration.clear();
  schema.fields[0].metadata = R"({"delta.invariants":"..."})";
  EXPECT_FALSE(check_writable(Protocol{1, 2}, metadata, schema).ok());
}

TEST(Protocol, LakeTablesNameTimestampNtzOnlyWhenNeeded) {
  Schema without = from_columns({{"id", columns::Kind::kInt64}});
  Schema with = from_columns({{"t", columns::Type::list(columns::Kind::kTimestampNtz)}});
  EXPECT_FALSE(reader_has(lake_protocol(without), "timestampNtz"));
  EXPECT_TRUE(reader_has(lake_protocol(with), "timestampNtz"));
  std::optional<Protocol> wider = protocol_for_schema(lake_protocol(without), with);
  ASSERT_TRUE(wider);
  EXPECT_TRUE(reader_has(*wider, "timestampNtz") && writer_has(*wider, "timestampNtz"));
  EXPECT_FALSE(protocol_for_schema(*wider, with));
}

TEST(Protocol, IntervalsAreRead) {
  Metadata metadata;
  EXPECT_EQ(interval_ms(metadata, "k", 5), 5);
  metadata.configuration["k"] = "interval 1 week 2 hours";
  EXPECT_EQ(interval_ms(metadata, "k", 5), (7 * 24 + 2) * 3'600'000);
  metadata.configuration["k"] = "interval 1 month";
  EXPECT_EQ(interval_ms(metadata, "k", 5), 5);
}

}  // namespace
}  // namespace tide::deltalog
