// SPDX-License-Identifier: Apache-2.0
//
// ImportKeyPair, DescribeKeyPairs, DeleteKeyPair.
#include "region/vm/key_pairs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/byte_reader.h"
#include "codec/text_codec.h"
#include "region/ec2/filters.h"
#include "region/ec2/operation.h"
#include "region/vm/ids.h"

namespace vmferry::region::ec2 {
namespace {

using vm::KeyPair;
using vm::KeyPairs;

constexpr std::size_t kNameMax = 255;

Error NoSuchKey(std::string_view name) {
  return Refuse("InvalidKeyPair.NotFound", fmt::format("The key pair '{}' does not exist", name));
}

Result<void> ImportKeyPair(World& world, const QueryParameters& parameters,
                           text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string name, Required(parameters, "KeyName"));
  VMFERRY_ASSIGN_OR_RETURN(const std::string material, Required(parameters, "PublicKeyMaterial"));
  VMFERRY_ASSIGN_OR_RETURN(const vm::TagMap tags, SpecifiedTags(parameters, "key-pair"));
  const auto line = codec::Base64Decode(material);
  if (name.size() > kNameMax || !line) {
    return Refuse("InvalidParameterValue", "The key's name is too long, or its material no base64");
  }
  auto key = vm::ParsePublicKey(AsText(*line));
  if (!key) return Refuse("InvalidKey.Format", key.error().message());
  key->id = vm::NewResourceId(world.context.random, "key-");
  key->name = name;
  key->create_time = std::chrono::duration_cast<std::chrono::seconds>(
                         world.context.clock.WallNow().time_since_epoch())
                         .count();
  VMFERRY_RETURN_IF_ERROR(KeyPairs::Add(world.context.database, *key, tags));
  reply.Element("keyName", key->name)
      .Element("keyFingerprint", key->fingerprint)
      .Element("keyPairId", key->id);
  WriteTags(tags, reply);
  return {};
}

bool Wanted(const KeyPair& key, const std::vector<std::string>& names,
            const std::vector<std::string>& ids) {
  const auto among = [](const std::vector<std::string>& list, const std::string& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  return (names.empty() && ids.empty()) || among(names, key.name) || among(ids, key.id);
}

Result<void> DescribeKeyPairs(World& world, const QueryParameters& parameters,
                              text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<KeyPair> keys, KeyPairs::List(world.context.database));
  VMFERRY_ASSIGN_OR_RETURN(const bool with_key, Flag(parameters, "IncludePublicKey"));
  const std::vector<std::string> names = parameters.List("KeyName");
  const std::vector<std::string> ids = parameters.List("KeyPairId");
  for (const auto& list : {names, ids}) {
    for (const std::string& asked : list) {
      if (std::none_of(keys.begin(), keys.end(),
                       [&](const KeyPair& key) { return key.name == asked || key.id == asked; })) {
        return NoSuchKey(asked);
      }
    }
  }
  auto tags = world.disks.tags().OfAll("key-");
  const Filters filters = Filters::Parse(parameters);
  reply.Open("keySet");
  for (const KeyPair& key : keys) {
    if (!Wanted(key, names, ids)) continue;
    const auto values = [&](std::string_view name) -> std::optional<std::vector<std::string>> {
      if (name == "key-name") return {{key.name}};
      if (name == "key-pair-id") return {{key.id}};
      if (name == "fingerprint") return {{key.fingerprint}};
      return std::nullopt;
    };
    VMFERRY_ASSIGN_OR_RETURN(const bool matches, filters.Match(tags[key.id], values));
    if (!matches) continue;
    reply.Open("item");
    reply.Element("keyPairId", key.id)
        .Element("keyFingerprint", key.fingerprint)
        .Element("keyName", key.name)
        .Element("keyType", key.type);
    WriteTags(tags[key.id], reply);
    if (with_key) reply.Element("publicKey", key.public_key);
    reply.Element("createTime", Time(key.create_time)).Close();
  }
  reply.Close();
  return {};
}

// Deleting what is not there succeeds, as on EC2.
Result<void> DeleteKeyPair(World& world, const QueryParameters& parameters,
                           text::XmlWriter& reply) {
  const std::string name = parameters.Get("KeyName");
  const std::string id = parameters.Get("KeyPairId");
  if (name.empty() && id.empty()) {
    return Refuse("MissingParameter",
                  "The request must contain the parameter KeyName or KeyPairId");
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::optional<KeyPair> removed,
                           KeyPairs::Remove(world.context.database, name, id));
  reply.Element("return", "true");
  if (removed) reply.Element("keyPairId", removed->id);
  return {};
}

constexpr std::array<std::string_view, 5> kImportParameters = {
    "KeyName", "PublicKeyMaterial", "TagSpecification.N.ResourceType",
    "TagSpecification.N.Tag.N.Key", "TagSpecification.N.Tag.N.Value"};
constexpr std::array<std::string_view, 5> kDescribeParameters = {
    "KeyName.N", "KeyPairId.N", "Filter.N.Name", "Filter.N.Value.N", "IncludePublicKey"};
constexpr std::array<std::string_view, 2> kDeleteParameters = {"KeyName", "KeyPairId"};

constexpr std::array kOperations = {
    Operation{"ImportKeyPair", ImportKeyPair, kImportParameters},
    Operation{"DescribeKeyPairs", DescribeKeyPairs, kDescribeParameters},
    Operation{"DeleteKeyPair", DeleteKeyPair, kDeleteParameters},
};

}  // namespace

std::span<const Operation> KeyPairOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
