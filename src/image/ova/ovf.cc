// SPDX-License-Identifier: Apache-2.0
#include "image/ova/ovf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "image/ova/damage.h"
#include "image/ova/hardware.h"
#include "image/ova/member_name.h"
#include "text/xml.h"

namespace vmferry::image::ova {
namespace {

using text::XmlElement;

constexpr std::string_view kNamespaces[] = {
    "http://schemas.dmtf.org/ovf/envelope/1",
    "http://schemas.dmtf.org/ovf/envelope/1/",  // oVirt
    "http://schemas.dmtf.org/ovf/envelope/2",
    "http://www.vmware.com/schema/ovf/1/envelope",  // before OVF 1.0
};

std::string AttributeOf(const XmlElement& element, std::string_view name) {
  const auto value = element.Attribute(name);
  return value ? std::string(text::Trim(*value)) : std::string();
}

/// OVF 1.0 and later name the section; before, and in oVirt, it is a <Section> or <Content> whose
/// xsi:type says which.
bool Is(const XmlElement& element, std::string_view name) {
  if (element.name == name) return true;
  if (element.name != "Section" && element.name != "Content") return false;
  const std::string type = AttributeOf(element, "type");
  std::string_view plain = type;
  if (const std::size_t colon = plain.find(':'); colon != plain.npos) {
    plain.remove_prefix(colon + 1);
  }
  return plain == fmt::format("{}_Type", name);
}

const XmlElement* FindSection(const XmlElement& parent, std::string_view name) {
  for (const XmlElement& child : parent.children) {
    if (Is(child, name)) return &child;
  }
  return nullptr;
}

std::optional<std::string> NotEmpty(std::string text) {
  if (text.empty()) return std::nullopt;
  return text;
}

/// An entry of the References.
struct Reference {
  std::string href;
  std::string size_text;
  std::string compression;
  bool chunked = false;
};

/// An entry of the DiskSection.
struct Disk {
  std::string id;
  std::string file_ref;
  std::string parent_ref;
  std::string interface;  ///< oVirt
  bool boot = false;      ///< oVirt
  std::uint64_t capacity_bytes = 0;
};

class Reader {
 public:
  explicit Reader(const XmlElement& envelope) : envelope_(envelope) {}

  Result<OvfDescriptor> Run() {
    VMFERRY_ASSIGN_OR_RETURN(system_, FindSystem());
    VMFERRY_RETURN_IF_ERROR(ReadReferences());
    CollectProperties(envelope_);
    CollectProperties(*system_);
    VMFERRY_RETURN_IF_ERROR(ReadDisks());
    ReadNames();
    const HardwareSection hardware = ReadHardware(*system_, out_.defects);
    TakeMachine(hardware);
    VMFERRY_RETURN_IF_ERROR(AttachDisks(hardware));
    if (out_.vm.disks.empty()) {
      return Unsupported("ova.no_disk",
                         "the virtual machine of the appliance has no disk with content",
                         "export it again with its disks");
    }
    return std::move(out_);
  }

 private:
  /// The one virtual system, also where it is the only one of a collection.
  Result<const XmlElement*> FindSystem() {
    std::vector<const XmlElement*> found;
    std::size_t depth = 0;
    CollectSystems(envelope_, depth, found);
    if (found.empty()) {
      return Unsupported("ova.no_system", "the appliance describes no virtual machine",
                         "export the virtual machine again");
    }
    if (found.size() == 1) return found.front();
    std::string names;
    for (std::size_t i = 0; i < std::min<std::size_t>(found.size(), 8); ++i) {
      names += fmt::format("{}{}", i == 0 ? "" : ", ", Shown(AttributeOf(*found[i], "id")));
    }
    return Unsupported(
        "ova.several_systems",
        fmt::format("the appliance holds {} virtual machines: {}", found.size(), names),
        "export each virtual machine into an appliance of its own, or unpack it and give the "
        "disks one by one");
  }

  static void CollectSystems(const XmlElement& parent, std::size_t depth,
                             std::vector<const XmlElement*>& found) {
    for (const XmlElement& child : parent.children) {
      if (Is(child, "VirtualSystem")) found.push_back(&child);
      // The parser bounds the depth.
      if (Is(child, "VirtualSystemCollection")) CollectSystems(child, depth + 1, found);
    }
  }

