#include "pgtypes/type_tree.h"

#include <fmt/format.h>

#include "pgtypes/oids.h"

namespace tide::pgtypes {
namespace {

constexpr int kMaxDepth = 64;

Format base_format(uint32_t type) {
  switch (type) {
    case oid::kBool:
      return Format::kBool;
    case oid::kInt2:
      return Format::kInt2;
    case oid::kInt4:
      return Format::kInt4;
    case oid::kInt8:
      return Format::kInt8;
    case oid::kOid:
    case oid::kXid:
    case oid::kCid:
      return Format::kUnsigned4;
    case oid::kXid8:
      return Format::kUnsigned8;
    case oid::kFloat4:
      return Format::kFloat4;
    case oid::kFloat8:
      return Format::kFloat8;
    case oid::kNumeric:
      return Format::kNumeric;
    case oid::kMoney:
      return Format::kMoney;
    case oid::kText:
    case oid::kVarchar:
    case oid::kJson:
    case oid::kRefcursor:
    case oid::kPgNodeTree:
      return Format::kText;
    case oid::kBpchar:
      return Format::kBpchar;
    case oid::kXml:
      return Format::kXml;
    case oid::kChar:
      return Format::kChar;
    case oid::kName:
      return Format::kName;
    case oid::kBytea:
    case oid::kPgMcvList:
      return Format::kBytea;
    case oid::kJsonb:
      return Format::kJsonb;
    case oid::kJsonpath:
      return Format::kJsonpath;
    case oid::kUuid:
      return Format::kUuid;
    case oid::kDate:
      return Format::kDate;
    case oid::kTime:
      return Format::kTime;
    case oid::kTimetz:
      return Format::kTimetz;
    case oid::kTimestamp:
      return Format::kTimestamp;
    case oid::kTimestamptz:
      return Format::kTimestamptz;
    case oid::kInterval:
      return Format::kInterval;
    case oid::kBit:
    case oid::kVarbit:
      return Format::kBits;
    case oid::kInet:
      return Format::kInet;
    case oid::kCidr:
      return Format::kCidr;
    case oid::kMacaddr:
      return Format::kMacaddr;
    case oid::kMacaddr8:
      return Format::kMacaddr8;
    case oid::kPoint:
      return Format::kPoint;
    case oid::kLseg:
      return Format::kLseg;
    case oid::kPath:
      return Format::kPath;
    case oid::kBox:
      return Format::kBox;
    case oid::kPolygon:
      return Format::kPolygon;
    case oid::kLine:
      return Format::kLine;
    case oid::kCircle:
      return Format::kCircle;
    case oid::kTsvector:
      return Format::kTsvector;
    case oid::kTsquery:
      return Format::kTsquery;
    case oid::kInt2Vector:
      return Format::kIntVector;
    case oid::kOidVector:
      return Format::kOidVector;
    case oid::kTid:
      return Format::kTid;
    case oid::kPgLsn:
      return Format::kLsn;
    case oid::kTxidSnapshot:
    case oid::kPgSnapshot:
      return Format::kSnapshot;
    case oid::kRegproc:
    case oid::kRegprocedure:
    case oid::kRegoper:
    case oid::kRegoperator:
    case oid::kRegclass:
    case oid::kRegtype:
    case oid::kRegconfig:
    case oid::kRegdictionary:
    case oid::kRegnamespace:
    case oid::kRegrole:
    case oid::kRegcollation:
      return Format::kReg;
    case oid::kAclitem:
      return Format::kAclitem;
    case oid::kPgNdistinct:
      return Format::kNdistinct;
    case oid::kPgDependencies:
      return Format::kDependencies;
    default:
      return Format::kUnknown;
  }
}

/// Types of well-known extensions, whose oids differ from database to database.
Format extension_format(const TypeInfo& type) {
  if (type.oid < oid::kFirstOfUsers || type.length != -1) return Format::kUnknown;
  if (type.name == "citext") return Format::kText;
  if (type.name == "hstore") return Format::kHstore;
  if (type.name == "ltree") return Format::kLtree;
  if (type.name == "vector") return Format::kVector;
  return Format::kUnknown;
}

Result<TypeTree> resolve_at(const TypeCatalog& catalog, uint32_t type, int32_t typmod, int depth) {
  if (depth > kMaxDepth) return Status(Code::kInvalid, "a type is nested too deeply");
  const TypeInfo* info = catalog.type(type);
  for (int steps = 0; info != nullptr && info->kind == 'd'; ++steps) {
    if (steps > kMaxDepth) return Status(Code::kInvalid, "a domain is based on itself");
    type = info->base_type;
    typmod = info->base_typmod;
    info = catalog.type(type);
  }
  if (info == nullptr) return Status(Code::kNotFound, fmt::format("no type has oid {}", type));

  TypeTree tree;
  tree.catalog = &catalog;
  tree.name = info->name;
  tree.oid = type;
  tree.typmod = typmod;
  tree.length = info->length;
  tree.by_value = info->by_value;
  tree.align = info->align;
  tree.delimiter = info->delimiter;
  auto add_child = [&](uint32_t child, int32_t child_typmod) -> Status {
    tree.children.push_back(TIDE_TRY(resolve_at(catalog, child, child_typmod, depth + 1)));
    return {};
  };
  switch (info->kind) {
    case 'e':
      tree.format = Format::kEnum;
      break;
    case 'r':
      tree.format = Format::kRange;
      TIDE_TRY(add_child(info->range_subtype, -1));
      break;
    case 'm':
      tree.format = Format::kMultirange;
      TIDE_TRY(add_child(info->range_of_multirange, -1));
      break;
    case 'c': {
      tree.format = Format::kComposite;
      const std::vector<Attribute>* attributes = catalog.attributes(info->relation);
      if (attributes == nullptr) {
        return Status(Code::kNotFound, fmt::format("columns of type {} are not known", info->name));
      }
      tree.attributes = *attributes;
      tree.reader = TupleReader(tree.attributes);
      for (const Attribute& attribute : tree.attributes) {
        if (attribute.dropped) {
          tree.children.emplace_back();
        } else {
          TIDE_TRY(add_child(attribute.type, attribute.typmod));
        }
      }
      break;
    }
    default:
      tree.format = base_format(type);
      if (tree.format == Format::kUnknown && info->is_array) {
        tree.format = Format::kArray;
        tree.declared_element = info->element;
        TIDE_TRY(add_child(info->element, typmod));
        // As array_out(): the delimiter is the element type's, a domain's own.
        if (const TypeInfo* element = catalog.type(info->element)) {
          tree.delimiter = element->delimiter;
        }
      } else if (tree.format == Format::kUnknown) {
        tree.format = extension_format(*info);
      }
  }
  return tree;
}

}  // namespace

Result<TypeTree> TypeTree::resolve(const TypeCatalog& catalog, uint32_t type, int32_t typmod) {
  return resolve_at(catalog, type, typmod, 0);
}

}  // namespace tide::pgtypes
