// SPDX-License-Identifier: Apache-2.0
//
// Appliance: a virtual machine as hypervisors hand it on, an OVA or an OVF with its files: what the
// machine is, and its disks, which are read where they lie.
//
// Reading the formats is image/ova; opening the disks inside is the root's (open.h).
//
// Thread safety: values, and a const Appliance may be used from any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "codec/digest.h"
#include "image/byte_source.h"
#include "image/disk_image.h"
#include "image/open.h"

namespace vmferry::image {

enum class Firmware {
  kNotSaid,  ///< hypervisors then take BIOS
  kBios,
  kUefi,
};

enum class DiskController {
  kNotSaid,
  kIde,
  kScsi,
  kSata,
  kNvme,
  kVirtio,  ///< virtio-blk; virtio-scsi is kScsi
  kUsb,
};

/// "not said", "BIOS", "UEFI".
std::string_view FirmwareName(Firmware firmware);
/// "IDE", "SCSI"...
std::string_view DiskControllerName(DiskController controller);

struct VmDisk {
  std::string id;
  std::string file;                  ///< as the descriptor names it
  std::uint64_t capacity_bytes = 0;  ///< what the descriptor says; 0: nothing
  DiskController controller = DiskController::kNotSaid;
  std::string controller_type;  ///< "lsilogic", "vmware.sata.ahci"; may be empty
  std::optional<std::uint32_t> controller_address;
  std::optional<std::uint32_t> unit;  ///< on its controller
  bool boot = false;                  ///< explicitly said to be booted from
};

struct VmNic {
  std::string network;
  std::string type;  ///< "E1000", "VmxNet3"; may be empty
  std::string mac;   ///< may be empty
};

/// One virtual machine. Whatever is 0 or empty was not said.
struct VmDescription {
  std::string name;
  std::string os_id;     ///< CIM number: "96"
  std::string os_type;   ///< the product's own word: "debian10_64Guest", "Debian_64"
  std::string os_text;   ///< for people
  std::string hardware;  ///< virtual system types: "vmx-13", "virtualbox-2.2"
  std::uint32_t cpu_count = 0;
  std::uint64_t memory_bytes = 0;
  Firmware firmware = Firmware::kNotSaid;
  std::vector<VmDisk> disks;  ///< those that have content, in boot order
  std::vector<VmNic> nics;
};

/// A file of the appliance: a range of the archive, or a file of its own.
struct ApplianceFile {
  std::string name;
  std::shared_ptr<const ByteSource> source;
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
};

/// A digest that the manifest promises.
struct ManifestEntry {
  std::string file;
  codec::DigestKind kind = codec::DigestKind::kSha256;
  std::string digest;  ///< lower-case hexadecimal
};

struct Manifest {
  std::string file;  ///< empty when the appliance has none
  std::vector<ManifestEntry> entries;
  /// Why it cannot be used, when it cannot.
  std::optional<Error> problem;
};

struct Appliance {
  std::string format;      ///< "ova", "ovf"
  std::string descriptor;  ///< the descriptor's file name
  VmDescription vm;
  /// The files of vm.disks, in the same order.
  std::vector<ApplianceFile> disk_files;
  /// The descriptor, the disks and whatever else the manifest names and is there.
  std::vector<ApplianceFile> files;
  Manifest manifest;
  /// File name of a certificate that signs the manifest; empty when there is none. Nobody has
  /// verified it.
  std::string certificate;
  /// What is wrong but does not prevent reading, one sentence each.
  std::vector<std::string> defects;
};

struct OpenedAppliance {
  Appliance appliance;
  std::vector<DiskFile> opened_files;  ///< as OpenedDisk::files
};

/// Opens the OVA or OVF at `location`; files of an OVF only in its own folder.
///
/// Errors: as OpenDisk; kInvalidArgument image.not_an_appliance; ova.*.
Result<OpenedAppliance> OpenAppliance(const std::string& location, const OpenOptions& options = {});

/// Opens disk `index` (from 0, as in vm.disks), whatever format it is in. It may outlive the
/// appliance.
///
/// Its Info() is that of the disk inside, but that it has no wire_format: the stored file is
/// another one. Disks that need further files (parents, extents) are refused.
/// Errors: as OpenDiskSource; kUnimplemented ova.nested.
Result<std::unique_ptr<DiskImage>> OpenApplianceDisk(const Appliance& appliance, std::size_t index);

/// Called now and then while digests are computed. Returning an error ends the work with it.
using ManifestProgress =
    std::function<Result<void>(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

/// How one promise of the manifest turned out.
struct DigestCheck {
  ManifestEntry expected;
  bool present = true;  ///< the appliance has the file
  std::string found;    ///< the file's digest, lower-case hexadecimal; empty when not present

  bool holds() const { return present && found == expected.digest; }
};

/// Reads every file the manifest names, in full, and computes its digests.
///
/// Errors: kNotFound ova.manifest.missing; the manifest's own problem; those of reading.
Result<std::vector<DigestCheck>> CheckManifest(const Appliance& appliance,
                                               const ManifestProgress& progress = {});

/// CheckManifest, and an error for the first promise that does not hold.
///
/// Errors: also kDataLoss ova.manifest.mismatch, with the facts path, digest, expected, found.
Result<std::vector<DigestCheck>> VerifyManifest(const Appliance& appliance,
                                                const ManifestProgress& progress = {});

/// "SHA-256".
std::string_view DigestName(codec::DigestKind kind);

}  // namespace vmferry::image
