// SPDX-License-Identifier: Apache-2.0
//
// ImportImage's look at the disks, and the machine image that it ends with.
#include <fmt/format.h>

#include "region/import/image_tasks.h"
#include "region/import/inspection.h"
#include "region/import/partitions.h"
#include "region/import/reachable_folder.h"

namespace vmferry::region {

Result<ImageTasks::Outcome> ImageTasks::Inspect(Job& job, ImageTask task, const OpContext& op) {
  VMFERRY_RETURN_IF_ERROR(CheckStageFault(context_.faults, "import.inspect"));
  const std::filesystem::path work = WorkFolder(task.id);
  std::vector<std::string> names;
  std::vector<PartitionTable> tables;
  for (std::size_t i = 0; i < task.disks.size(); ++i) {
    // A snapshot's file is readable for the sandbox, beside the folder of imports.
    const std::string& snapshot = task.disks[i].given_snapshot;
    names.push_back(snapshot.empty() ? fmt::format("raw-{}", i)
                                     : fmt::format("../../vm/{}.raw", snapshot));
    const auto disk = sys::File::Open(work / names.back(), sys::File::Mode::kRead);
    if (!disk && snapshot.empty()) return Restart(job, std::move(task));
    if (!disk) return ClientError(fmt::format("The snapshot {} cannot be read", snapshot));
    VMFERRY_ASSIGN_OR_RETURN(PartitionTable table, ReadPartitions(*disk));
    tables.push_back(std::move(table));
  }
  VMFERRY_RETURN_IF_ERROR(sandbox_.Give(work));
  VMFERRY_ASSIGN_OR_RETURN(const ReachableDisks disks,
                           MakeReachable(work, std::move(names), task.id));
  const GuestFiles files(context_.clock, sandbox_, disks.folder, disks.names);
  const auto inspected = InspectGuest(files, tables, {.boot_mode = task.boot_mode}, op);
  RemoveReachable(work, task.id);
  VMFERRY_ASSIGN_OR_RETURN(const Findings findings, inspected);
  task.root_disk = findings.root_disk;
  task.found_boot_mode = findings.boot_mode;
  task.system = fmt::format("{} - {}", findings.distribution, findings.kernel);
  task.ena_support = findings.ena_support;
  task.architecture = "x86_64";
  task.platform = "Linux";
  task.license_type = "BYOL";  // the only one for Linux
  task.stage = ImageStage::kSnapshot;
  VMFERRY_RETURN_IF_ERROR(Save(job, std::move(task)));
  return Outcome::kDone;
}

vm::MachineImage ImageTasks::ImageOf(const ImageTask& task) const {
  vm::MachineImage image{
      .id = task.image_id,
      .name = task.id,
      .description = fmt::format("AWS-VMImport service: Linux - {}", task.system),
      .architecture = task.architecture,
      .boot_mode = vm::ParseBootMode(task.found_boot_mode).value_or(vm::BootMode::kLegacyBios),
      .root_device = "/dev/sda1",
      .ena_support = task.ena_support,
      .source = task.id,
      .creation_time = Now()};
  // The root disk comes first, as the guest shall find it.
  const auto add = [&](std::size_t disk) {
    image.disks.push_back({.device = DeviceOf(task, disk),
                           .snapshot_id = task.disks[disk].snapshot_id,
                           .size_gib = task.disks[disk].disk_gib});
  };
  add(task.root_disk);
  for (std::size_t i = 0; i < task.disks.size(); ++i) {
    if (i != task.root_disk) add(i);
  }
  return image;
}

}  // namespace vmferry::region
