// SPDX-License-Identifier: Apache-2.0
#include "cli/guest_report.h"

#include <fmt/format.h>

#include <vector>

#include "base/units.h"
#include "cli/report.h"

namespace vmferry::cli {
namespace {

using guest::FileSystem;
using guest::GuestLayout;
using guest::Partition;
using text::Json;
using Rows = std::vector<std::vector<std::string>>;

std::string_view TableWords(guest::TableKind kind) {
  switch (kind) {
    case guest::TableKind::kNone:
      return "none";
    case guest::TableKind::kMbr:
      return "MBR";
    case guest::TableKind::kGpt:
      return "GPT";
    case guest::TableKind::kHybrid:
      return "GPT with a hybrid MBR";
  }
  return "";
}

std::string FileSystemWords(const std::optional<FileSystem>& file_system) {
  if (!file_system) return "-";
  if (file_system->label.empty()) return file_system->kind;
  return fmt::format("{} \"{}\"", file_system->kind, file_system->label);
}

std::string BootWords(const Partition& partition) {
  if (partition.esp) return partition.bootable ? "ESP, active" : "ESP";
  return partition.bootable ? "active" : "-";
}

std::string TypeWords(const Partition& partition) {
  return partition.type_name.empty() ? partition.type : partition.type_name;
}

Rows PartitionRows(const GuestLayout& layout) {
  Rows rows = {{"  #", "START", "SIZE", "TYPE", "BOOT", "FILE SYSTEM"}};
  for (const Partition& partition : layout.partitions) {
    rows.push_back({fmt::format("{:>3}", partition.index), FormatSize(partition.offset_bytes),
                    FormatSize(partition.length_bytes), TypeWords(partition), BootWords(partition),
                    partition.extended ? "" : FileSystemWords(partition.file_system)});
  }
  return rows;
}

/// What is to be said of file systems beyond a table's cell.
Rows NoteRows(const GuestLayout& layout) {
  Rows rows;
  const auto add = [&](const std::string& where, const std::optional<FileSystem>& file_system) {
    if (!file_system) return;
    for (const std::string& note : file_system->notes) rows.push_back({where, note});
  };
  add("file system", layout.whole_disk);
  for (const Partition& partition : layout.partitions) {
    add(fmt::format("partition {}", partition.index), partition.file_system);
  }
  for (const std::string& finding : layout.findings) rows.push_back({"remark", finding});
  for (const std::string& defect : layout.defects) rows.push_back({"defect", defect});
  return rows;
}

Json FileSystemToJson(const std::optional<FileSystem>& file_system) {
  if (!file_system) return {};
  Json json = Json::MakeObject();
  return json.Set("kind", file_system->kind)
      .Set("label", file_system->label)
      .Set("uuid", file_system->uuid)
      .Set("notes", TextsToJson(file_system->notes));
}

Json PartitionToJson(const Partition& partition) {
  Json json = Json::MakeObject();
  return json.Set("index", std::uint64_t{partition.index})
      .Set("offset_bytes", partition.offset_bytes)
      .Set("length_bytes", partition.length_bytes)
      .Set("type", partition.type)
      .Set("type_name", partition.type_name)
      .Set("name", partition.name)
      .Set("uuid", partition.uuid)
      .Set("bootable", partition.bootable)
      .Set("logical", partition.logical)
      .Set("extended", partition.extended)
      .Set("esp", partition.esp)
      .Set("file_system", FileSystemToJson(partition.file_system));
}

Json FirmwareToJson(const guest::Firmware& firmware) {
  Json json = Json::MakeObject();
  return json.Set("conclusion", guest::FirmwareName(firmware))
      .Set("bios", firmware.bios)
      .Set("uefi_x86_64", firmware.uefi_x86_64)
      .Set("uefi_arm64", firmware.uefi_arm64)
      .Set("reasons", TextsToJson(firmware.reasons));
}

}  // namespace

std::string DescribeGuest(const GuestLayout& layout) {
  Rows head = {{"partition table", std::string(TableWords(layout.table))}};
  if (!layout.table_id.empty()) head.back().back() += ", " + layout.table_id;
  if (layout.whole_disk) head.push_back({"content", FileSystemWords(layout.whole_disk)});
  for (const guest::BootLoader& loader : layout.boot_loaders) {
    head.push_back({"boot loader", fmt::format("{}, {}", loader.name, loader.where)});
  }
  head.push_back({"starts with", std::string(guest::FirmwareName(layout.firmware))});
  for (const std::string& reason : layout.firmware.reasons) head.push_back({"", reason});
  const Rows notes = NoteRows(layout);
  head.insert(head.end(), notes.begin(), notes.end());
  std::string text = "\n" + FormatTable(head);
  if (!layout.partitions.empty()) text += "\n" + FormatTable(PartitionRows(layout));
  return text;
}

Json GuestToJson(const GuestLayout& layout) {
  Json partitions = Json::MakeArray();
  for (const Partition& partition : layout.partitions)
    partitions.Append(PartitionToJson(partition));
  Json loaders = Json::MakeArray();
  for (const guest::BootLoader& loader : layout.boot_loaders) {
    Json item = Json::MakeObject();
    loaders.Append(item.Set("name", loader.name).Set("where", loader.where));
  }
  Json json = Json::MakeObject();
  return json.Set("partition_table", guest::TableKindName(layout.table))
      .Set("partition_table_id", layout.table_id)
      .Set("sector_size_bytes", std::uint64_t{layout.sector_bytes})
      .Set("partitions", std::move(partitions))
      .Set("whole_disk", FileSystemToJson(layout.whole_disk))
      .Set("boot_loaders", std::move(loaders))
      .Set("firmware", FirmwareToJson(layout.firmware))
      .Set("findings", TextsToJson(layout.findings))
      .Set("defects", TextsToJson(layout.defects));
}

}  // namespace vmferry::cli
