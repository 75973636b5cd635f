// SPDX-License-Identifier: Apache-2.0
#include "region/import/inspection.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/byte_reader.h"
#include "base/units.h"
#include "region/import/fetch.h"
#include "region/import/known_systems.h"
#include "text/xml.h"

namespace vmferry::region {
namespace {

constexpr std::size_t kTextMax = 256 * kKiB;  // a grub.cfg of a system with many kernels: 20 KiB
constexpr std::size_t kKernelNameMax = 100;

constexpr std::string_view kUnknownSystem = "Unknown OS / Missing OS files.";
constexpr std::string_view kNoKernel = "Unable to determine kernel version.";
constexpr std::string_view kNoBoot = "No bootable partition found";

std::string_view NextLine(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return text::Trim(line);
}

std::string_view Unquoted(std::string_view text) {
  text = text::Trim(text);
  if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
      text.back() == text.front()) {
    text = text.substr(1, text.size() - 2);
  }
  return text;
}

// "vmlinuz-6.1.0-13-amd64" has the version 6.1.0-13-amd64.
std::string_view VersionOf(std::string_view file) {
  file = file.substr(file.rfind('/') + 1);
  for (const std::string_view prefix : {"vmlinuz-", "vmlinux-", "kernel-", "bzImage-"}) {
    if (file.starts_with(prefix)) return file.substr(prefix.size());
  }
  return {};
}

// It becomes part of paths and messages.
bool IsKernelName(std::string_view name) {
  return !name.empty() && name.size() <= kKernelNameMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-' || c == '+' || c == '~';
         });
}

// The disk of "loop1,gpt2"; nothing for logical volumes.
std::optional<std::size_t> DiskOf(std::string_view device) {
  if (!device.starts_with("loop")) return std::nullopt;
  device.remove_prefix(4);
  const auto disk = ParseUint(device.substr(0, device.find(',')));
  return disk ? std::optional(static_cast<std::size_t>(*disk)) : std::nullopt;
}

// One inspection; each step leaves its findings in the members.
class Inspector {
 public:
  Inspector(const GuestFiles& files, const std::vector<PartitionTable>& tables,
            const InspectionRequest& request, const OpContext& op)
      : files_(files), tables_(tables), request_(request), op_(op) {}

  Result<Findings> Run() {
    VMFERRY_RETURN_IF_ERROR(CheckTables());
    VMFERRY_RETURN_IF_ERROR(FindRoot());
    VMFERRY_RETURN_IF_ERROR(CheckFstab());
    VMFERRY_RETURN_IF_ERROR(ReadRelease());
    VMFERRY_RETURN_IF_ERROR(CheckArchitecture());
    VMFERRY_RETURN_IF_ERROR(FindBootFolder());
    VMFERRY_RETURN_IF_ERROR(FindKernel());
    VMFERRY_RETURN_IF_ERROR(CheckSystem());
    VMFERRY_RETURN_IF_ERROR(FindBootMode());
    VMFERRY_RETURN_IF_ERROR(FindDrivers());
    return findings_;
  }

 private:
  using Text = Result<std::optional<std::string>>;
  Text Read(std::string_view device, std::string_view path) {
    return files_.Read(device, path, kTextMax, op_);
  }

  Result<void> CheckTables() {
    const bool any = std::any_of(tables_.begin(), tables_.end(), [](const PartitionTable& table) {
      return table.kind != TableKind::kNone;
    });
    if (!any) return ClientError("No valid partitions. Not a valid volume.");
    VMFERRY_ASSIGN_OR_RETURN(devices_, files_.Devices(op_));
    return {};
  }

