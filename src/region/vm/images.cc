// SPDX-License-Identifier: Apache-2.0
#include "region/vm/images.h"

#include <fmt/format.h>

#include <array>
#include <map>

#include "region/vm/disk_rows.h"
#include "region/vm/ids.h"

namespace vmferry::region::vm {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE vm_images (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT"
    " NULL, state INTEGER NOT NULL, architecture TEXT NOT NULL, boot_mode INTEGER NOT NULL,"
    " root_device TEXT NOT NULL, ena_support INTEGER NOT NULL, platform TEXT NOT NULL, source TEXT"
    " NOT NULL, creation_time INTEGER NOT NULL)",
    "CREATE TABLE vm_image_disks (image_id TEXT NOT NULL, position INTEGER NOT NULL, device TEXT"
    " NOT NULL, snapshot_id TEXT NOT NULL, size_gib INTEGER NOT NULL, delete_on_termination INTEGER"
    " NOT NULL, volume_type TEXT NOT NULL, encrypted INTEGER NOT NULL,"
    " PRIMARY KEY (image_id, position))",
    "CREATE INDEX vm_image_disks_snapshot ON vm_image_disks (snapshot_id)",
    "ALTER TABLE vm_image_disks ADD COLUMN iops INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_image_disks ADD COLUMN throughput INTEGER NOT NULL DEFAULT 0",
};

constexpr std::string_view kColumns =
    "id, name, description, state, architecture, boot_mode, root_device, ena_support, platform,"
    " source, creation_time";
constexpr std::string_view kDiskColumns =
    "image_id, device, snapshot_id, size_gib, delete_on_termination, volume_type, encrypted, iops, "
    "throughput";

MachineImage ImageOf(const SqlRow& row) {
  return MachineImage{.id = row.Text(0),
                      .name = row.Text(1),
                      .description = row.Text(2),
                      .state = static_cast<ImageState>(row.Int(3)),
                      .architecture = row.Text(4),
                      .boot_mode = static_cast<BootMode>(row.Int(5)),
                      .root_device = row.Text(6),
                      .disks = {},
                      .ena_support = row.Int(7) != 0,
                      .platform = row.Text(8),
                      .source = row.Text(9),
                      .creation_time = row.Int(10)};
}

ImageDisk DiskOf(const SqlRow& row) {
  return ImageDisk{.device = row.Text(1),
                   .snapshot_id = row.Text(2),
                   .size_gib = row.Uint(3),
                   .delete_on_termination = row.Int(4) != 0,
                   .volume_type = row.Text(5),
                   .encrypted = row.Int(6) != 0,
                   .iops = row.Uint(7),
                   .throughput = row.Uint(8)};
}

Error NoSuchImage(std::string_view id) {
  return Error(ErrorCode::kNotFound, "region.no_such_image",
               fmt::format("the image {} does not exist", id));
}

// The snapshot is there and complete; a disk without size takes its.
Result<void> CheckDisk(Transaction& transaction, ImageDisk& disk) {
  if (disk.snapshot_id.empty()) return {};
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> found,
                           transaction.Query(fmt::format("SELECT {} FROM vm_snapshots WHERE id = ?",
                                                         rows::kSnapshotColumns),
                                             {disk.snapshot_id}));
  if (found.empty()) return rows::NoSuchSnapshot(disk.snapshot_id);
  const Snapshot snapshot = rows::SnapshotOf(found[0]);
  if (snapshot.state != SnapshotState::kCompleted) {
    return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
                 fmt::format("the snapshot {} is {}", snapshot.id, StateName(snapshot.state)));
  }
  disk.encrypted = disk.encrypted || snapshot.encrypted;
  if (disk.size_gib == 0) disk.size_gib = snapshot.size_gib;
  return {};
}

}  // namespace

std::string_view BootModeName(BootMode mode) {
  switch (mode) {
    case BootMode::kUnset:
      return "";
    case BootMode::kLegacyBios:
      return "legacy-bios";
    case BootMode::kUefi:
      return "uefi";
    case BootMode::kUefiPreferred:
      return "uefi-preferred";
  }
  return "";
}

std::optional<BootMode> ParseBootMode(std::string_view name) {
  for (const BootMode mode : {BootMode::kLegacyBios, BootMode::kUefi, BootMode::kUefiPreferred}) {
    if (BootModeName(mode) == name) return mode;
  }
  return std::nullopt;
}

BootMode FirmwareOf(BootMode mode) {
  return mode == BootMode::kUefi || mode == BootMode::kUefiPreferred ? BootMode::kUefi
                                                                     : BootMode::kLegacyBios;
}

