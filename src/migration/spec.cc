// SPDX-License-Identifier: Apache-2.0
#include "migration/spec.h"

#include "text/json.h"

namespace vmferry::migration {
namespace {

using text::Json;

Json FromStrings(const std::vector<std::string>& texts) {
  Json array = Json::MakeArray();
  for (const std::string& item : texts) array.Append(item);
  return array;
}

std::vector<std::string> ToStrings(const Json& array) {
  std::vector<std::string> texts;
  for (const Json& item : array.Items()) texts.push_back(item.AsString());
  return texts;
}

Json FromFiles(const std::vector<SourceFile>& files) {
  Json array = Json::MakeArray();
  for (const SourceFile& file : files) {
    array.Append(Json::MakeObject()
                     .Set("path", file.path)
                     .Set("device", file.identity.device)
                     .Set("inode", file.identity.inode)
                     .Set("stored_size_bytes", file.identity.size_bytes)
                     .Set("modified_ns", file.identity.modified_ns));
  }
  return array;
}

sys::FileIdentity ToIdentity(const Json& json) {
  return {.device = json["device"].AsUint(),
          .inode = json["inode"].AsUint(),
          .size_bytes = json["stored_size_bytes"].AsUint(),
          .modified_ns = json["modified_ns"].AsInt()};
}

std::vector<SourceFile> ToFiles(const Json& array) {
  std::vector<SourceFile> files;
  for (const Json& item : array.Items()) {
    files.push_back({.path = item["path"].AsString(), .identity = ToIdentity(item)});
  }
  return files;
}

}  // namespace

std::string MigrationSpec::ToJson() const {
  Json from = Json::MakeObject();
  from.Set("path", source.path)
      .Set("device", source.identity.device)
      .Set("inode", source.identity.inode)
      .Set("stored_size_bytes", source.identity.size_bytes)
      .Set("modified_ns", source.identity.modified_ns)
      .Set("sample", source.sample)
      .Set("format", source.format)
      .Set("subformat", source.subformat)
      .Set("wire_format", wire.format)
      .Set("encoder", wire.encoder)
      .Set("piece_bytes", wire.piece_bytes)
      .Set("virtual_size_bytes", source.virtual_size_bytes)
      .Set("data_bytes", source.data_bytes)
      .Set("other_files", FromFiles(source.other_files))
      .Set("allow_running", source.allow_running)
      .Set("allow_paths", FromStrings(source.allow_paths))
      .Set("disk", std::uint64_t{source.disk});
  Json json = Json::MakeObject();
  json.Set("schema", "vmferry.spec/1")
      .Set("source", std::move(from))
      .Set("to", to)
      .Set("region", region)
      .Set("profile", profile)
      .Set("zone", zone)
      .Set("bucket", bucket)
      .Set("key_prefix", key_prefix)
      .Set("volume_size_gib", volume_size_gib)
      .Set("route", route)
      .Set("platform", platform)
      .Set("architecture", architecture)
      .Set("instance_type", instance_type)
      .Set("subnet", subnet)
      .Set("security_groups", FromStrings(security_groups))
      .Set("verify", verify)
      .Set("keep_snapshot", keep_snapshot)
      .Set("checks", FromStrings(checks))
      .Set("console_text", console_text)
      .Set("parallel", std::uint64_t{parallel});
  return json.Dump();
}

Result<MigrationSpec> MigrationSpec::FromJson(std::string_view json_text) {
  auto parsed = Json::Parse(json_text);
  if (!parsed || (*parsed)["schema"].AsString() != "vmferry.spec/1") {
    return Error(ErrorCode::kDataLoss, "migration.bad_spec",
                 "the journal's record of the migration cannot be read")
        .WithRemedy("use the vmferry version that began it");
  }
  const Json& json = *parsed;
  const Json& from = json["source"];
  MigrationSpec spec;
  spec.source = {.path = from["path"].AsString(),
                 .identity = ToIdentity(from),
                 .other_files = ToFiles(from["other_files"]),
                 .sample = from["sample"].AsString(),
                 .format = from["format"].AsString(),
                 .subformat = from["subformat"].AsString(),
                 .virtual_size_bytes = from["virtual_size_bytes"].AsUint(),
                 .data_bytes = from["data_bytes"].AsUint(),
                 .allow_running = from["allow_running"].AsBool(),
                 .allow_paths = ToStrings(from["allow_paths"]),
                 .disk = static_cast<std::uint32_t>(from["disk"].AsUint())};
  spec.wire = {.format = from["wire_format"].AsString(),
               .encoder = from["encoder"].AsString(),
               .piece_bytes = from["piece_bytes"].AsUint()};
  spec.to = json["to"].AsString();
  spec.region = json["region"].AsString();
  spec.profile = json["profile"].AsString();
  spec.zone = json["zone"].AsString();
  spec.bucket = json["bucket"].AsString();
  spec.key_prefix = json["key_prefix"].AsString();
  spec.volume_size_gib = json["volume_size_gib"].AsUint();
  spec.route = json["route"].AsString();
  spec.platform = json["platform"].AsString();
  spec.architecture = json["architecture"].AsString();
  spec.instance_type = json["instance_type"].AsString();
  spec.subnet = json["subnet"].AsString();
  spec.security_groups = ToStrings(json["security_groups"]);
  spec.verify = json["verify"].AsString();
  spec.keep_snapshot = json["keep_snapshot"].AsBool();
  spec.checks = ToStrings(json["checks"]);
  spec.console_text = json["console_text"].AsString();
  spec.parallel = static_cast<std::uint32_t>(json["parallel"].AsUint(8));
  return spec;
}

}  // namespace vmferry::migration
