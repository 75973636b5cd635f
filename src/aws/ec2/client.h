// SPDX-License-Identifier: Apache-2.0
//
// ec2::Client: imports, instances, volumes and snapshots over the EC2 Query API.
//
// Errors of all operations: those of Caller::Call. Ids just made may be kNotFound for a while.
//
// Thread safety: all methods may be called from any number of threads.
// Source: Amazon EC2 API reference, version 2016-11-15.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "aws/core/caller.h"
#include "aws/core/query.h"
#include "aws/ec2/types.h"

namespace vmferry::aws::ec2 {

/// One disk of ImportInstance: an import manifest in S3.
struct ImportDisk {
  std::string format;                  ///< VMDK, VHD or RAW
  std::uint64_t image_size_bytes = 0;  ///< of the file as stored
  std::string import_manifest_url;     ///< pre-signed GET: a secret
  std::uint64_t volume_size_gib = 0;
  std::string description;
};

struct ImportInstanceRequest {
  std::string platform = "Linux";  ///< Linux or Windows
  std::string architecture = "x86_64";
  std::string instance_type;
  /// Carries the marker by which the task is found again after an unclear answer.
  std::string description;
  std::string subnet_id;                 ///< optional
  std::vector<std::string> group_ids;    ///< optional
  std::vector<std::string> group_names;  ///< optional
  std::string private_ip;                ///< optional
  std::string zone;                      ///< optional
  std::string shutdown_behavior;         ///< optional: stop or terminate
  bool monitoring = false;
  std::vector<ImportDisk> disks;  ///< AWS takes one
};

struct Selection {
  std::vector<std::string> ids;  ///< not found: kNotFound aws.not_found
  std::vector<Filter> filters;
};

class Client {
 public:
  /// `caller` must outlive the client.
  explicit Client(Caller& caller) : caller_(caller) {}

  /// Submits an import. Not idempotent and without a client token: after an error for which
  /// OutcomeUnknown holds, look for the description in DescribeConversionTasks.
  ///
  /// Request:  Platform, Description, LaunchSpecification.{Architecture, InstanceType, SubnetId,
  ///           GroupId.N, GroupName.N, PrivateIpAddress, Placement.AvailabilityZone,
  ///           InstanceInitiatedShutdownBehavior, Monitoring}, DiskImage.N.Image.{Format, Bytes,
  ///           ImportManifestUrl}, DiskImage.N.Volume.Size, DiskImage.N.Description.
  /// Response: conversionTask (see ConversionTask).
  /// Retry:    only when surely not carried out.
  Result<ConversionTask> ImportInstance(const ImportInstanceRequest& request,
                                        const OpContext& context);

  /// Request: ConversionTaskId.N; no ids means all. Response: conversionTasks/item.
  Result<std::vector<ConversionTask>> DescribeConversionTasks(std::span<const std::string> ids,
                                                              const OpContext& context);

  /// Cancels the task and deletes what it made.
  /// Request: ConversionTaskId, ReasonMessage. Errors: aws.wrong_state when it is final already.
  Result<void> CancelConversionTask(const std::string& id, const std::string& reason,
                                    const OpContext& context);

  /// Request:  InstanceId.N, Filter.N.{Name, Value.M}, MaxResults, NextToken.
  /// Response: reservationSet/item/instancesSet/item; all pages.
  Result<std::vector<Instance>> DescribeInstances(const Selection& selection,
                                                  const OpContext& context);

  /// Of instances in any state (IncludeAllInstances).
  /// Request: InstanceId.N. Response: instanceStatusSet/item.
  Result<std::vector<InstanceStatus>> DescribeInstanceStatus(std::span<const std::string> ids,
                                                             const OpContext& context);

  /// Request: InstanceId.N. Response: instancesSet/item. Starting what runs is no error; the same
  /// for stop and terminate.
  Result<std::vector<InstanceStateChange>> StartInstances(std::span<const std::string> ids,
                                                          const OpContext& context);
  Result<std::vector<InstanceStateChange>> StopInstances(std::span<const std::string> ids,
                                                         const OpContext& context);
  Result<std::vector<InstanceStateChange>> TerminateInstances(std::span<const std::string> ids,
                                                              const OpContext& context);

  /// Request: InstanceId, Latest. Response: timestamp, output (base64).
  Result<ConsoleOutput> GetConsoleOutput(const std::string& instance_id, bool latest,
                                         const OpContext& context);

  /// Request: VolumeId.N, Filter.N, MaxResults, NextToken. Response: volumeSet/item; all pages.
  Result<std::vector<Volume>> DescribeVolumes(const Selection& selection, const OpContext& context);

  /// Request: VolumeId. Errors: aws.wrong_state while attached; aws.not_found.
  Result<void> DeleteVolume(const std::string& id, const OpContext& context);

  /// Not idempotent and without a client token: after an error for which OutcomeUnknown holds, look
  /// for a tag in DescribeSnapshots.
  ///
  /// Request:  VolumeId, Description, TagSpecification.1.{ResourceType=snapshot, Tag.N.{Key,
  /// Value}}. Response: the snapshot's fields.
  Result<Snapshot> CreateSnapshot(const std::string& volume_id, const std::string& description,
                                  const Tags& tags, const OpContext& context);

  /// Without ids, only our own (Owner.1=self).
  /// Request: SnapshotId.N, Owner.N, Filter.N, MaxResults, NextToken. Response: snapshotSet/item.
  Result<std::vector<Snapshot>> DescribeSnapshots(const Selection& selection,
                                                  const OpContext& context);

  /// Request: SnapshotId. Errors: aws.wrong_state while a machine image uses it; aws.not_found.
  Result<void> DeleteSnapshot(const std::string& id, const OpContext& context);

  /// Request: ResourceId.N, Tag.N.{Key, Value}. Overwrites.
  Result<void> CreateTags(std::span<const std::string> ids, const Tags& tags,
                          const OpContext& context);

  /// Request: none. Response: regionInfo/item.
  Result<std::vector<Region>> DescribeRegions(const OpContext& context);

  /// Request: none. Response: availabilityZoneInfo/item.
  Result<std::vector<AvailabilityZone>> DescribeAvailabilityZones(const OpContext& context);

 private:
  using Visit = std::function<void(const text::XmlElement&)>;
  enum class Effect { kIdempotent, kNotIdempotent };
  Result<text::XmlElement> Call(const Query& query, Effect effect, const OpContext& context);
  Result<void> CallPages(const Query& query, const Visit& visit, const OpContext& context);
  Result<std::vector<InstanceStateChange>> ChangeState(std::string_view action,
                                                       std::span<const std::string> ids,
                                                       const OpContext& context);

  Caller& caller_;
};

}  // namespace vmferry::aws::ec2