  // The one file system with an /etc and an fstab or a release file in it.
  Result<void> FindRoot() {
    constexpr std::array<std::string_view, 4> kMarks = {"fstab", "os-release", "redhat-release",
                                                        "debian_version"};
    std::vector<std::string> roots;
    for (const std::string& device : devices_) {
      if (device.find(',') == device.npos && !device.starts_with("lvm/")) continue;  // whole disk
      VMFERRY_ASSIGN_OR_RETURN(const auto names, files_.List(device, "/etc", op_));
      if (!names) {
        VMFERRY_ASSIGN_OR_RETURN(const auto windows, files_.List(device, "/Windows/System32", op_));
        // Not AWS's words: it would take it.
        if (windows) return ClientError("Windows guests are not modelled by this region");
        continue;
      }
      const bool marked = std::any_of(kMarks.begin(), kMarks.end(), [&](std::string_view mark) {
        return std::find(names->begin(), names->end(), mark) != names->end();
      });
      if (marked) roots.push_back(device);
    }
    if (roots.size() > 1) {
      return ClientError("Unsupported configuration - Multiple directories found");
    }
    if (!roots.empty()) {
      root_ = roots[0];
      return {};
    }
    const bool volumes = std::any_of(devices_.begin(), devices_.end(),
                                     [](const auto& device) { return device.starts_with("lvm/"); });
    for (const PartitionTable& table : tables_) {
      const bool physical =
          std::any_of(table.partitions.begin(), table.partitions.end(),
                      [](const DiskPartition& partition) { return partition.lvm; });
      if (!physical || volumes) continue;
      return ClientError("Unsupported configuration - Logical volume group activation failed");
    }
    return ClientError(kUnknownSystem);
  }

  Result<void> CheckFstab() {
    VMFERRY_ASSIGN_OR_RETURN(const auto fstab, Read(root_, "/etc/fstab"));
    if (!fstab) return ClientError("Invalid configuration - Could not read fstab");
    return {};
  }

  Result<void> ReadRelease() {
    VMFERRY_ASSIGN_OR_RETURN(auto os_release, Read(root_, "/etc/os-release"));
    if (!os_release) {
      VMFERRY_ASSIGN_OR_RETURN(os_release, Read(root_, "/usr/lib/os-release"));
    }
    VMFERRY_ASSIGN_OR_RETURN(const auto redhat, Read(root_, "/etc/redhat-release"));
    release_ = ParseRelease(os_release.value_or(""), redhat.value_or(""));
    findings_.distribution = release_.pretty_name;
    return {};
  }

  // By the header of a program that every system has.
  Result<void> CheckArchitecture() {
    constexpr std::size_t kElfBytes = 20;
    constexpr std::uint16_t kX86_64 = 62;  // ELF, e_machine
    constexpr std::uint16_t kAarch64 = 183;
    for (const char* program : {"/bin/sh", "/bin/bash", "/usr/bin/bash", "/bin/busybox"}) {
      VMFERRY_ASSIGN_OR_RETURN(const auto elf, files_.Read(root_, program, kElfBytes, op_));
      if (!elf || elf->size() < kElfBytes ||
          !elf->starts_with("\x7f"
                            "ELF"))
        continue;
      ByteReader reader(AsBytes(std::string_view(*elf)));
      reader.Skip(18);
      const std::uint16_t machine = reader.U16Le();
      if (machine == kX86_64) return {};
      // Not AWS's words.
      return ClientError(
          fmt::format("Unsupported architecture {}", machine == kAarch64 ? "arm64" : "i386"));
    }
    return ClientError(kUnknownSystem);
  }

  // /boot of the root file system, or a file system of its own that holds kernels.
  Result<void> FindBootFolder() {
    std::vector<std::pair<std::string, std::string>> places = {{root_, "/boot"}};
    for (const std::string& device : devices_) {
      if (device != root_ && device.find(',') != device.npos) places.emplace_back(device, "");
    }
    for (const auto& [device, folder] : places) {
      VMFERRY_ASSIGN_OR_RETURN(const auto names, files_.List(device, folder, op_));
      if (!names) continue;
      for (const std::string& name : *names) {
        if (const std::string_view version = VersionOf(name); IsKernelName(version)) {
          kernels_.emplace(version);
        }
      }
      if (kernels_.empty()) continue;
      boot_device_ = device;
      boot_folder_ = folder;
      return CheckOneDisk();
    }
    return ClientError(kNoKernel);
  }

