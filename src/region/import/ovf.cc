// SPDX-License-Identifier: Apache-2.0
#include "region/import/ovf.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "base/units.h"
#include "http/message.h"
#include "text/xml.h"

namespace vmferry::region {
namespace {

constexpr std::size_t kOvfBytesMax = 4 * kMiB;
constexpr std::size_t kDisksMax = 21;  // VM Import/Export, "Limitations": volumes per task

Error Refused(std::string_view text) {
  return Error(ErrorCode::kInvalidArgument, "region.upload_refused",
               fmt::format("Disk validation failed [{}]", text));
}
Error Unsupported() { return Refused("Unsupported OVA format"); }

// The last component of "ovf:/disk/vmdisk1" or "/disk/vmdisk1".
std::string_view LastWord(std::string_view resource) {
  return resource.substr(resource.rfind('/') + 1);
}

// fileRef -> href of References/File.
Result<std::map<std::string, std::string, std::less<>>> ReadFiles(const text::XmlElement& root) {
  std::map<std::string, std::string, std::less<>> files;
  const text::XmlElement* references = root.Find("References");
  if (references == nullptr) return Unsupported();
  for (const text::XmlElement& file : references->children) {
    if (file.name != "File") continue;
    if (file.Attribute("chunkSize")) {
      return Refused("OVF file parsing error: OVA with chunked disk files is not supported");
    }
    const auto id = file.Attribute("id");
    const auto href = file.Attribute("href");
    if (!id || !href || href->empty() || href->find_first_of("/\\:") != href->npos) {
      return Unsupported();
    }
    const std::string_view compression = file.Attribute("compression").value_or("identity");
    if (!compression.empty() && compression != "identity") return Unsupported();
    if (!files.emplace(*id, *href).second) return Unsupported();
  }
  return files;
}

struct Item {
  std::uint64_t controller = 0;
  std::uint64_t address = 0;
  std::string disk;  // diskId
};

// Disk drives of the machine, in the order of controller and address.
std::vector<Item> ReadDrives(const text::XmlElement& system) {
  constexpr std::string_view kDiskDrive = "17";  // CIM_ResourceAllocationSettingData, ResourceType
  std::vector<Item> drives;
  const text::XmlElement* hardware = system.Find("VirtualHardwareSection");
  if (hardware == nullptr) return drives;
  for (const text::XmlElement& item : hardware->children) {
    if (item.name != "Item" && item.name != "StorageItem") continue;
    if (item.TextAt("ResourceType") != kDiskDrive) continue;
    drives.push_back({.controller = ParseUint(item.TextAt("Parent")).value_or(0),
                      .address = ParseUint(item.TextAt("AddressOnParent")).value_or(0),
                      .disk = std::string(LastWord(item.TextAt("HostResource")))});
  }
  std::stable_sort(drives.begin(), drives.end(), [](const Item& a, const Item& b) {
    return std::tie(a.controller, a.address) < std::tie(b.controller, b.address);
  });
  return drives;
}

// VMware: <vmw:Config vmw:key="firmware" vmw:value="efi"/>
bool IsUefi(const text::XmlElement& system) {
  const text::XmlElement* hardware = system.Find("VirtualHardwareSection");
  if (hardware == nullptr) return false;
  return std::any_of(hardware->children.begin(), hardware->children.end(),
                     [](const text::XmlElement& element) {
                       return element.name == "Config" &&
                              element.Attribute("key") == std::string_view("firmware") &&
                              element.Attribute("value") == std::string_view("efi");
                     });
}

}  // namespace

Result<Ovf> ParseOvf(std::string_view document) {
  const auto parsed = text::ParseXml(document, {.bytes = kOvfBytesMax, .depth = 32});
  if (!parsed || parsed->name != "Envelope") return Unsupported();
  const text::XmlElement& root = *parsed;
  // A collection is several machines.
  const text::XmlElement* system = root.Find("VirtualSystem");
  if (system == nullptr || root.Find("VirtualSystemCollection") != nullptr) return Unsupported();
  VMFERRY_ASSIGN_OR_RETURN(const auto files, ReadFiles(root));
  std::map<std::string, std::string, std::less<>> disks;  // diskId -> file
  std::vector<std::string> order;
  const text::XmlElement* section = root.Find("DiskSection");
  if (section == nullptr) return Unsupported();
  for (const text::XmlElement& disk : section->children) {
    if (disk.name != "Disk") continue;
    const auto id = disk.Attribute("diskId");
    const auto file = files.find(disk.Attribute("fileRef").value_or(""));
    // An empty disk has no file, one with a parent needs another.
    if (!id || file == files.end() || disk.Attribute("parentRef")) return Unsupported();
    if (!disks.emplace(*id, file->second).second) return Unsupported();
    order.emplace_back(*id);
  }
  if (const std::vector<Item> drives = ReadDrives(*system); !drives.empty()) {
    order.clear();
    for (const Item& drive : drives) order.push_back(drive.disk);
  }
  Ovf ovf{.uefi = IsUefi(*system)};
  for (const std::string& id : order) {
    const auto disk = disks.find(id);
    if (disk == disks.end()) return Unsupported();
    const bool twice = std::find(ovf.disk_files.begin(), ovf.disk_files.end(), disk->second) !=
                       ovf.disk_files.end();
    if (twice) return Unsupported();
    ovf.disk_files.push_back(disk->second);
  }
  if (ovf.disk_files.empty() || ovf.disk_files.size() > kDisksMax) return Unsupported();
  return ovf;
}

}  // namespace vmferry::region
