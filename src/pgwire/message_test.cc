#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "pgwire/backend.h"
#include "pgwire/frontend.h"

namespace tide::pgwire {
namespace {

using testing::ElementsAre;

TEST(MessageDecoder, CutsAStreamHoweverItArrives) {
  std::string stream;
  append_query(stream, "SELECT 1");
  append_empty(stream, 'S');
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    MessageDecoder decoder(1000);
    std::vector<Message> messages;
    for (size_t at = 0; at < stream.size(); at += piece) {
      decoder.feed(std::string_view(stream).substr(at, piece));
      while (true) {
        auto next = decoder.next();
        ASSERT_TRUE(next.ok());
        if (!*next) break;
        messages.push_back(**next);
      }
    }
    ASSERT_EQ(messages.size(), 2U);
    EXPECT_EQ(*decode_query(messages[0]), "SELECT 1");
    EXPECT_EQ(messages[1].type, 'S');
    EXPECT_EQ(decoder.buffered(), 0U);
  }
}

TEST(MessageDecoder, RefusesImpossibleLengths) {
  for (uint32_t length : {0U, 3U, 1005U, 0xFFFFFFFFU}) {
    MessageDecoder decoder(1000);
    std::string bytes = "Q";
    append_int32(bytes, static_cast<int32_t>(length));
    decoder.feed(bytes);
    EXPECT_EQ(decoder.next().status().code(), Code::kCorrupt) << length;
  }
}

TEST(Startup, ReadsParameters) {
  std::string bytes;
  append_startup(bytes, {{"user", "ada"}, {"database", "app@dev.lake"}});
  StartupDecoder decoder;
  decoder.feed(std::string_view(bytes).substr(0, 9));
  EXPECT_FALSE(decoder.next()->has_value());
  decoder.feed(std::string_view(bytes).substr(9));
  auto packet = decoder.next();
  ASSERT_TRUE(packet.ok() && packet->has_value());
  EXPECT_EQ((*packet)->kind, StartupPacket::Kind::kStartup);
  EXPECT_EQ((*packet)->parameter("user"), "ada");
  EXPECT_EQ((*packet)->parameter("database"), "app@dev.lake");
  EXPECT_EQ((*packet)->parameter("none"), "");
}

TEST(Startup, KnowsTheOtherPackets) {
  std::string bytes;
  append_int32(bytes, 8);
  append_int32(bytes, 80877103);
  append_cancel_request(bytes, 42, -7);
  StartupDecoder decoder;
  decoder.feed(bytes);
  auto ssl = decoder.next();
  ASSERT_TRUE(ssl.ok() && ssl->has_value());
  EXPECT_EQ((*ssl)->kind, StartupPacket::Kind::kSslRequest);
  EXPECT_TRUE(decoder.has_rest());
  auto cancel = decoder.next();
  ASSERT_TRUE(cancel.ok() && cancel->has_value());
  EXPECT_EQ((*cancel)->kind, StartupPacket::Kind::kCancel);
  EXPECT_EQ((*cancel)->process, 42);
  EXPECT_EQ((*cancel)->secret, -7);
}

TEST(Startup, RefusesOldProtocolsAndNonsense) {
  std::string old;
  append_int32(old, 8);
  append_int32(old, 2 << 16);
  StartupDecoder decoder;
  decoder.feed(old);
  EXPECT_EQ(decoder.next().status().code(), Code::kInvalid);
  StartupDecoder http;
  http.feed("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(http.next().status().code(), Code::kCorrupt);
  std::string unterminated;
  append_int32(unterminated, 12);
  append_int32(unterminated, 3 << 16);
  unterminated += "user";
  StartupDecoder cut;
  cut.feed(unterminated);
  EXPECT_EQ(cut.next().status().code(), Code::kCorrupt);
}

TEST(Frontend, ReadsBind) {
  std::string bytes;
  {
    MessageWriter bind(bytes, 'B');
    bind.string("portal");
    bind.string("statement");
    bind.int16(1);
    bind.int16(1);
    bind.int16(2);
    bind.counted("abc");
    bind.int32(-1);
    bind.int16(0);
  }
  MessageDecoder decoder(1000);
  decoder.feed(bytes);
  auto bind = decode_bind(**decoder.next());
  ASSERT_TRUE(bind.ok()) << bind.status().to_string();
  EXPECT_EQ(bind->portal, "portal");
  EXPECT_EQ(bind->statement, "statement");
  EXPECT_THAT(bind->parameters, ElementsAre("abc", std::nullopt));
  EXPECT_EQ(BindMessage::format_of(bind->parameter_formats, 1), 1);
  EXPECT_EQ(BindMessage::format_of(bind->result_formats, 0), 0);
}

TEST(Backend, ErrorsKeepTheirFields) {
  ErrorFields fields;
  fields.code = "42P01";
  fields.message = "relation \"t\" does not exist";
  fields.detail = "d";
  fields.hint = "h";
  fields.position = 15;
  std::string bytes;
  append_error(bytes, fields);
  MessageDecoder decoder(1000);
  decoder.feed(bytes);
  ErrorFields read = decode_error(**decoder.next());
  EXPECT_EQ(read.severity, "ERROR");
  EXPECT_EQ(read.code, fields.code);
  EXPECT_EQ(read.message, fields.message);
  EXPECT_EQ(read.detail, "d");
  EXPECT_EQ(read.hint, "h");
  EXPECT_EQ(read.position, 15);
}

TEST(Backend, RowDescriptionsComeBack) {
  std::string bytes;
  append_row_description(bytes, {{.name = "id", .type = 23, .type_size = 4, .format = 1}});
  MessageDecoder decoder(1000);
  decoder.feed(bytes);
  auto fields = decode_row_description(**decoder.next());
  ASSERT_TRUE(fields.ok());
  ASSERT_EQ(fields->size(), 1U);
  EXPECT_EQ((*fields)[0].name, "id");
  EXPECT_EQ((*fields)[0].type, 23U);
  EXPECT_EQ((*fields)[0].format, 1);
}

/// Every decoder on bytes of any kind: an error or a value, never a crash or a hang.
TEST(Frontend, SurvivesRandomBytes) {
  std::mt19937 random(20261124);
  std::string valid;
  {
    MessageWriter bind(valid, 'B');
    bind.string("p");
    bind.string("s");
    bind.int16(2);
    bind.int16(0);
    bind.int16(1);
    bind.int16(2);
    bind.counted("12345");
    bind.counted("");
    bind.int16(1);
    bind.int16(1);
  }
  valid = valid.substr(5);
  for (int round = 0; round < 200'000; ++round) {
    Message message;
    message.type = 'B';
    if (round % 2 == 0) {
      message.body = valid;
      for (int i = 0; i < 3; ++i) {
        message.body[random() % message.body.size()] = static_cast<char>(random());
      }
      message.body.resize(random() % (message.body.size() + 1));
    } else {
      message.body.resize(random() % 40);
      for (char& c : message.body) c = static_cast<char>(random() % 4 == 0 ? 0 : random());
    }
    decode_bind(message).status().ignore("any outcome will do");
    decode_parse(message).status().ignore("any outcome will do");
    decode_query(message).status().ignore("any outcome will do");
    decode_named(message).status().ignore("any outcome will do");
    decode_execute(message).status().ignore("any outcome will do");
    decode_sasl_initial(message).status().ignore("any outcome will do");
    decode_row_description(message).status().ignore("any outcome will do");
    decode_data_row(message).status().ignore("any outcome will do");
    decode_error(message);
    StartupDecoder startup;
    startup.feed(message.body);
    startup.next().status().ignore("any outcome will do");
    MessageDecoder decoder(100);
    decoder.feed(message.body);
    decoder.next().status().ignore("any outcome will do");
  }
}

}  // namespace
}  // namespace tide::pgwire
