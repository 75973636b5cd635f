// SPDX-License-Identifier: Apache-2.0
#include "image/ova/hardware.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "base/units.h"
#include "image/ova/member_name.h"
#include "image/ova/ovf.h"

namespace vmferry::image::ova {
namespace {

using text::XmlElement;

/// CIM_ResourceAllocationSettingData, "ResourceType".
enum class ResourceType : std::uint64_t {
  kProcessor = 3,
  kMemory = 4,
  kIde = 5,
  kScsi = 6,
  kEthernet = 10,
  kDisk = 17,
  kStorageExtent = 19,
  kOtherStorage = 20,
  kUsb = 23,
  kLogicalDisk = 31,
};

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

/// Text of the item's property, in any case: "InstanceID" was "InstanceId".
std::string Property(const XmlElement& item, std::string_view name) {
  const std::string wanted = Lower(name);
  for (const XmlElement& child : item.children) {
    if (Lower(child.name) == wanted) return std::string(text::Trim(child.text));
  }
  return {};
}

std::string AttributeOf(const XmlElement& element, std::string_view name) {
  const auto value = element.Attribute(name);
  return value ? std::string(text::Trim(*value)) : std::string();
}

std::optional<std::uint32_t> SmallNumber(std::string_view text) {
  const auto value = ParseUint(text);
  if (!value || *value > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

struct Controller {
  DiskController kind = DiskController::kNotSaid;
  std::string type;
  std::optional<std::uint32_t> address;
};

/// "vmware.sata.ahci", "AHCI", "vmware.nvme.controller", "NVMe", "VirtioSCSI".
DiskController KindOfOtherStorage(std::string_view sub_type) {
  const std::string lower = Lower(sub_type);
  if (lower.find("nvme") != lower.npos) return DiskController::kNvme;
  if (lower.find("sata") != lower.npos || lower.find("ahci") != lower.npos) {
    return DiskController::kSata;
  }
  if (lower.find("scsi") != lower.npos) return DiskController::kScsi;
  if (lower.find("virtio") != lower.npos) return DiskController::kVirtio;
  return DiskController::kNotSaid;
}

std::optional<DiskController> ControllerKind(ResourceType type, std::string_view sub_type) {
  switch (type) {
    case ResourceType::kIde:
      return DiskController::kIde;
    case ResourceType::kScsi:
      return DiskController::kScsi;
    case ResourceType::kOtherStorage:
      return KindOfOtherStorage(sub_type);
    case ResourceType::kUsb:
      return DiskController::kUsb;
    case ResourceType::kProcessor:
    case ResourceType::kMemory:
    case ResourceType::kEthernet:
    case ResourceType::kDisk:
    case ResourceType::kStorageExtent:
    case ResourceType::kLogicalDisk:
      break;
  }
  return std::nullopt;
}

/// "ovf:/disk/vmdisk1", "/disk/vmdisk1": the id behind the last marker; oVirt: the file by itself.
std::string DiskReference(std::string_view host_resource) {
  if (host_resource.starts_with("ovf:")) host_resource.remove_prefix(4);
  while (host_resource.starts_with('/')) host_resource.remove_prefix(1);
  if (host_resource.starts_with("disk/")) host_resource.remove_prefix(5);
  return std::string(host_resource);
}

class Section {
 public:
  Section(const XmlElement& system, std::vector<std::string>& defects)
      : system_(system), defects_(defects) {}

  HardwareSection Run() {
    const XmlElement* section = FindSection();
    if (section != nullptr) {
      ReadItems(*section);
    } else {
      defects_.emplace_back("the descriptor says nothing about the machine's hardware");
    }
    ReadFirmware(section);
    SortDrives();
    return std::move(out_);
  }

 private:
  const XmlElement* FindSection() {
    const XmlElement* found = nullptr;
    for (const XmlElement& child : system_.children) {
      const bool old = child.name == "Section" &&
                       AttributeOf(child, "type").ends_with("VirtualHardwareSection_Type");
      if (child.name != "VirtualHardwareSection" && !old) continue;
      if (found != nullptr) {
        // DSP0243 2.1.1, "VirtualHardwareSection": several are alternatives.
        defects_.emplace_back("the machine has several hardware sections: the first is taken");
        return found;
      }
      found = &child;
    }
    return found;
  }

  /// Items that hold in the default configuration.
  std::vector<const XmlElement*> Items(const XmlElement& section) const {
    std::vector<const XmlElement*> items;
    for (const XmlElement& child : section.children) {
      const bool item =
          child.name == "Item" || child.name == "StorageItem" || child.name == "EthernetPortItem";
      if (!item) continue;
      // DSP0243 2.1.1, "DeploymentOptionSection" and "Ranges on elements": without these
      // attributes an item always holds, and gives the value itself.
      if (child.Attribute("configuration") || child.Attribute("bound")) continue;
      items.push_back(&child);
    }
    return items;
  }

  void ReadItems(const XmlElement& section) {
    if (const XmlElement* system = section.Find("System")) {
      out_.system_types = Property(*system, "VirtualSystemType");
    }
    const std::vector<const XmlElement*> items = Items(section);
    for (const XmlElement* item : items) ReadController(*item);
    for (const XmlElement* item : items) {
      const auto type = ParseUint(Property(*item, "ResourceType"));
      if (!type) continue;
      switch (static_cast<ResourceType>(*type)) {
        case ResourceType::kProcessor:
          ReadProcessor(*item);
          break;
        case ResourceType::kMemory:
          ReadMemory(*item);
          break;
        case ResourceType::kEthernet:
          ReadNic(*item);
          break;
        case ResourceType::kDisk:
        case ResourceType::kStorageExtent:
        case ResourceType::kLogicalDisk:
          ReadDrive(*item);
          break;
        case ResourceType::kIde:
        case ResourceType::kScsi:
        case ResourceType::kOtherStorage:
        case ResourceType::kUsb:
          break;
      }
    }
  }

  void ReadController(const XmlElement& item) {
    const auto type = ParseUint(Property(item, "ResourceType"));
    if (!type) return;
    const std::string sub_type = Property(item, "ResourceSubType");
    const auto kind = ControllerKind(static_cast<ResourceType>(*type), sub_type);
    if (!kind) return;
    auto address = SmallNumber(Property(item, "Address"));
    if (!address) address = SmallNumber(Property(item, "BusNumber"));  // before OVF 1.0
    controllers_.emplace(Property(item, "InstanceID"),
                         Controller{.kind = *kind, .type = sub_type, .address = address});
  }

  void ReadProcessor(const XmlElement& item) {
    if (out_.cpu_count != 0) return;
    const std::string text = Property(item, "VirtualQuantity");
    const auto count = SmallNumber(text);
    if (count && *count > 0 && *count <= kMaxCpus) {
      out_.cpu_count = *count;
      return;
    }
    const auto sockets = SmallNumber(Property(item, "num_of_sockets"));  // oVirt
    const auto cores = SmallNumber(Property(item, "cpu_per_socket"));
    if (text.empty() && sockets && cores && *sockets <= kMaxCpus && *cores <= kMaxCpus &&
        *sockets * *cores > 0) {
      out_.cpu_count = *sockets * *cores;
      return;
    }
    defects_.push_back(fmt::format("the machine has '{}' processors", Shown(text)));
  }

  void ReadMemory(const XmlElement& item) {
    if (out_.memory_bytes != 0) return;
    const std::string text = Property(item, "VirtualQuantity");
    const std::string units = Property(item, "AllocationUnits");
    const auto value = ParseUint(text);
    // Where nothing is said, programs mean megabytes.
    const auto factor =
        units.empty() ? std::optional<std::uint64_t>(kMiB) : ParseAllocationUnits(units);
    const auto bytes = value && factor ? CheckedMul(*value, *factor) : std::nullopt;
    if (bytes && *bytes > 0) {
      out_.memory_bytes = *bytes;
      return;
    }
    defects_.push_back(
        fmt::format("the machine has memory of '{}' in units of '{}'", Shown(text), Shown(units)));
  }

  void ReadNic(const XmlElement& item) {
    if (out_.nics.size() == kMaxVmNics) return;
    std::string mac = Property(item, "MACAddress");  // oVirt
    if (mac.empty()) mac = Property(item, "Address");
    out_.nics.push_back({.network = Property(item, "Connection"),
                         .type = Property(item, "ResourceSubType"),
                         .mac = std::move(mac)});
  }

  void ReadDrive(const XmlElement& item) {
    if (out_.drives.size() == kMaxVmDisks) return;
    DriveItem drive;
    drive.disk_reference = DiskReference(Property(item, "HostResource"));
    drive.unit = SmallNumber(Property(item, "AddressOnParent"));
    if (const auto parent = controllers_.find(Property(item, "Parent"));
        parent != controllers_.end()) {
      drive.controller = parent->second.kind;
      drive.controller_type = parent->second.type;
      drive.controller_address = parent->second.address;
    }
    out_.drives.push_back(std::move(drive));
  }

  /// VMware says it in a Config or ExtraConfig, VirtualBox in its Machine, oVirt in a BiosType.
  void ReadFirmware(const XmlElement* section) {
    if (section != nullptr) {
      for (const XmlElement& child : section->children) {
        if (child.name != "Config" && child.name != "ExtraConfig") continue;
        if (AttributeOf(child, "key") == "firmware") TakeFirmware(AttributeOf(child, "value"));
      }
    }
    if (const XmlElement* firmware = system_.FindPath("Machine/Hardware/Firmware")) {
      TakeFirmware(AttributeOf(*firmware, "type"));
    }
    const std::string bios_type = system_.TextAt("BiosType");
    // org.ovirt.engine BiosType: 1 and 2 are SeaBIOS, 3 and 4 OVMF.
    if (bios_type == "1" || bios_type == "2") TakeFirmware("bios");
    if (bios_type == "3" || bios_type == "4") TakeFirmware("efi");
  }

  void TakeFirmware(std::string_view word) {
    const std::string lower = Lower(word);
    if (lower == "bios") {
      out_.firmware = Firmware::kBios;
    } else if (lower.starts_with("efi") || lower.starts_with("uefi")) {
      out_.firmware = Firmware::kUefi;  // VirtualBox: EFI, EFI32, EFI64, EFIDUAL
    } else if (!lower.empty()) {
      defects_.push_back(fmt::format("the machine has the firmware '{}'", Shown(word)));
    }
  }

  /// Kinds of controllers in the order in which drives first name them; then by controller, then
  /// by unit; drives that say nothing stay in their order.
  void SortDrives() {
    std::vector<DiskController> kinds;
    for (const DriveItem& drive : out_.drives) {
      if (std::find(kinds.begin(), kinds.end(), drive.controller) == kinds.end()) {
        kinds.push_back(drive.controller);
      }
    }
    const auto key = [&](const DriveItem& drive) {
      const auto rank = std::find(kinds.begin(), kinds.end(), drive.controller) - kinds.begin();
      return std::tuple(rank, drive.controller_address.value_or(0), drive.unit.value_or(0));
    };
    std::stable_sort(out_.drives.begin(), out_.drives.end(),
                     [&](const DriveItem& a, const DriveItem& b) { return key(a) < key(b); });
  }

  /// More than any hypervisor gives a machine.
  static constexpr std::uint32_t kMaxCpus = 4096;

  const XmlElement& system_;
  std::vector<std::string>& defects_;
  std::map<std::string, Controller> controllers_;  // by instance id
  HardwareSection out_;
};

}  // namespace

HardwareSection ReadHardware(const XmlElement& system, std::vector<std::string>& defects) {
  return Section(system, defects).Run();
}

DiskController ControllerOfInterface(std::string_view interface) {
  const std::string lower = Lower(interface);
  if (lower == "ide") return DiskController::kIde;
  if (lower == "sata") return DiskController::kSata;
  if (lower == "virtio") return DiskController::kVirtio;
  if (lower.find("scsi") != lower.npos) return DiskController::kScsi;
  return DiskController::kNotSaid;
}

}  // namespace vmferry::image::ova