  Result<void> CheckOneDisk() {
    const auto boot = DiskOf(boot_device_);
    const auto root = DiskOf(root_);
    // VM Import/Export, "Limitations": root partition on the same disk as the boot record.
    // Not AWS's words.
    if (boot && root && *boot != *root) {
      return ClientError(
          fmt::format("{} [root and boot partition lie on different disks]", kNoBoot));
    }
    findings_.root_disk = root.value_or(boot.value_or(0));
    return {};
  }

  Result<void> FindKernel() {
    std::set<std::string> configurations;
    for (const char* file : {"/grub/grub.cfg", "/grub2/grub.cfg", "/grub/menu.lst",
                             "/grub/grub.conf", "/efi/EFI/BOOT/grub.cfg"}) {
      VMFERRY_ASSIGN_OR_RETURN(const auto text, Read(boot_device_, boot_folder_ + file));
      if (text) configurations.insert(*text);
    }
    if (configurations.size() > 1) {
      return ClientError("Multiple different grub/menu.lst files found");
    }
    // Not AWS's words.
    if (configurations.empty()) return ClientError(fmt::format("{} [no GRUB]", kNoBoot));
    const std::string& configuration = *configurations.begin();
    findings_.kernel = DefaultKernel(configuration);
    if (findings_.kernel.empty() && configuration.find("blscfg") != std::string::npos) {
      VMFERRY_RETURN_IF_ERROR(FindBlsKernel());
    }
    if (!kernels_.contains(findings_.kernel)) return ClientError(kNoKernel);
    return {};
  }

  // Boot Loader Specification: entries in files of their own, the default one in grubenv.
  Result<void> FindBlsKernel() {
    constexpr std::string_view kSaved = "saved_entry=";
    std::string entry;
    for (const char* file : {"/grub2/grubenv", "/grub/grubenv"}) {
      VMFERRY_ASSIGN_OR_RETURN(const auto environment, Read(boot_device_, boot_folder_ + file));
      std::string_view rest = environment ? std::string_view(*environment) : std::string_view();
      while (!rest.empty()) {
        const std::string_view line = NextLine(rest);
        if (line.starts_with(kSaved)) entry = line.substr(kSaved.size());
      }
    }
    // "<machine id>-<kernel>"
    for (const std::string& kernel : kernels_) {
      if (entry.ends_with("-" + kernel)) findings_.kernel = kernel;
    }
    if (!findings_.kernel.empty()) return {};
    return ClientError("BLSC-style GRUB found, but unable to detect default kernel");
  }

  Result<void> CheckSystem() {
    switch (JudgeSystem(release_.id, release_.version, findings_.kernel)) {
      case SystemVerdict::kKnown:
        return {};
      case SystemVerdict::kUnknownSystem:
        return ClientError(kUnknownSystem);
      case SystemVerdict::kUnknownKernel:
        return ClientError(fmt::format("Unsupported kernel version {}", findings_.kernel));
    }
    return {};
  }

  bool StartsByBios() const {
    const PartitionTable& table = tables_[findings_.root_disk];
    if (!table.boot_code) return false;
    return table.kind == TableKind::kMbr ||
           std::any_of(table.partitions.begin(), table.partitions.end(),
                       [](const DiskPartition& partition) { return partition.bios_boot; });
  }

  // The fallback loader on an EFI system partition of the root's disk.
  Result<bool> StartsByUefi() {
    for (const DiskPartition& partition : tables_[findings_.root_disk].partitions) {
      if (!partition.efi_system) continue;
      const std::string device = fmt::format("loop{},{}", findings_.root_disk, partition.name);
      VMFERRY_ASSIGN_OR_RETURN(const auto loader,
                               files_.Read(device, "/EFI/BOOT/BOOTX64.EFI", 2, op_));
      if (loader == "MZ") return true;
    }
    return false;
  }