  /// DSP0243 2.1.1, "References": id unique, href, optional size, compression, chunkSize.
  Result<void> ReadReferences() {
    const XmlElement* section = FindSection(envelope_, "References");
    if (section == nullptr) return {};
    for (const XmlElement& child : section->children) {
      if (child.name != "File") continue;
      Reference reference = {.href = AttributeOf(child, "href"),
                             .size_text = AttributeOf(child, "size"),
                             .compression = AttributeOf(child, "compression"),
                             .chunked = !AttributeOf(child, "chunkSize").empty()};
      const std::string id = AttributeOf(child, "id");
      if (!references_.emplace(id, std::move(reference)).second) return Duplicate("file", id);
    }
    return {};
  }

  static Error Duplicate(std::string_view what, std::string_view id) {
    return Damage("ova.ovf.duplicate",
                  fmt::format("the descriptor has two entries for {} '{}'", what, Shown(id)));
  }

  /// DSP0243 2.1.1, "ProductSection": values that ${key} stands for.
  void CollectProperties(const XmlElement& parent) {
    for (const XmlElement& section : parent.children) {
      if (!Is(section, "ProductSection")) continue;
      const std::string prefix = AttributeOf(section, "class");
      const std::string suffix = AttributeOf(section, "instance");
      for (const XmlElement& property : section.children) {
        if (property.name != "Property") continue;
        std::string key = AttributeOf(property, "key");
        if (!prefix.empty()) key = fmt::format("{}.{}", prefix, key);
        if (!suffix.empty()) key = fmt::format("{}.{}", key, suffix);
        properties_.emplace(std::move(key), AttributeOf(property, "value"));
      }
    }
  }

  Result<std::uint64_t> ParseCapacity(const XmlElement& element, std::string_view id) const {
    std::string text = AttributeOf(element, "capacity");
    std::string units = AttributeOf(element, "capacityAllocationUnits");
    if (text.empty() && element.Attribute("size")) {
      // oVirt's export domains: whole gigabytes.
      text = AttributeOf(element, "size");
      units = "GigaBytes";
    }
    if (text.empty()) return std::uint64_t{0};
    if (text.starts_with("${") && text.ends_with("}")) {
      const auto property = properties_.find(text.substr(2, text.size() - 3));
      if (property != properties_.end()) text = property->second;
    }
    const auto value = ParseUint(text);
    const auto factor =
        units.empty() ? std::optional<std::uint64_t>(1) : ParseAllocationUnits(units);
    const auto bytes = value && factor ? CheckedMul(*value, *factor) : std::nullopt;
    if (bytes && *bytes <= (std::uint64_t{1} << 62)) return *bytes;
    return Damage("ova.ovf.capacity",
                  fmt::format("disk '{}' has the capacity '{}' in units of '{}'", Shown(id),
                              Shown(text), Shown(units)));
  }

  /// DSP0243 2.1.1, "DiskSection".
  Result<void> ReadDisks() {
    const XmlElement* section = FindSection(envelope_, "DiskSection");
    if (section == nullptr) return {};
    std::set<std::string> ids;
    for (const XmlElement& child : section->children) {
      if (child.name != "Disk") continue;
      if (disks_.size() == kMaxVmDisks) {
        return Unsupported("ova.ovf.too_many",
                           fmt::format("the descriptor has more than {} disks", kMaxVmDisks));
      }
      Disk disk = {.id = AttributeOf(child, "diskId"),
                   .file_ref = AttributeOf(child, "fileRef"),
                   .parent_ref = AttributeOf(child, "parentRef"),
                   .interface = AttributeOf(child, "disk-interface"),
                   .boot = AttributeOf(child, "boot") == "true"};
      if (!ids.insert(disk.id).second) return Duplicate("disk", disk.id);
      VMFERRY_ASSIGN_OR_RETURN(disk.capacity_bytes, ParseCapacity(child, disk.id));
      disks_.push_back(std::move(disk));
    }
    return {};
  }

