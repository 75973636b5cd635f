// SPDX-License-Identifier: Apache-2.0
#include "region/control/region_info.h"

#include "base/units.h"
#include "region/control/tls_files.h"
#include "sys/file.h"
#include "sys/process.h"
#include "text/json.h"

namespace vmferry::region::control {

std::filesystem::path RegionInfoPath(const std::filesystem::path& folder) {
  return folder / "region.json";
}

Result<void> WriteRegionInfo(const RegionInfo& info) {
  text::Json json;
  json.Set("schema", "vmferry.region.v1");
  json.Set("endpoint", info.Endpoint());
  json.Set("tls_endpoint", info.TlsEndpoint());
  json.Set("ca_bundle", CaBundlePath(info.folder).string());
  json.Set("port", static_cast<std::int64_t>(info.port));
  json.Set("pid", static_cast<std::int64_t>(info.pid));
  json.Set("start_ticks", info.start_ticks);
  json.Set("region", info.region_name);
  json.Set("zone", info.zone);
  json.Set("account_id", info.account_id);
  json.Set("profile", info.profile);
  json.Set("started", info.started);
  return sys::WriteWholeFile(RegionInfoPath(info.folder), json.Dump(true) + "\n");
}

Result<RegionInfo> ReadRegionInfo(const std::filesystem::path& folder) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string content,
                           sys::ReadWholeFile(RegionInfoPath(folder), 64 * kKiB));
  const auto json = text::Json::Parse(content);
  RegionInfo info;
  if (json) {
    info.folder = folder;
    info.port = static_cast<std::uint16_t>((*json)["port"].AsUint());
    info.pid = static_cast<pid_t>((*json)["pid"].AsInt());
    info.start_ticks = (*json)["start_ticks"].AsUint();
    info.region_name = (*json)["region"].AsString();
    info.zone = (*json)["zone"].AsString();
    info.account_id = (*json)["account_id"].AsString();
    info.profile = (*json)["profile"].AsString();
    info.started = (*json)["started"].AsString();
  }
  if (info.port == 0 || info.pid <= 0) {
    return Error(ErrorCode::kDataLoss, "region.info_damaged",
                 "the region's region.json cannot be understood")
        .With("path", RegionInfoPath(folder).string())
        .WithRemedy("remove the file and start the region again");
  }
  return info;
}

std::optional<RegionInfo> FindRunningRegion(const std::filesystem::path& folder) {
  auto info = ReadRegionInfo(folder);
  if (!info || !sys::ProcessRuns(info->pid)) return std::nullopt;
  if (sys::ProcessStartTicks(info->pid) != info->start_ticks) return std::nullopt;
  return std::move(info).value();
}

}  // namespace vmferry::region::control