  Result<void> FindBootMode() {
    const bool bios = StartsByBios();
    VMFERRY_ASSIGN_OR_RETURN(const bool uefi, StartsByUefi());
    const std::string& asked = request_.boot_mode;
    const bool want_bios = asked == "legacy-bios" || (asked.empty() && bios);
    // Not AWS's words but for their beginning.
    if (want_bios && !bios) {
      return ClientError(fmt::format("{} [the disk cannot start by BIOS]", kNoBoot));
    }
    if (!want_bios && !uefi) {
      return ClientError(
          fmt::format("{} [there is no fallback loader /EFI/BOOT/BOOTX64.EFI on an EFI system "
                      "partition]",
                      kNoBoot));
    }
    findings_.boot_mode = want_bios ? "legacy-bios" : "uefi";
    return {};
  }

  Result<void> FindDrivers() {
    const std::string folder =
        fmt::format("/lib/modules/{}/kernel/drivers/net/ethernet/amazon/ena", findings_.kernel);
    VMFERRY_ASSIGN_OR_RETURN(const auto names, files_.List(root_, folder, op_));
    findings_.ena_support = names.has_value();
    return {};
  }

  const GuestFiles& files_;
  const std::vector<PartitionTable>& tables_;
  const InspectionRequest& request_;
  const OpContext& op_;

  std::vector<std::string> devices_;
  std::string root_;
  std::string boot_device_;
  std::string boot_folder_;
  std::set<std::string> kernels_;  // those with a file
  Release release_;
  Findings findings_;
};

}  // namespace

Result<Findings> InspectGuest(const GuestFiles& files, const std::vector<PartitionTable>& tables,
                              const InspectionRequest& request, const OpContext& op) {
  return Inspector(files, tables, request, op).Run();
}

Release ParseRelease(std::string_view os_release, std::string_view redhat_release) {
  Release release;
  while (!os_release.empty()) {
    const std::string_view line = NextLine(os_release);
    const std::size_t equals = line.find('=');
    if (equals == line.npos) continue;
    const std::string_view key = line.substr(0, equals);
    const std::string_view value = Unquoted(line.substr(equals + 1)).substr(0, kKernelNameMax);
    if (key == "ID") release.id = value;
    if (key == "VERSION_ID") release.version = value;
    if (key == "PRETTY_NAME") release.pretty_name = value;
  }
  if (!release.id.empty()) return release;
  // "CentOS release 6.8 (Final)", "Red Hat Enterprise Linux Server release 5.11 (Tikanga)"
  const std::string_view line = NextLine(redhat_release);
  constexpr std::string_view kRelease = " release ";
  const std::size_t at = line.find(kRelease);
  if (at == line.npos) return release;
  const std::string_view name = line.substr(0, at);
  if (name.starts_with("CentOS")) release.id = "centos";
  if (name.starts_with("Red Hat Enterprise Linux")) release.id = "rhel";
  if (name.starts_with("Fedora")) release.id = "fedora";
  const std::string_view version = line.substr(at + kRelease.size());
  release.version = version.substr(0, version.find(' '));
  release.pretty_name = line.substr(0, kKernelNameMax);
  return release;
}

std::string DefaultKernel(std::string_view config) {
  while (!config.empty()) {
    const std::string_view line = NextLine(config);
    const std::size_t blank = line.find_first_of(" \t");
    if (blank == line.npos) continue;
    const std::string_view command = line.substr(0, blank);
    if (command != "linux" && command != "linux16" && command != "linuxefi" &&
        command != "kernel") {
      continue;
    }
    const std::string_view rest = text::Trim(line.substr(blank));
    const std::string_view version = VersionOf(rest.substr(0, rest.find_first_of(" \t")));
    if (IsKernelName(version)) return std::string(version);
  }
  return {};
}

}  // namespace vmferry::region
