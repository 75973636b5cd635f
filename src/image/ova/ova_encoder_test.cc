// SPDX-License-Identifier: Apache-2.0
#include "image/ova/ova_encoder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "base/byte_reader.h"
#include "image/open.h"
#include "image/ova/ovf.h"
#include "image/ova/ovf_writer.h"
#include "image/ova/package.h"
#include "image/ova/tar_writer.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/memory_output.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image::ova {
namespace {

using testing::RunTool;
using Bytes = std::vector<std::byte>;

/// A raw disk of two pieces of random bytes with zeros between them.
Bytes SomeGuest() {
  Bytes guest(1536 * 1024);
  testing::FakeRandom random(5);
  random.Fill(std::span(guest).first(200'000));
  random.Fill(std::span(guest).last(70'000));
  return guest;
}

std::unique_ptr<DiskImage> DiskOf(const Bytes& guest) {
  auto disk = OpenDiskSource(MakeMemorySource(guest), "disk.raw");
  VMFERRY_CHECK(disk.has_value());
  return *std::move(disk);
}

OvaEncoderOptions SomeOptions() {
  OvaEncoderOptions options;
  options.vm.name = "Büro & web";
  options.vm.cpu_count = 3;
  options.vm.memory_bytes = 768 * kMiB + 1;
  options.vm.firmware = Firmware::kUefi;
  options.modified_s = 1'700'000'000;
  return options;
}

Bytes Encode(const Bytes& guest, const OvaEncoderOptions& options, std::uint64_t part_bytes) {
  const auto disk = DiskOf(guest);
  const auto encoder = MakeOvaEncoder(guest.size(), options);
  VMFERRY_CHECK(encoder.has_value());
  auto out = testing::EncodeAll(**encoder, *disk, part_bytes, 256 * 1024);
  VMFERRY_CHECK(out.has_value());
  return out->Bytes();
}

TEST(OvaEncoder, WritesWhatTheReaderReads) {
  const Bytes guest = SomeGuest();
  const Bytes ova = Encode(guest, SomeOptions(), 256 * 1024);
  const auto appliance = OpenTar(MakeMemorySource(ova));
  ASSERT_TRUE(appliance.has_value()) << appliance.error().ToString();
  EXPECT_TRUE(appliance->defects.empty()) << appliance->defects.front();
  const VmDescription& vm = appliance->vm;
  EXPECT_EQ(vm.name, "Büro & web");
  EXPECT_EQ(vm.cpu_count, 3U);
  EXPECT_EQ(vm.memory_bytes, 769 * kMiB);
  EXPECT_EQ(vm.firmware, Firmware::kUefi);
  ASSERT_EQ(vm.disks.size(), 1U);
  EXPECT_EQ(vm.disks[0].controller, DiskController::kScsi);
  EXPECT_EQ(vm.disks[0].controller_type, "lsilogic");
  EXPECT_EQ(vm.nics.size(), 1U);
  EXPECT_TRUE(VerifyManifest(*appliance).has_value());
  const auto disk = OpenApplianceDisk(*appliance, 0);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_TRUE((*disk)->Info().defects.empty());
  EXPECT_EQ((*disk)->Info().subformat, "streamOptimized");
  Bytes read((*disk)->SizeBytes());
  ASSERT_TRUE((*disk)->Read(0, read).has_value());
  EXPECT_TRUE(read == guest);
}

TEST(OvaEncoder, TheSameDiskGivesTheSameFile) {
  const Bytes guest = SomeGuest();
  const Bytes ova = Encode(guest, SomeOptions(), 256 * 1024);
  EXPECT_TRUE(Encode(guest, SomeOptions(), 64 * 1024) == ova);
  OvaEncoderOptions other = SomeOptions();
  other.modified_s += 1;
  EXPECT_FALSE(Encode(guest, other, 64 * 1024) == ova);
  const auto encoder = MakeOvaEncoder(guest.size(), SomeOptions());
  const auto changed = MakeOvaEncoder(guest.size(), other);
  ASSERT_TRUE(encoder.has_value() && changed.has_value());
  EXPECT_NE((*encoder)->Info().id, (*changed)->Info().id);
  EXPECT_TRUE((*encoder)->Info().rewrites);
  EXPECT_EQ((*encoder)->Info().remarks.size(), 1U);
  EXPECT_EQ((*encoder)->Restore({}).error().reason(), "encoder.no_restart");
}

TEST(OvaEncoder, DescriptorsReadBackAsTheyWereMeant) {
  VmDescription vm;
  const OvfDiskFile file = {"d.vmdk", 1000, 8 * kGiB};
  auto again = ParseOvf(WriteOvf(vm, file));
  ASSERT_TRUE(again.has_value()) << again.error().ToString();
  EXPECT_EQ(again->vm.name, "vm");
  EXPECT_EQ(again->vm.cpu_count, kDefaultCpus);
  EXPECT_EQ(again->vm.memory_bytes, kDefaultMemoryBytes);
  EXPECT_EQ(again->vm.firmware, Firmware::kNotSaid);
  EXPECT_EQ(again->vm.os_type, "otherGuest64");
  EXPECT_EQ(again->vm.disks[0].capacity_bytes, 8 * kGiB);
  vm.name =
      "bad\xff"
      "name";
  vm.firmware = Firmware::kBios;
  vm.os_id = "96";
  vm.os_type = "Debian_64";
  vm.disks = {{.controller = DiskController::kSata}};
  again = ParseOvf(WriteOvf(vm, {"d.vmdk", 1000, 8 * kGiB + 512}));
  ASSERT_TRUE(again.has_value()) << again.error().ToString();
  EXPECT_EQ(again->vm.name, "bad_name");
  EXPECT_EQ(again->vm.firmware, Firmware::kBios);
  EXPECT_EQ(again->vm.os_id, "96");
  EXPECT_EQ(again->vm.os_type, "");
  EXPECT_EQ(again->vm.disks[0].controller, DiskController::kSata);
  EXPECT_EQ(again->vm.disks[0].capacity_bytes, 8 * kGiB + 512);
  EXPECT_EQ(PlainName("../../x y"), "vm.._.._x_y");
}

TEST(OvaEncoder, PythonAndQemuImgReadIt) {
  VMFERRY_NEEDS_TOOL("python3");
  VMFERRY_NEEDS_TOOL("qemu-img");
  const testing::TempDir folder;
  const Bytes guest = SomeGuest();
  const Bytes ova = Encode(guest, SomeOptions(), 256 * 1024);
  ASSERT_TRUE(sys::WriteWholeFile(folder / "disk.raw", AsText(guest)).has_value());
  ASSERT_TRUE(sys::WriteWholeFile(folder / "vm.ova", AsText(ova)).has_value());
  // Order, times, digests and the descriptor, by other people's parsers; then where the disk is.
  const std::string script = R"(
import hashlib, sys, tarfile, xml.etree.ElementTree as tree
archive = tarfile.open(sys.argv[1])
names = archive.getnames()
assert [n.rsplit('.', 1)[1] for n in names] == ['ovf', 'vmdk', 'mf'], names
assert all(m.mtime == 1700000000 and m.isreg() for m in archive.getmembers())
for line in archive.extractfile(names[2]).read().decode().splitlines():
    name, digest = line[len('SHA256('):].split(')= ')
    assert hashlib.sha256(archive.extractfile(name).read()).hexdigest() == digest, name
root = tree.fromstring(archive.extractfile(names[0]).read())
ns = '{http://schemas.dmtf.org/ovf/envelope/1}'
rasd = '{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}'
file = root.find(f'{ns}References/{ns}File')
disk = archive.getmember(file.get(ns + 'href'))
assert int(file.get(ns + 'size')) == disk.size
assert root.find(f'{ns}DiskSection/{ns}Disk').get(ns + 'fileRef') == file.get(ns + 'id')
items = root.findall(f'{ns}VirtualSystem/{ns}VirtualHardwareSection/{ns}Item')
assert sorted(i.findtext(rasd + 'ResourceType') for i in items) == ['10', '17', '3', '4', '6']
for item in items:
    tags = [child.tag for child in item]
    assert tags == sorted(tags), tags
print(disk.offset_data, disk.size)
)";
  const auto judged = RunTool({"python3", "-c", script, folder / "vm.ova"});
  ASSERT_TRUE(judged.ok()) << judged.error_output;
  unsigned long long offset = 0;
  unsigned long long size = 0;
  ASSERT_EQ(std::sscanf(judged.output.c_str(), "%llu %llu", &offset, &size), 2);
  const std::string inside = fmt::format(
      "json:{{\"driver\":\"vmdk\",\"file\":{{\"driver\":\"raw\",\"offset\":{},\"size\":{},"
      "\"file\":{{\"driver\":\"file\",\"filename\":\"{}\"}}}}}}",
      offset, size, (folder / "vm.ova").string());
  const auto compared = RunTool({"qemu-img", "compare", inside, folder / "disk.raw"});
  EXPECT_TRUE(compared.ok()) << compared.output << compared.error_output;
}

TEST(TarWriter, SizesBeyondOctalAreReadByPython) {
  VMFERRY_NEEDS_TOOL("python3");
  const testing::TempDir folder;
  const std::uint64_t sizes[] = {0, 1, (1ULL << 33) - 1, 1ULL << 33, 70ULL << 40};
  for (const std::uint64_t size : sizes) {
    const auto block = MakeTarHeader("name", size, 7);
    const auto header = ParseTarHeader(block);
    ASSERT_TRUE(header.has_value());
    EXPECT_EQ(header->size_bytes, size);
    ASSERT_TRUE(sys::WriteWholeFile(folder / "h", AsText(block)).has_value());
    const auto judged =
        RunTool({"python3", "-c",
                 "import sys, tarfile\n"
                 "t = tarfile.TarInfo.frombuf(open(sys.argv[1], 'rb').read(), 'utf-8', 'strict')\n"
                 "print(t.name, t.size, t.mtime)",
                 folder / "h"});
    EXPECT_EQ(judged.output, fmt::format("name {} 7\n", size)) << judged.error_output;
  }
}

}  // namespace
}  // namespace vmferry::image::ova