  void ReadNames() {
    VmDescription& vm = out_.vm;
    vm.name = NotEmpty(system_->TextAt("Name")).value_or(AttributeOf(*system_, "id"));
    const XmlElement* os = FindSection(*system_, "OperatingSystemSection");
    if (os == nullptr) return;
    vm.os_id = AttributeOf(*os, "id");
    vm.os_type = NotEmpty(AttributeOf(*os, "osType")).value_or(os->TextAt("OSType"));
    vm.os_text = os->TextAt("Description");
  }

  void TakeMachine(const HardwareSection& hardware) {
    out_.vm.hardware = hardware.system_types;
    out_.vm.cpu_count = hardware.cpu_count;
    out_.vm.memory_bytes = hardware.memory_bytes;
    out_.vm.firmware = hardware.firmware;
    out_.vm.nics = hardware.nics;
  }

  const Disk* FindDisk(std::string_view reference) const {
    for (const Disk& disk : disks_) {
      if (disk.id == reference) return &disk;
    }
    // oVirt's export domains name the file instead.
    for (const Disk& disk : disks_) {
      if (!disk.file_ref.empty() && disk.file_ref == reference) return &disk;
    }
    return nullptr;
  }

  /// Puts the disks in the order in which the machine tries to boot from them.
  Result<void> AttachDisks(const HardwareSection& hardware) {
    std::set<const Disk*> attached;
    for (const DriveItem& drive : hardware.drives) {
      if (drive.disk_reference.empty()) {
        out_.defects.emplace_back("the machine has a drive without a disk, which is left out");
        continue;
      }
      const Disk* disk = FindDisk(drive.disk_reference);
      if (disk == nullptr) {
        return Damage(
            "ova.ovf.disk_reference",
            fmt::format("the machine has a disk '{}' that the descriptor does not describe",
                        Shown(drive.disk_reference)));
      }
      if (!attached.insert(disk).second) {
        return Damage("ova.ovf.shared_file",
                      fmt::format("two drives of the machine are disk '{}'", Shown(disk->id)));
      }
      VMFERRY_RETURN_IF_ERROR(AddDisk(*disk, &drive));
    }
    for (const Disk& disk : disks_) {
      if (attached.count(&disk) != 0) continue;
      if (!disk.file_ref.empty()) {
        out_.defects.push_back(
            fmt::format("disk '{}' is attached to no drive of the machine: taken "
                        "for its last one",
                        Shown(disk.id)));
      }
      VMFERRY_RETURN_IF_ERROR(AddDisk(disk, nullptr));
    }
    return {};
  }

  Result<void> AddDisk(const Disk& disk, const DriveItem* drive) {
    // A disk without a file is made empty at import.
    if (disk.file_ref.empty()) {
      out_.defects.push_back(
          fmt::format("disk '{}' has no content and is left out", Shown(disk.id)));
      return {};
    }
    if (!disk.parent_ref.empty()) {
      return Unsupported("ova.ovf.parent",
                         fmt::format("disk '{}' holds only differences to disk '{}'",
                                     Shown(disk.id), Shown(disk.parent_ref)),
                         "export the virtual machine without VM snapshots");
    }
    VMFERRY_ASSIGN_OR_RETURN(const Reference* reference, FindReference(disk));
    VMFERRY_RETURN_IF_ERROR(CheckReference(*reference));
    if (!used_.insert(reference).second) {
      return Damage("ova.ovf.shared_file",
                    fmt::format("two disks are the file '{}'", Shown(reference->href)));
    }
    VmDisk made = {.id = disk.id,
                   .file = reference->href,
                   .capacity_bytes = disk.capacity_bytes,
                   .boot = disk.boot};
    if (drive != nullptr) {
      made.controller = drive->controller;
      made.controller_type = drive->controller_type;
      made.controller_address = drive->controller_address;
      made.unit = drive->unit;
    }
    if (made.controller == DiskController::kNotSaid) {
      made.controller = ControllerOfInterface(disk.interface);
    }
    const auto size_bytes = ParseUint(reference->size_text);
    if (!reference->size_text.empty() && !size_bytes) {
      out_.defects.push_back(fmt::format("file '{}' has the size '{}'", Shown(reference->href),
                                         Shown(reference->size_text)));
    }
    // What is said to be booted from comes first; for the rest the order stands.
    const auto place = made.boot ? std::find_if(out_.vm.disks.begin(), out_.vm.disks.end(),
                                                [](const VmDisk& other) { return !other.boot; })
                                 : out_.vm.disks.end();
    const auto index = place - out_.vm.disks.begin();
    out_.vm.disks.insert(place, std::move(made));
    out_.disk_files.insert(out_.disk_files.begin() + index, {reference->href, size_bytes});
    return {};
  }

