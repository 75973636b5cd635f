// SPDX-License-Identifier: Apache-2.0
#include "cli/appliance_report.h"

#include <fmt/format.h>

#include "base/units.h"
#include "cli/report.h"

namespace vmferry::cli {
namespace {

using image::VmDescription;
using text::Json;
using Rows = std::vector<std::vector<std::string>>;

std::string OrNotSaid(const std::string& text) { return text.empty() ? "not said" : text; }

std::string OsWords(const VmDescription& vm) {
  if (!vm.os_text.empty()) return vm.os_text;
  if (!vm.os_type.empty()) return vm.os_type;
  return vm.os_id.empty() ? "not said" : "CIM number " + vm.os_id;
}

std::string DiskWords(const image::VmDisk& disk) {
  std::string words = disk.file;
  if (disk.controller != image::DiskController::kNotSaid) {
    words += fmt::format(", {}", image::DiskControllerName(disk.controller));
    if (!disk.controller_type.empty()) words += fmt::format(" ({})", disk.controller_type);
  }
  if (disk.unit) words += fmt::format(", unit {}", *disk.unit);
  if (disk.boot) words += ", boots";
  return words;
}

std::string CheckWords(const image::DigestCheck& check) {
  if (check.holds()) return "as the manifest says";
  return check.present ? "NOT what the manifest says" : "not there";
}

Rows MachineRows(const ApplianceReport& report) {
  const image::Appliance& appliance = report.appliance;
  const VmDescription& vm = appliance.vm;
  Rows rows = {{"appliance", appliance.format},
               {"machine", OrNotSaid(vm.name)},
               {"system", OsWords(vm)},
               {"hardware", OrNotSaid(vm.hardware)},
               {"CPUs", vm.cpu_count == 0 ? "not said" : std::to_string(vm.cpu_count)},
               {"memory", vm.memory_bytes == 0 ? "not said" : FormatSize(vm.memory_bytes)},
               {"firmware", std::string(image::FirmwareName(vm.firmware))}};
  for (std::size_t i = 0; i < vm.disks.size(); ++i) {
    rows.push_back({fmt::format("disk {}", i + 1), DiskWords(vm.disks[i])});
  }
  for (const image::VmNic& nic : vm.nics) {
    rows.push_back({"network", nic.type.empty()
                                   ? OrNotSaid(nic.network)
                                   : fmt::format("{}, {}", OrNotSaid(nic.network), nic.type)});
  }
  rows.push_back({"manifest", OrNotSaid(appliance.manifest.file)});
  if (!appliance.certificate.empty()) {
    rows.push_back({"certificate", appliance.certificate + ", which nobody has verified"});
  }
  if (appliance.manifest.problem) {
    rows.push_back({"defect", appliance.manifest.problem->message()});
  }
  for (const std::string& defect : appliance.defects) rows.push_back({"defect", defect});
  if (report.checks) {
    for (const image::DigestCheck& check : *report.checks) {
      rows.push_back(
          {"verified", fmt::format("{} of {}: {}", image::DigestName(check.expected.kind),
                                   check.expected.file, CheckWords(check))});
    }
  }
  return rows;
}

Json VmToJson(const VmDescription& vm) {
  Json disks = Json::MakeArray();
  for (const image::VmDisk& disk : vm.disks) {
    Json item = Json::MakeObject();
    item.Set("id", disk.id)
        .Set("file", disk.file)
        .Set("capacity_bytes", disk.capacity_bytes)
        .Set("controller", image::DiskControllerName(disk.controller))
        .Set("controller_type", disk.controller_type)
        .Set("controller_address",
             disk.controller_address ? Json(std::uint64_t{*disk.controller_address}) : Json())
        .Set("unit", disk.unit ? Json(std::uint64_t{*disk.unit}) : Json())
        .Set("boot", disk.boot);
    disks.Append(std::move(item));
  }
  Json nics = Json::MakeArray();
  for (const image::VmNic& nic : vm.nics) {
    Json item = Json::MakeObject();
    nics.Append(item.Set("network", nic.network).Set("type", nic.type).Set("mac", nic.mac));
  }
  Json json = Json::MakeObject();
  return json.Set("name", vm.name)
      .Set("os_id", vm.os_id)
      .Set("os_type", vm.os_type)
      .Set("os_text", vm.os_text)
      .Set("hardware", vm.hardware)
      .Set("cpu_count", std::uint64_t{vm.cpu_count})
      .Set("memory_bytes", vm.memory_bytes)
      .Set("firmware", image::FirmwareName(vm.firmware))
      .Set("disks", std::move(disks))
      .Set("nics", std::move(nics));
}

Json ChecksToJson(const std::vector<image::DigestCheck>& checks) {
  Json json = Json::MakeArray();
  for (const image::DigestCheck& check : checks) {
    Json item = Json::MakeObject();
    json.Append(item.Set("file", check.expected.file)
                    .Set("digest", image::DigestName(check.expected.kind))
                    .Set("expected", check.expected.digest)
                    .Set("found", check.found)
                    .Set("holds", check.holds()));
  }
  return json;
}

Json DiskOfApplianceToJson(const ApplianceDiskReport& disk) {
  Json json = Json::MakeObject();
  json.Set("number", std::uint64_t{disk.number});
  if (disk.problem) {
    Json error = Json::MakeObject();
    return json.Set(
        "error",
        error.Set("reason", disk.problem->reason()).Set("message", disk.problem->message()));
  }
  const Json report = DiskToJson(*disk.report);  // outlives the loop over its members
  for (const auto& [name, value] : report.Members()) json.Set(name, value);
  return json;
}

}  // namespace

std::string DescribeAppliance(const ApplianceReport& report) {
  std::string text = FormatTable(MachineRows(report));
  for (const ApplianceDiskReport& disk : report.disks) {
    const std::string& file = report.appliance.vm.disks[disk.number - 1].file;
    text += fmt::format("\ndisk {}: {}\n\n", disk.number, file);
    text += disk.problem ? DescribeError(*disk.problem) : DescribeDisk(*disk.report);
  }
  return text;
}

Json ApplianceToJson(const ApplianceReport& report) {
  const image::Appliance& appliance = report.appliance;
  std::vector<std::string> defects = appliance.defects;
  if (appliance.manifest.problem) defects.push_back(appliance.manifest.problem->message());
  std::uint64_t virtual_bytes = 0;
  std::uint64_t stored_bytes = 0;
  bool sound = defects.empty();
  Json disks = Json::MakeArray();
  for (const ApplianceDiskReport& disk : report.disks) {
    sound = sound && disk.report && disk.report->sound();
    if (disk.report) virtual_bytes += disk.report->disk.image->SizeBytes();
    stored_bytes += appliance.disk_files[disk.number - 1].size_bytes;
    disks.Append(DiskOfApplianceToJson(disk));
  }
  Json json = Json::MakeObject();
  json.Set("path", report.path)
      .Set("format", appliance.format)
      .Set("subformat", "")
      .Set("wire_format", "")
      .Set("virtual_size_bytes", virtual_bytes)
      .Set("stored_size_bytes", stored_bytes)
      .Set("defects", TextsToJson(defects))
      .Set("sound", sound)
      .Set("vm", VmToJson(appliance.vm))
      .Set("manifest", appliance.manifest.file)
      .Set("certificate", appliance.certificate)
      .Set("disks", std::move(disks));
  if (report.checks) json.Set("manifest_checks", ChecksToJson(*report.checks));
  return json;
}

Result<void> CheckPromises(const ApplianceReport& report) {
  if (!report.checks) return {};
  for (const image::DigestCheck& check : *report.checks) {
    if (check.holds()) continue;
    return Error(ErrorCode::kDataLoss, "ova.manifest.mismatch",
                 fmt::format("'{}' is not what the manifest says", check.expected.file))
        .With("path", check.expected.file)
        .WithRemedy("export or copy the appliance again");
  }
  return {};
}

}  // namespace vmferry::cli
