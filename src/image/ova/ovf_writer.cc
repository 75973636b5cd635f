// SPDX-License-Identifier: Apache-2.0
#include "image/ova/ovf_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "text/xml.h"

namespace vmferry::image::ova {
namespace {

using text::XmlWriter;

constexpr std::string_view kVmdkFormat =
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
/// ESXi 5.5, the first with SATA; every later product takes it.
constexpr std::string_view kSystemType = "vmx-10";
/// CIM_OperatingSystem, "OSType": 102 is any other system of 64 bits.
constexpr std::string_view kOtherOsId = "102";
constexpr std::string_view kOtherOsType = "otherGuest64";

struct ControllerItem {
  std::string_view element;
  std::string_view sub_type;
  std::string_view resource_type;
};

/// IDE and SATA where the machine had them, else SCSI of a kind that the products know.
ControllerItem ControllerOf(const VmDescription& vm) {
  constexpr ControllerItem kLsiLogic = {"SCSI Controller 0", "lsilogic", "6"};
  if (vm.disks.empty()) return kLsiLogic;
  const VmDisk& disk = vm.disks.front();
  if (disk.controller == DiskController::kIde) return {"IDE Controller 0", "", "5"};
  if (disk.controller == DiskController::kSata) {
    return {"SATA Controller 0", "vmware.sata.ahci", "20"};
  }
  if (disk.controller_type == "lsilogicsas") return {"SCSI Controller 0", "lsilogicsas", "6"};
  if (disk.controller_type == "VirtualSCSI") return {"SCSI Controller 0", "VirtualSCSI", "6"};
  return kLsiLogic;
}

/// One Item: its properties in the order that the schema has them, which is the alphabet's.
class Item {
 public:
  Item(XmlWriter& xml, std::string_view element, std::string_view id, std::string_view type)
      : xml_(xml), element_(element), id_(id), type_(type) {}

  Item& Set(std::string_view name, std::string value) {
    properties_.emplace_back(name, std::move(value));
    return *this;
  }

  void Write() {
    // VirtualBox before 7 looks for the caption.
    Set("Caption", element_).Set("ElementName", element_);
    Set("InstanceID", id_).Set("ResourceType", type_);
    std::sort(properties_.begin(), properties_.end());
    xml_.Open("Item");
    for (const auto& [name, value] : properties_) xml_.Element("rasd:" + name, value);
    xml_.Close();
  }

