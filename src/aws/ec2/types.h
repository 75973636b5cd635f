// SPDX-License-Identifier: Apache-2.0
//
// What EC2 tells about its things. States are AWS's own words: a new one is kept, not refused.
//
// Elements that AWS left out are empty strings, zeros and false.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vmferry::aws::ec2 {

using Tags = std::map<std::string, std::string>;

struct Filter {
  std::string name;
  std::vector<std::string> values;  ///< any of them
};

/// One disk of an import. The manifest's URL is a secret.
struct ImportVolumeDetails {
  std::uint64_t bytes_converted = 0;
  std::string zone;
  std::string description;
  std::string status;  ///< "active", "completed", ...
  std::string status_message;
  std::string image_format;
  std::uint64_t image_size_bytes = 0;
  std::string import_manifest_url;
  std::uint64_t volume_size_gib = 0;
  std::string volume_id;  ///< empty until the volume exists
};

/// A conversion task. There is no failed state: failures end in "cancelled" with a status message.
struct ConversionTask {
  std::string id;     ///< "import-i-..." or "import-vol-..."
  std::string state;  ///< active, completed, cancelling, cancelled
  std::string status_message;
  std::string expiration;  ///< RFC 3339
  Tags tags;
  std::string instance_id;  ///< of ImportInstance, present from the first answer
  std::string platform;
  std::string description;  ///< of ImportInstance
  std::vector<ImportVolumeDetails> volumes;
};

struct InstanceBlockDevice {
  std::string device;  ///< "/dev/sda1"
  std::string volume_id;
};

struct Instance {
  std::string id;
  int state_code = 0;  ///< low byte only: 0, 16, 32, 48, 64, 80
  std::string state;   ///< pending, running, shutting-down, terminated, stopping, stopped
  std::string state_reason;
  std::string type;
  std::string architecture;
  std::string image_id;
  std::string private_ip;
  std::string public_ip;
  std::string zone;
  std::string subnet_id;
  std::string launch_time;
  std::string root_device;
  std::vector<InstanceBlockDevice> block_devices;
  Tags tags;
};

/// What start, stop and terminate answer.
struct InstanceStateChange {
  std::string id;
  std::string previous;
  std::string current;
};

struct InstanceStatus {
  std::string instance_id;
  std::string instance_state;
  std::string system;    ///< ok, impaired, insufficient-data, not-applicable, initializing
  std::string instance;  ///< the same
};

struct ConsoleOutput {
  std::string instance_id;
  std::string timestamp;
  std::string output;  ///< decoded; any bytes
};

struct VolumeAttachment {
  std::string instance_id;
  std::string device;
  std::string status;
};

struct Volume {
  std::string id;
  std::string state;  ///< creating, available, in-use, deleting, deleted, error
  std::uint64_t size_gib = 0;
  std::string snapshot_id;
  std::string zone;
  std::string type;
  bool encrypted = false;
  std::vector<VolumeAttachment> attachments;
  Tags tags;
};

struct Snapshot {
  std::string id;
  std::string state;  ///< pending, completed, error, recoverable, recovering
  std::string status_message;
  std::string progress;  ///< "37%"
  std::string volume_id;
  std::uint64_t volume_size_gib = 0;
  bool encrypted = false;
  std::string kms_key_id;
  std::string description;
  std::string start_time;
  std::string owner_id;
  Tags tags;
};

struct Region {
  std::string name;
  std::string endpoint;
  std::string opt_in_status;
};

struct AvailabilityZone {
  std::string name;
  std::string id;
  std::string state;
  std::string region;
};

}  // namespace vmferry::aws::ec2
