// SPDX-License-Identifier: Apache-2.0
#include "image/ova/ovf.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "testing/ova_builder.h"

namespace vmferry::image::ova {
namespace {

using testing::OvfDiskText;

const std::vector<OvfDiskText> kTwoDisks = {{"disk-1", 1000, 8 * kGiB}, {"disk-2", 2000, kGiB}};

OvfDescriptor Parse(const std::string& text) {
  auto descriptor = ParseOvf(text);
  EXPECT_TRUE(descriptor.has_value()) << descriptor.error().ToString();
  return descriptor ? *std::move(descriptor) : OvfDescriptor();
}

std::string Refusal(const std::string& text) {
  const auto descriptor = ParseOvf(text);
  if (descriptor) return "";
  EXPECT_FALSE(descriptor.error().remedy().empty()) << descriptor.error().reason();
  return descriptor.error().reason();
}

/// `text` with the first `from` replaced.
std::string With(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  if (at != text.npos) text.replace(at, from.size(), to);
  return text;
}

TEST(Ovf, ReadsWhatVmwareWrites) {
  const OvfDescriptor descriptor = Parse(testing::VmwareOvf(kTwoDisks));
  const VmDescription& vm = descriptor.vm;
  EXPECT_EQ(vm.name, "web01");
  EXPECT_EQ(vm.os_id, "96");
  EXPECT_EQ(vm.os_type, "debian10_64Guest");
  EXPECT_EQ(vm.os_text, "Debian GNU/Linux 10 (64-bit)");
  EXPECT_EQ(vm.hardware, "vmx-14");
  EXPECT_EQ(vm.cpu_count, 4U);
  EXPECT_EQ(vm.memory_bytes, 8 * kGiB);
  EXPECT_EQ(vm.firmware, Firmware::kUefi);
  ASSERT_EQ(vm.disks.size(), 2U);
  // The builder lists the second disk first: units decide.
  EXPECT_EQ(vm.disks[0].id, "vmdisk1");
  EXPECT_EQ(vm.disks[0].file, "disk-1");
  EXPECT_EQ(vm.disks[0].capacity_bytes, 8 * kGiB);
  EXPECT_EQ(vm.disks[0].controller, DiskController::kScsi);
  EXPECT_EQ(vm.disks[0].controller_type, "lsilogic");
  EXPECT_EQ(vm.disks[0].controller_address, 0U);
  EXPECT_EQ(vm.disks[1].unit, 1U);
  EXPECT_EQ(descriptor.disk_files.at(1).size_bytes, 2000U);
  ASSERT_EQ(vm.nics.size(), 1U);
  EXPECT_EQ(vm.nics[0].network, "VM Network");
  EXPECT_EQ(vm.nics[0].type, "VmxNet3");
  EXPECT_TRUE(descriptor.defects.empty());
  EXPECT_EQ(Parse(testing::VmwareOvf(kTwoDisks, "bios")).vm.firmware, Firmware::kBios);
}

TEST(Ovf, ReadsWhatVirtualBoxWrites) {
  const OvfDescriptor descriptor = Parse(testing::VirtualBoxOvf(kTwoDisks));
  const VmDescription& vm = descriptor.vm;
  EXPECT_EQ(vm.name, "appliance");
  EXPECT_EQ(vm.os_type, "Debian_64");
  EXPECT_EQ(vm.hardware, "virtualbox-2.2");
  EXPECT_EQ(vm.cpu_count, 2U);
  EXPECT_EQ(vm.memory_bytes, 2 * kGiB);
  EXPECT_EQ(vm.firmware, Firmware::kUefi);
  ASSERT_EQ(vm.disks.size(), 2U);
  EXPECT_EQ(vm.disks[0].capacity_bytes, 8 * kGiB);
  EXPECT_EQ(vm.disks[1].controller, DiskController::kSata);
  EXPECT_EQ(vm.disks[1].unit, 1U);
  EXPECT_EQ(
      Parse(With(testing::VirtualBoxOvf(kTwoDisks), "<Firmware type=\"EFI\"/>", "")).vm.firmware,
      Firmware::kNotSaid);
}

TEST(Ovf, ReadsWhatOvirtWrites) {
  const OvfDescriptor descriptor = Parse(testing::OvirtOvf(kTwoDisks));
  const VmDescription& vm = descriptor.vm;
  EXPECT_EQ(vm.name, "rhel8");
  EXPECT_EQ(vm.os_text, "rhel_8x64");
  EXPECT_EQ(vm.cpu_count, 2U);
  EXPECT_EQ(vm.memory_bytes, 4 * kGiB);
  EXPECT_EQ(vm.firmware, Firmware::kUefi);
  ASSERT_EQ(vm.disks.size(), 2U);
  EXPECT_EQ(vm.disks[0].file, "disk-2") << "it is the one said to be booted from";
  EXPECT_EQ(vm.disks[1].capacity_bytes, 8 * kGiB);
  EXPECT_EQ(vm.disks[1].controller, DiskController::kVirtio);
  EXPECT_EQ(vm.nics.at(0).mac, "56:6f:1c:00:00:01");
}

TEST(Ovf, ReadsOvf2WithPropertiesRangesAndConfigurations) {
  const OvfDescriptor descriptor = Parse(testing::Ovf2(kTwoDisks));
  const VmDescription& vm = descriptor.vm;
  EXPECT_EQ(vm.name, "second & version");
  EXPECT_EQ(vm.cpu_count, 1U);
  EXPECT_EQ(vm.memory_bytes, kGiB);
  ASSERT_EQ(vm.disks.size(), 2U);
  EXPECT_EQ(vm.disks[0].capacity_bytes, 8 * kGiB);
  EXPECT_EQ(vm.disks[0].controller, DiskController::kNvme);
  EXPECT_EQ(vm.nics.at(0).mac, "00-50-56-00-00-01");
  EXPECT_EQ(vm.firmware, Firmware::kNotSaid);
}

TEST(Ovf, ReadsEarlyVmwareAndHyperV) {
  const OvfDescriptor early = Parse(testing::EarlyVmwareOvf(kTwoDisks));
  EXPECT_EQ(early.vm.name, "old");
  EXPECT_EQ(early.vm.memory_bytes, 256 * kMiB);
  EXPECT_EQ(early.vm.disks.at(1).controller, DiskController::kScsi);
  EXPECT_EQ(early.vm.disks.at(1).controller_address, 0U);
  const OvfDescriptor hyper_v = Parse(testing::HyperVOvf(kTwoDisks));
  EXPECT_EQ(hyper_v.vm.disks.at(0).controller, DiskController::kIde);
  EXPECT_EQ(hyper_v.vm.disks.at(0).capacity_bytes, 8 * kGiB);
  EXPECT_EQ(hyper_v.vm.nics.at(0).mac, "00155D000101");
}

TEST(Ovf, UnderstandsAllocationUnits) {
  struct Case {
    const char* text;
    std::uint64_t factor;  ///< 0: not understood
  };
  const Case cases[] = {
      {"byte", 1},
      {"bytes", 1},
      {"byte * 2^30", kGiB},
      {"byte*2^20", kMiB},
      {"byte * 1024^3", kGiB},
      {"byte * 1024 * 1024", kMiB},
      {"byte * 10^9", 1'000'000'000},
      {"byte * 2 ^ 10", kKiB},
      {"1024", kKiB},
      {"GigaBytes", kGiB},
      {"MegaBytes", kMiB},
      {"KILOBYTES", kKiB},
      {"TB", kTiB},
      {" byte * 2^40 ", kTiB},
      {"byte * 2^62", std::uint64_t{1} << 62},
      {"byte * 2^64", 0},
      {"byte * 2^18446744073709551615", 0},
      {"byte * 2^40 * 2^40", 0},
      {"byte * 0", 0},
      {"byte *", 0},
      {"* byte", 0},
      {"", 0},
      {"byte * -1", 0},
      {"parsec", 0},
      {"byte ^ 2", 0},
      {"byte * 2^", 0},
  };
  for (const Case& tested : cases) {
    EXPECT_EQ(ParseAllocationUnits(tested.text).value_or(0), tested.factor) << tested.text;
  }
}

TEST(Ovf, TellsWhatIsOddAboutTheMachine) {
  const std::string good = testing::VmwareOvf(kTwoDisks);
  const auto defects = [&](std::string_view from, std::string_view to) {
    return Parse(With(good, from, to)).defects.size();
  };
  EXPECT_EQ(defects("<rasd:VirtualQuantity>4<", "<rasd:VirtualQuantity>0<"), 1U);
  EXPECT_EQ(defects("<rasd:VirtualQuantity>4<", "<rasd:VirtualQuantity>4294967297<"), 1U);
  EXPECT_EQ(defects("<rasd:VirtualQuantity>8192<", "<rasd:VirtualQuantity>-1<"), 1U);
  EXPECT_EQ(defects("<rasd:VirtualQuantity>8192<", "<rasd:VirtualQuantity>18446744073709551615<"),
            1U);
  EXPECT_EQ(defects("byte * 2^20", "furlongs"), 1U);
  EXPECT_EQ(defects("vmw:value=\"efi\"", "vmw:value=\"openfirmware\""), 1U);
  EXPECT_EQ(defects("ovf:size=\"1000\"", "ovf:size=\"-1\""), 1U);
  EXPECT_EQ(defects("ovf:fileRef=\"file2\"", ""), 1U) << "an empty disk is left out";
  EXPECT_EQ(defects("ovf:/disk/vmdisk2", ""), 2U) << "a drive without disk, a disk without drive";
}

TEST(OvfCorruption, EveryFieldIsChecked) {
  struct Case {
    const char* what;
    const char* from;
    const char* to;
    const char* reason;
  };
  const Case cases[] = {
      {"no XML", "<Envelope", "Envelope", "ova.ovf.xml"},
      {"cut off", "</Envelope>", "", "ova.ovf.xml"},
      {"entities", "<Envelope", "<!DOCTYPE x [<!ENTITY a \"b\">]><Envelope", "ova.ovf.xml"},
      {"external entity", "<Envelope", "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><Envelope",
       "ova.ovf.xml"},
      {"namespace", "xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\"",
       "xmlns=\"http://schemas.dmtf.org/ovf/envelope/3\"", "ova.ovf.version"},
      {"no namespace", "xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\"", "", "ova.ovf.version"},
      {"href empty", "href=\"disk-1\"", "href=\"\"", "ova.ovf.bad_href"},
      {"href absolute", "href=\"disk-1\"", "href=\"/etc/passwd\"", "ova.ovf.bad_href"},
      {"href goes up", "href=\"disk-1\"", "href=\"../disk-1\"", "ova.ovf.bad_href"},
      {"href goes up inside", "href=\"disk-1\"", "href=\"a/../../b\"", "ova.ovf.bad_href"},
      {"href goes up in escapes", "href=\"disk-1\"", "href=\"%2e%2e/b\"", "ova.ovf.bad_href"},
      {"href with a NUL in escapes", "href=\"disk-1\"", "href=\"b%00\"", "ova.ovf.bad_href"},
      {"href with backslashes", "href=\"disk-1\"", "href=\"..\\b\"", "ova.ovf.bad_href"},
      {"href on the web", "href=\"disk-1\"", "href=\"http://host/d.vmdk\"", "ova.ovf.remote_file"},
      {"href as URI of a file", "href=\"disk-1\"", "href=\"file:///etc/passwd\"",
       "ova.ovf.remote_file"},
      {"href as pseudo-protocol", "href=\"disk-1\"", "href=\"json:{}\"", "ova.ovf.remote_file"},
      {"two files of one id", "ovf:id=\"file2\"", "ovf:id=\"file1\"", "ova.ovf.duplicate"},
      {"compressed", "href=\"disk-1\"", "href=\"disk-1\" ovf:compression=\"gzip\"",
       "ova.ovf.compressed"},
      {"not compressed", "href=\"disk-1\"", "href=\"disk-1\" ovf:compression=\"identity\"", ""},
      {"chunked", "href=\"disk-1\"", "href=\"disk-1\" ovf:chunkSize=\"2147483648\"",
       "ova.ovf.chunked"},
      {"two disks of one id", "ovf:diskId=\"vmdisk2\"", "ovf:diskId=\"vmdisk1\"",
       "ova.ovf.duplicate"},
      {"two disks of one file", "ovf:fileRef=\"file2\"", "ovf:fileRef=\"file1\"",
       "ova.ovf.shared_file"},
      {"two drives of one disk", "ovf:/disk/vmdisk2", "ovf:/disk/vmdisk1", "ova.ovf.shared_file"},
      {"file that is not listed", "ovf:fileRef=\"file2\"", "ovf:fileRef=\"file9\"",
       "ova.ovf.file_reference"},
      {"disk that is not listed", "ovf:/disk/vmdisk2", "ovf:/disk/vmdisk9",
       "ova.ovf.disk_reference"},
      {"parent", "ovf:fileRef=\"file2\"", "ovf:fileRef=\"file2\" ovf:parentRef=\"vmdisk1\"",
       "ova.ovf.parent"},
      {"capacity empty", "capacity=\"8388608\"", "capacity=\"\"", ""},
      {"capacity 0", "capacity=\"8388608\"", "capacity=\"0\"", ""},
      {"capacity negative", "capacity=\"8388608\"", "capacity=\"-1\"", "ova.ovf.capacity"},
      {"capacity overflows", "capacity=\"8388608\"", "capacity=\"18446744073709551615\"",
       "ova.ovf.capacity"},
      {"capacity beyond 64 bits", "capacity=\"8388608\"", "capacity=\"18446744073709551616\"",
       "ova.ovf.capacity"},
      {"capacity no number", "capacity=\"8388608\"", "capacity=\"8 GB\"", "ova.ovf.capacity"},
      {"capacity of a property that is not there", "capacity=\"8388608\"",
       "capacity=\"${vm.disk.size}\"", "ova.ovf.capacity"},
      {"capacity units", "byte * 2^10", "light years", "ova.ovf.capacity"},
      {"two systems", "</VirtualSystem>", "</VirtualSystem><VirtualSystem ovf:id=\"db\"/>",
       "ova.several_systems"},
  };
  const std::string good = testing::VmwareOvf(kTwoDisks);
  EXPECT_EQ(Refusal(good), "");
  for (const Case& tested : cases) {
    EXPECT_EQ(Refusal(With(good, tested.from, tested.to)), tested.reason) << tested.what;
  }
}

TEST(OvfCorruption, RefusesOtherDocuments) {
  EXPECT_EQ(Refusal(""), "ova.ovf.xml");
  EXPECT_EQ(Refusal("<domain/>"), "ova.ovf.not_an_envelope");
  EXPECT_EQ(Refusal("<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\"/>"),
            "ova.no_system");
  EXPECT_EQ(Refusal(testing::VmwareOvf({})), "ova.no_disk");
  EXPECT_EQ(Refusal(std::string(kMaxOvfBytes + 1, ' ')), "ova.ovf.too_large");
}

TEST(OvfCorruption, BoundsElementsDepthAndDisks) {
  const auto envelope = [](const std::string& content) {
    return "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\">" + content + "</Envelope>";
  };
  std::string many;
  for (std::size_t i = 0; i < kMaxOvfElements; ++i) many += "<a/>";
  EXPECT_EQ(Refusal(envelope(many)), "ova.ovf.xml");
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "<VirtualSystemCollection>";
  for (int i = 0; i < 100; ++i) deep += "</VirtualSystemCollection>";
  EXPECT_EQ(Refusal(envelope(deep)), "ova.ovf.xml");
  std::string disks;
  for (std::size_t i = 0; i <= kMaxVmDisks; ++i) disks += fmt::format("<Disk diskId=\"{}\"/>", i);
  EXPECT_EQ(Refusal(envelope("<DiskSection>" + disks + "</DiskSection><VirtualSystem/>")),
            "ova.ovf.too_many");
}

}  // namespace
}  // namespace vmferry::image::ova