  Result<const Reference*> FindReference(const Disk& disk) const {
    if (const auto found = references_.find(disk.file_ref); found != references_.end()) {
      return &found->second;
    }
    for (const auto& [id, reference] : references_) {
      if (reference.href == disk.file_ref) return &reference;  // oVirt's export domains
    }
    return Damage("ova.ovf.file_reference",
                  fmt::format("disk '{}' is in file '{}', which the descriptor does not list",
                              Shown(disk.id), Shown(disk.file_ref)));
  }

  static Result<void> CheckReference(const Reference& reference) {
    const std::string shown = Shown(reference.href);
    const std::size_t colon = reference.href.find(':');
    if (colon != std::string::npos && colon < reference.href.find('/')) {
      return Unsupported("ova.ovf.remote_file",
                         fmt::format("a disk is not a file of the appliance but '{}'", shown),
                         "fetch the file and put it beside the descriptor");
    }
    const auto decoded = DecodeUri(reference.href);
    if (!NormalizeMemberName(reference.href) || (decoded && !NormalizeMemberName(*decoded))) {
      return Damage("ova.ovf.bad_href",
                    fmt::format("a disk is said to be the file '{}', which is no plain name inside "
                                "the appliance",
                                shown));
    }
    if (!reference.compression.empty() && reference.compression != "identity") {
      return Unsupported("ova.ovf.compressed",
                         fmt::format("the file '{}' is compressed by the method '{}'", shown,
                                     Shown(reference.compression)),
                         "unpack the appliance, decompress the disk and give it by itself");
    }
    if (reference.chunked) {
      return Unsupported("ova.ovf.chunked", fmt::format("the file '{}' is cut into chunks", shown),
                         "unpack the appliance, join the chunks (cat FILE.* > FILE) and give the "
                         "disk by itself");
    }
    return {};
  }

  const XmlElement& envelope_;
  const XmlElement* system_ = nullptr;
  std::map<std::string, Reference> references_;  // by id
  std::map<std::string, std::string> properties_;
  std::vector<Disk> disks_;
  std::set<const Reference*> used_;
  OvfDescriptor out_;
};

}  // namespace

Result<OvfDescriptor> ParseOvf(std::string_view text) {
  if (text.size() > kMaxOvfBytes) {
    return Damage("ova.ovf.too_large", fmt::format("the descriptor has {} bytes, more than {}",
                                                   text.size(), kMaxOvfBytes));
  }
  auto envelope = text::ParseXml(text, {.bytes = kMaxOvfBytes, .elements = kMaxOvfElements});
  if (!envelope) {
    return Damage("ova.ovf.xml", "the appliance's descriptor cannot be read")
        .CausedBy(std::move(envelope).error());
  }
  if (envelope->name != "Envelope") {
    return Damage(
        "ova.ovf.not_an_envelope",
        fmt::format("the descriptor is a '{}', not an OVF Envelope", Shown(envelope->name)));
  }
  // DSP0243 2.1.1, "OVF Envelope": the namespace is the version.
  const bool known = std::find(std::begin(kNamespaces), std::end(kNamespaces),
                               envelope->namespace_uri) != std::end(kNamespaces);
  if (!known) {
    return Unsupported("ova.ovf.version",
                       fmt::format("the descriptor is in the version of OVF called '{}', which is "
                                   "not known",
                                   Shown(envelope->namespace_uri)));
  }
  return Reader(*envelope).Run();
}

}  // namespace vmferry::image::ova
