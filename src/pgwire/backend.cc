#include "pgwire/backend.h"

#include <fmt/format.h>

#include <charconv>

namespace tide::pgwire {

namespace {

void append_report(std::string& out, char type, const ErrorFields& fields) {
  MessageWriter message(out, type);
  auto field = [&message](char code, std::string_view value) {
    if (value.empty()) return;
    message.byte(code);
    message.string(value);
  };
  field('S', fields.severity);
  field('V', fields.severity);
  field('C', fields.code);
  // Every report has a message, be it empty.
  message.byte('M');
  message.string(fields.message);
  field('D', fields.detail);
  field('H', fields.hint);
  if (fields.position > 0) field('P', fmt::format("{}", fields.position));
  field('W', fields.where);
  message.byte('\0');
}

}  // namespace

void append_error(std::string& out, const ErrorFields& fields) { append_report(out, 'E', fields); }
void append_notice(std::string& out, const ErrorFields& fields) { append_report(out, 'N', fields); }

ErrorFields decode_error(const Message& message) {
  ErrorFields fields;
  fields.severity.clear();
  fields.code.clear();
  BodyReader reader(message.body);
  while (true) {
    char code = static_cast<char>(reader.byte());
    if (code == '\0' || reader.failed()) break;
    std::string_view value = reader.string();
    switch (code) {
      case 'S':
        fields.severity = value;
        break;
      case 'C':
        fields.code = value;
        break;
      case 'M':
        fields.message = value;
        break;
      case 'D':
        fields.detail = value;
        break;
      case 'H':
        fields.hint = value;
        break;
      case 'W':
        fields.where = value;
        break;
      case 'P':
        std::from_chars(value.data(), value.data() + value.size(), fields.position);
        break;
      default:
        break;
    }
  }
  return fields;
}

void append_authentication_ok(std::string& out) { MessageWriter(out, 'R').int32(0); }

void append_authentication_sasl(std::string& out, const std::vector<std::string>& mechanisms) {
  MessageWriter message(out, 'R');
  message.int32(10);
  for (const std::string& mechanism : mechanisms) message.string(mechanism);
  message.byte('\0');
}

void append_authentication_sasl_continue(std::string& out, std::string_view data) {
  MessageWriter message(out, 'R');
  message.int32(11);
  message.bytes(data);
}

void append_authentication_sasl_final(std::string& out, std::string_view data) {
  MessageWriter message(out, 'R');
  message.int32(12);
  message.bytes(data);
}

void append_negotiate_version(std::string& out, int minor,
                              const std::vector<std::string>& unknown) {
  MessageWriter message(out, 'v');
  message.int32(minor);
  message.int32(static_cast<int32_t>(unknown.size()));
  for (const std::string& option : unknown) message.string(option);
}

void append_parameter_status(std::string& out, std::string_view name, std::string_view value) {
  MessageWriter message(out, 'S');
  message.string(name);
  message.string(value);
}

void append_backend_key(std::string& out, int32_t process, int32_t secret) {
  MessageWriter message(out, 'K');
  message.int32(process);
  message.int32(secret);
}

void append_ready(std::string& out, char transaction) { MessageWriter(out, 'Z').byte(transaction); }

void append_row_description(std::string& out, const std::vector<FieldDescription>& fields) {
  MessageWriter message(out, 'T');
  message.int16(static_cast<int>(fields.size()));
  for (const FieldDescription& field : fields) {
    message.string(field.name);
    message.int32(static_cast<int32_t>(field.table));
    message.int16(field.column);
    message.int32(static_cast<int32_t>(field.type));
    message.int16(field.type_size);
    message.int32(field.type_modifier);
    message.int16(field.format);
  }
}

Result<std::vector<FieldDescription>> decode_row_description(const Message& message) {
  BodyReader reader(message.body);
  std::vector<FieldDescription> fields;
  int count = reader.int16();
  for (int i = 0; i < count && !reader.failed(); ++i) {
    FieldDescription field;
    field.name = reader.string();
    field.table = static_cast<uint32_t>(reader.int32());
    field.column = reader.int16();
    field.type = static_cast<uint32_t>(reader.int32());
    field.type_size = reader.int16();
    field.type_modifier = reader.int32();
    field.format = reader.int16();
    fields.push_back(std::move(field));
  }
  TIDE_TRY(reader.finish("RowDescription"));
  return fields;
}

void append_parameter_description(std::string& out, const std::vector<uint32_t>& types) {
  MessageWriter message(out, 't');
  message.int16(static_cast<int>(types.size()));
  for (uint32_t type : types) message.int32(static_cast<int32_t>(type));
}

void append_command_complete(std::string& out, std::string_view tag) {
  MessageWriter(out, 'C').string(tag);
}

void append_copy_out(std::string& out, size_t columns, int format) {
  MessageWriter message(out, 'H');
  message.byte(static_cast<char>(format));
  message.int16(static_cast<int>(columns));
  for (size_t i = 0; i < columns; ++i) message.int16(format);
}

void append_copy_data(std::string& out, std::string_view data) {
  MessageWriter(out, 'd').bytes(data);
}

void append_simple(std::string& out, char type) { MessageWriter(out, type); }

Result<std::vector<std::optional<std::string>>> decode_data_row(const Message& message) {
  BodyReader reader(message.body);
  std::vector<std::optional<std::string>> values;
  int count = reader.int16();
  for (int i = 0; i < count && !reader.failed(); ++i) {
    int32_t size = reader.int32();
    if (size < 0) {
      values.emplace_back(std::nullopt);
    } else {
      values.emplace_back(std::string(reader.take(static_cast<size_t>(size))));
    }
  }
  TIDE_TRY(reader.finish("DataRow"));
  return values;
}

}  // namespace tide::pgwire
