// SPDX-License-Identifier: Apache-2.0
//
// Images: machine images (AMIs): records that say which snapshots become the disks of an instance
// and how it boots. They own no bytes: a snapshot that an image names cannot be deleted.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "region/core/context.h"
#include "region/vm/tags.h"

namespace vmferry::region::vm {

/// Stored in the database: never renumber.
enum class BootMode : std::uint8_t {
  kUnset = 0,  ///< the architecture's: BIOS for x86_64
  kLegacyBios = 1,
  kUefi = 2,
  kUefiPreferred = 3,
};

/// "legacy-bios", "uefi", "uefi-preferred"; "" for kUnset.
std::string_view BootModeName(BootMode mode);
/// The mode of EC2's name; nothing for other words and for "".
std::optional<BootMode> ParseBootMode(std::string_view name);
/// What an instance of such an image boots with: kLegacyBios or kUefi.
BootMode FirmwareOf(BootMode mode);

/// One entry of a block device mapping.
struct ImageDisk {
  std::string device;       ///< "/dev/sda1"
  std::string snapshot_id;  ///< empty: an empty volume
  std::uint64_t size_gib = 0;
  bool delete_on_termination = true;
  std::string volume_type = "gp2";
  bool encrypted = false;
  std::uint64_t iops = 0;        ///< 0: the type's
  std::uint64_t throughput = 0;  ///< MiB/s; 0: the type's
};

/// Stored in the database: never renumber.
enum class ImageState : std::uint8_t { kPending = 0, kAvailable = 1, kFailed = 2 };

/// EC2's names.
std::string_view StateName(ImageState state);

struct MachineImage {
  std::string id;    ///< "ami-0123..."; empty: Register makes one
  std::string name;  ///< unique among the region's images
  std::string description;
  ImageState state = ImageState::kAvailable;
  std::string architecture = "x86_64";
  BootMode boot_mode = BootMode::kUnset;
  std::string root_device = "/dev/sda1";
  std::vector<ImageDisk> disks;  ///< in the order in which the guest finds them
  bool ena_support = false;
  std::string platform;            ///< "Windows" or empty
  std::string source;              ///< the import task it came from; empty: it was registered
  std::int64_t creation_time = 0;  ///< seconds since the epoch; set by Register
};

class Images final {
 public:
  /// Makes the tables. `context` outlives it. Snapshots' tables exist: open Disks first.
  static Result<std::unique_ptr<Images>> Open(Context& context);

  /// Records an image. A disk without size takes its snapshot's.
  /// Errors: kAlreadyExists region.image_name_taken; kNotFound region.no_such_snapshot;
  ///         kFailedPrecondition region.wrong_state (a snapshot that is not completed);
  ///         kResourceExhausted region.too_many_tags.
  Result<MachineImage> Register(MachineImage image, const TagMap& tags);
  /// The same inside a transaction of the caller's; `id` and `creation_time` are the caller's.
  static Result<MachineImage> RegisterIn(Transaction& transaction, MachineImage image,
                                         const TagMap& tags);
  /// Removes the record and its tags; instances made of it stay.
  /// Errors: kNotFound region.no_such_image.
  Result<void> Deregister(std::string_view id);
  /// Errors: kNotFound region.no_such_image.
  Result<MachineImage> Find(std::string_view id);
  /// By id.
  Result<std::vector<MachineImage>> List();

  /// The id of an image that names the snapshot, for who is about to delete it.
  static Result<std::optional<std::string>> UserOf(Transaction& transaction,
                                                   std::string_view snapshot_id);

 private:
  explicit Images(Context& context) : context_(context) {}
  Context& context_;
};

}  // namespace vmferry::region::vm
