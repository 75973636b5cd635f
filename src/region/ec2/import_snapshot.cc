// SPDX-License-Identifier: Apache-2.0
//
// ImportSnapshot, DescribeImportSnapshotTasks.
#include <array>

#include "region/ec2/import_tasks.h"

namespace vmferry::region::ec2 {
namespace {

void WriteTask(const ImageTask& task, const vm::TagMap& tags, text::XmlWriter& reply) {
  if (!task.description.empty()) reply.Element("description", task.description);
  reply.Element("importTaskId", task.id);
  const ImportDisk& disk = task.disks.empty() ? task.containers.at(0) : task.disks[0];
  reply.Open("snapshotTaskDetail");
  WriteSource(disk, reply);
  reply.Element("diskImageSize", DiskImageSize(disk)).Element("encrypted", "false");
  const int progress = ImageTaskProgress(task);
  if (progress >= 0) reply.Element("progress", std::to_string(progress));
  if (task.state == TaskState::kCompleted) reply.Element("snapshotId", disk.snapshot_id);
  reply.Element("status", ImageTaskStatus(task.state));
  const std::string message = ImageTaskMessage(task);
  if (!message.empty()) reply.Element("statusMessage", message);
  reply.Close();
  WriteTags(tags, reply);
}

Result<void> ImportSnapshot(World& world, const QueryParameters& parameters,
                            text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const vm::TagMap tags,
                           SpecifiedTags(parameters, "import-snapshot-task"));
  VMFERRY_ASSIGN_OR_RETURN(const ImportDisk disk, ReadContainer(world, parameters, "DiskContainer.",
                                                                ImageTaskKind::kSnapshot));
  VMFERRY_ASSIGN_OR_RETURN(ImageTask task,
                           ReadImportTask(world, parameters, ImageTaskKind::kSnapshot));
  task.containers = {disk};
  VMFERRY_ASSIGN_OR_RETURN(task, world.image_tasks.Begin(std::move(task), tags));
  WriteTask(task, world.disks.tags().Of(task.id), reply);
  return {};
}

Result<void> DescribeImportSnapshotTasks(World& world, const QueryParameters& parameters,
                                         text::XmlWriter& reply) {
  return DescribeTasks(world, parameters, reply, ImageTaskKind::kSnapshot, "importSnapshotTaskSet",
                       WriteTask);
}

constexpr std::array<std::string_view, 16> kImportParameters = {"ClientData.Comment",
                                                                "ClientData.UploadStart",
                                                                "ClientData.UploadEnd",
                                                                "ClientData.UploadSize",
                                                                "ClientToken",
                                                                "Description",
                                                                "DiskContainer.Description",
                                                                "DiskContainer.Format",
                                                                "DiskContainer.Url",
                                                                "DiskContainer.UserBucket.S3Bucket",
                                                                "DiskContainer.UserBucket.S3Key",
                                                                "Encrypted",
                                                                "RoleName",
                                                                "TagSpecification.N.ResourceType",
                                                                "TagSpecification.N.Tag.N.Key",
                                                                "TagSpecification.N.Tag.N.Value"};
constexpr std::array<std::string_view, 5> kDescribeParameters = {
    "ImportTaskId.N", "Filters.N.Name", "Filters.N.Value.N", "MaxResults", "NextToken"};

constexpr std::array kOperations = {
    Operation{"ImportSnapshot", ImportSnapshot, kImportParameters},
    Operation{"DescribeImportSnapshotTasks", DescribeImportSnapshotTasks, kDescribeParameters},
};

}  // namespace

std::span<const Operation> ImportSnapshotOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