 private:
  XmlWriter& xml_;
  const std::string element_;
  const std::string id_;
  const std::string type_;
  std::vector<std::pair<std::string, std::string>> properties_;
};

void WriteDisks(XmlWriter& xml, const OvfDiskFile& disk) {
  xml.Open("References");
  xml.Empty("File", {{"ovf:href", disk.file},
                     {"ovf:id", "file1"},
                     {"ovf:size", fmt::format("{}", disk.file_bytes)}});
  xml.Close();
  std::uint64_t capacity = disk.capacity_bytes;
  std::string_view units = "byte";
  if (capacity % kGiB == 0) {
    capacity /= kGiB;
    units = "byte * 2^30";
  } else if (capacity % kMiB == 0) {
    capacity /= kMiB;
    units = "byte * 2^20";
  }
  xml.Open("DiskSection").Element("Info", "Virtual disk information");
  xml.Empty("Disk", {{"ovf:capacity", fmt::format("{}", capacity)},
                     {"ovf:capacityAllocationUnits", std::string(units)},
                     {"ovf:diskId", "vmdisk1"},
                     {"ovf:fileRef", "file1"},
                     {"ovf:format", std::string(kVmdkFormat)}});
  xml.Close();
}

void WriteOs(XmlWriter& xml, const VmDescription& vm) {
  const bool number = !vm.os_id.empty() && ParseUint(vm.os_id).has_value();
  const std::string id = number ? vm.os_id : std::string(kOtherOsId);
  XmlWriter::Attributes attributes = {{"ovf:id", id}};
  // VMware's words; those of other products mean nothing to it.
  if (vm.os_type.find("Guest") != vm.os_type.npos) {
    attributes.emplace_back("vmw:osType", vm.os_type);
  } else if (!number) {
    attributes.emplace_back("vmw:osType", std::string(kOtherOsType));
  }
  xml.Open("OperatingSystemSection", attributes);
  xml.Element("Info", "The kind of installed guest operating system");
  if (!vm.os_text.empty()) xml.Element("Description", vm.os_text);
  xml.Close();
}

void WriteHardware(XmlWriter& xml, const VmDescription& vm, std::string_view name,
                   std::string_view network) {
  const std::uint32_t cpus = vm.cpu_count == 0 ? kDefaultCpus : vm.cpu_count;
  const std::uint64_t memory_bytes = vm.memory_bytes == 0 ? kDefaultMemoryBytes : vm.memory_bytes;
  const ControllerItem controller = ControllerOf(vm);
  xml.Open("VirtualHardwareSection").Element("Info", "Virtual hardware requirements");
  xml.Open("System")
      .Element("vssd:ElementName", "Virtual Hardware Family")
      .Element("vssd:InstanceID", "0")
      .Element("vssd:VirtualSystemIdentifier", name)
      .Element("vssd:VirtualSystemType", kSystemType)
      .Close();
  Item(xml, fmt::format("{} virtual CPU(s)", cpus), "1", "3")
      .Set("AllocationUnits", "hertz * 10^6")
      .Set("Description", "Number of Virtual CPUs")
      .Set("VirtualQuantity", fmt::format("{}", cpus))
      .Write();
  const std::uint64_t memory_mib = DivCeil(memory_bytes, kMiB);
  Item(xml, fmt::format("{}MB of memory", memory_mib), "2", "4")
      .Set("AllocationUnits", "byte * 2^20")
      .Set("Description", "Memory Size")
      .Set("VirtualQuantity", fmt::format("{}", memory_mib))
      .Write();
  Item bus(xml, controller.element, "3", controller.resource_type);
  bus.Set("Address", "0");
  if (!controller.sub_type.empty()) bus.Set("ResourceSubType", std::string(controller.sub_type));
  bus.Write();
  Item(xml, "Hard Disk 1", "4", "17")
      .Set("AddressOnParent", "0")
      .Set("HostResource", "ovf:/disk/vmdisk1")
      .Set("Parent", "3")
      .Write();
  Item(xml, "Network adapter 1", "5", "10")
      .Set("AddressOnParent", "7")
      .Set("AutomaticAllocation", "true")
      .Set("Connection", std::string(network))
      .Set("ResourceSubType", "E1000")
      .Write();
  if (vm.firmware != Firmware::kNotSaid) {
    xml.Empty("vmw:Config", {{"ovf:required", "false"},
                             {"vmw:key", "firmware"},
                             {"vmw:value", vm.firmware == Firmware::kUefi ? "efi" : "bios"}});
  }
  xml.Close();
}

/// The name for people; the plain one when XML cannot carry it.
std::string ShownName(std::string_view name) {
  if (name.empty()) return std::string(kDefaultName);
  const std::string probe = "<a>" + text::XmlEscape(name) + "</a>";
  return text::ParseXml(probe) ? std::string(name) : PlainName(name);
}

}  // namespace

std::string PlainName(std::string_view name) {
  std::string plain;
  for (const char c : name.substr(0, 64)) {
    const bool kept =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
    plain += kept ? c : '_';
  }
  // A leading dot would hide the file or be another folder.
  if (plain.empty() || plain.front() == '.') plain = std::string(kDefaultName) + plain;
  return plain;
}

std::string WriteOvf(const VmDescription& vm, const OvfDiskFile& disk) {
  const std::string name = ShownName(vm.name);
  const std::string network =
      vm.nics.empty() || vm.nics.front().network.empty() ? "VM Network" : vm.nics.front().network;
  XmlWriter xml(true, true);
  xml.Open("Envelope",
           {{"xmlns", "http://schemas.dmtf.org/ovf/envelope/1"},
            {"xmlns:ovf", "http://schemas.dmtf.org/ovf/envelope/1"},
            {"xmlns:rasd",
             "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"},
            {"xmlns:vssd",
             "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"},
            {"xmlns:vmw", "http://www.vmware.com/schema/ovf"},
            {"xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"}});
  WriteDisks(xml, disk);
  xml.Open("NetworkSection").Element("Info", "The list of logical networks");
  xml.Open("Network", {{"ovf:name", network}});
  xml.Element("Description", "The network of the machine").Close().Close();
  xml.Open("VirtualSystem", {{"ovf:id", PlainName(name)}});
  xml.Element("Info", "A virtual machine").Element("Name", name);
  WriteOs(xml, vm);
  WriteHardware(xml, vm, name, network);
  return xml.Finish();
}

}  // namespace vmferry::image::ova
