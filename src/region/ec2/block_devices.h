// SPDX-License-Identifier: Apache-2.0
//
// BlockDeviceMapping.N of RegisterImage and RunInstances, and the shapes of volumes.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {

/// One entry as it was sent.
struct BlockDevice {
  std::string device;
  bool no_device = false;  ///< takes the image's entry away
  std::string snapshot_id;
  std::optional<std::uint64_t> size_gib;
  std::optional<bool> delete_on_termination;
  std::optional<bool> encrypted;
  std::string volume_type;  ///< empty: not sent
  std::uint64_t iops = 0;
  std::uint64_t throughput = 0;
};

/// Errors: MissingParameter, InvalidParameterValue, InvalidBlockDeviceMapping (a device twice),
/// InvalidSnapshotID.Malformed.
Result<std::vector<BlockDevice>> ReadBlockDevices(const QueryParameters& parameters);

/// The entry as a disk of its own. Sizes are checked against snapshots, which exist and are
/// completed. Errors: InvalidSnapshot.NotFound, IncorrectState, InvalidBlockDeviceMapping and those
/// of CheckVolume.
Result<vm::ImageDisk> DiskOf(World& world, const BlockDevice& device);
/// An image's disks as a request overrides and adds to them. Errors: as DiskOf.
Result<std::vector<vm::ImageDisk>> Override(World& world, std::vector<vm::ImageDisk> disks,
                                            const std::vector<BlockDevice>& devices);

/// EC2's limits of a volume type. Errors: InvalidParameterValue, InvalidParameterCombination.
Result<void> CheckVolume(const std::string& type, std::uint64_t size_gib, std::uint64_t iops,
                         std::uint64_t throughput);
/// What a volume of the type performs when nothing was asked for; 0 where EC2 reports nothing.
std::uint64_t DefaultIops(const std::string& type, std::uint64_t size_gib);

/// Errors: InvalidParameterValue, for names EC2 does not take.
Result<void> CheckDeviceName(const std::string& device);

/// deviceName and ebs of one entry.
void WriteImageDisk(const vm::ImageDisk& disk, text::XmlWriter& reply);

}  // namespace vmferry::region::ec2