std::string_view StateName(ImageState state) {
  switch (state) {
    case ImageState::kPending:
      return "pending";
    case ImageState::kAvailable:
      return "available";
    case ImageState::kFailed:
      return "failed";
  }
  return "unknown";
}

Result<std::unique_ptr<Images>> Images::Open(Context& context) {
  VMFERRY_RETURN_IF_ERROR(context.database.Migrate("vm_images", kSchema));
  return std::unique_ptr<Images>(new Images(context));
}

Result<MachineImage> Images::Register(MachineImage image, const TagMap& tags) {
  if (image.id.empty()) image.id = NewResourceId(context_.random, "ami-");
  image.creation_time =
      std::chrono::duration_cast<std::chrono::seconds>(context_.clock.WallNow().time_since_epoch())
          .count();
  return context_.database.WithTransaction(
      [&](Transaction& transaction) { return RegisterIn(transaction, std::move(image), tags); });
}

Result<MachineImage> Images::RegisterIn(Transaction& transaction, MachineImage image,
                                        const TagMap& tags) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> taken,
      transaction.Query("SELECT id FROM vm_images WHERE name = ?", {image.name}));
  if (!taken.empty()) {
    // EC2's words, InvalidAMIName.Duplicate.
    return Error(
        ErrorCode::kAlreadyExists, "region.image_name_taken",
        fmt::format("AMI name {} is already in use by AMI {}", image.name, taken[0].Text(0)));
  }
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] std::int64_t changed,
      transaction.Execute("INSERT INTO vm_images VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                          {image.id, image.name, image.description, static_cast<int>(image.state),
                           image.architecture, static_cast<int>(image.boot_mode), image.root_device,
                           image.ena_support, image.platform, image.source, image.creation_time}));
  for (std::size_t position = 0; position < image.disks.size(); ++position) {
    ImageDisk& disk = image.disks[position];
    VMFERRY_RETURN_IF_ERROR(CheckDisk(transaction, disk));
    VMFERRY_ASSIGN_OR_RETURN(
        changed, transaction.Execute("INSERT INTO vm_image_disks VALUES (?,?,?,?,?,?,?,?,?,?)",
                                     {image.id, position, disk.device, disk.snapshot_id,
                                      disk.size_gib, disk.delete_on_termination, disk.volume_type,
                                      disk.encrypted, disk.iops, disk.throughput}));
  }
  VMFERRY_RETURN_IF_ERROR(Tags::SetIn(transaction, image.id, tags));
  return image;
}

Result<void> Images::Deregister(std::string_view id) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(std::int64_t changed,
                             transaction.Execute("DELETE FROM vm_images WHERE id = ?", {id}));
    if (changed == 0) return NoSuchImage(id);
    VMFERRY_ASSIGN_OR_RETURN(
        changed, transaction.Execute("DELETE FROM vm_image_disks WHERE image_id = ?", {id}));
    return Tags::RemoveIn(transaction, id);
  });
}

Result<MachineImage> Images::Find(std::string_view id) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<MachineImage> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> found,
        transaction.Query(fmt::format("SELECT {} FROM vm_images WHERE id = ?", kColumns), {id}));
    if (found.empty()) return NoSuchImage(id);
    MachineImage image = ImageOf(found[0]);
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> disks,
        transaction.Query(
            fmt::format("SELECT {} FROM vm_image_disks WHERE image_id = ? ORDER BY position",
                        kDiskColumns),
            {id}));
    for (const SqlRow& row : disks) image.disks.push_back(DiskOf(row));
    return image;
  });
}

Result<std::vector<MachineImage>> Images::List() {
  return context_.database.WithTransaction(
      [&](Transaction& transaction) -> Result<std::vector<MachineImage>> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> found,
            transaction.Query(fmt::format("SELECT {} FROM vm_images ORDER BY id", kColumns)));
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> disks,
            transaction.Query(fmt::format(
                "SELECT {} FROM vm_image_disks ORDER BY image_id, position", kDiskColumns)));
        std::vector<MachineImage> images;
        auto disk = disks.begin();
        for (const SqlRow& row : found) {
          images.push_back(ImageOf(row));
          for (; disk != disks.end() && disk->Text(0) == images.back().id; ++disk) {
            images.back().disks.push_back(DiskOf(*disk));
          }
        }
        return images;
      });
}

Result<std::optional<std::string>> Images::UserOf(Transaction& transaction,
                                                  std::string_view snapshot_id) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      transaction.Query("SELECT image_id FROM vm_image_disks WHERE snapshot_id = ? LIMIT 1",
                        {snapshot_id}));
  return found.empty() ? std::nullopt : std::optional(found[0].Text(0));
}

}  // namespace vmferry::region::vm
