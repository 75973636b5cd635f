// SPDX-License-Identifier: Apache-2.0
//
// Whole appliances: from bytes and folders to the guest's bytes.

#include "image/ova/package.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "image/open.h"
#include "image/ova/ovf.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/ova_builder.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vmdk_builder.h"

namespace vmferry::image {
namespace {

using testing::OvfDiskText;
using testing::TarBuilder;
using testing::TempDir;
using Bytes = std::vector<std::byte>;

std::string RandomText(std::size_t size, std::uint64_t seed) {
  testing::FakeRandom random(seed);
  std::string text(size, '\0');
  random.Fill(std::as_writable_bytes(std::span(text)));
  return text;
}

/// A stream-optimised VMDK of 2 MiB with one grain of data.
std::string SomeVmdk() {
  testing::VmdkBuilder builder;
  builder.grains[3] = Bytes(8192, std::byte{0x5a});
  return std::string(AsText(builder.Build()));
}

std::string DigestOf(const std::string& text, codec::DigestKind kind) {
  codec::Digester digester(kind);
  digester.Update(AsBytes(text));
  std::array<std::byte, codec::kMaxDigestBytes> digest;
  return codec::HexEncode(digester.Finish(digest));
}

OvfDiskText TextOf(std::string file, const std::string& content, std::uint64_t capacity_bytes) {
  return {std::move(file), content.size(), capacity_bytes};
}

/// An OVA of a VMDK and a raw disk, with a manifest.
TarBuilder TwoDiskOva() {
  const std::string vmdk = SomeVmdk();
  const std::string raw = RandomText(4096, 7);
  const std::string ovf = testing::VmwareOvf(
      {TextOf("vm-disk1.vmdk", vmdk, 2 * kMiB), TextOf("vm-disk2.img", raw, 4096)});
  TarBuilder builder;
  builder.Add("vm.ovf", ovf);
  builder.Add("vm.mf", "SHA256(vm.ovf)= " + DigestOf(ovf, codec::DigestKind::kSha256) +
                           "\nSHA1(vm-disk1.vmdk)= " + DigestOf(vmdk, codec::DigestKind::kSha1) +
                           "\nSHA512(vm-disk2.img)= " + DigestOf(raw, codec::DigestKind::kSha512) +
                           "\n");
  builder.Add("vm.cert", "-----BEGIN CERTIFICATE-----\n");
  return builder.Add("vm-disk1.vmdk", vmdk).Add("vm-disk2.img", raw);
}

Result<Appliance> Open(const TarBuilder& builder) {
  return ova::OpenTar(MakeMemorySource(builder.Build()));
}

std::string Refusal(const TarBuilder& builder) {
  const auto appliance = Open(builder);
  return appliance ? "" : appliance.error().reason();
}

std::string Put(const TempDir& folder, std::string_view name, std::string_view content) {
  EXPECT_TRUE(sys::WriteWholeFile(folder / name, content).has_value());
  return folder / name;
}

TEST(Ova, OpensItsDisksInPlace) {
  const auto appliance = Open(TwoDiskOva());
  ASSERT_TRUE(appliance.has_value()) << appliance.error().ToString();
  EXPECT_EQ(appliance->format, "ova");
  EXPECT_EQ(appliance->descriptor, "vm.ovf");
  EXPECT_EQ(appliance->certificate, "vm.cert");
  EXPECT_EQ(appliance->manifest.entries.size(), 3U);
  EXPECT_TRUE(appliance->defects.empty()) << appliance->defects.front();
  ASSERT_EQ(appliance->vm.disks.size(), 2U);

  const auto vmdk = OpenApplianceDisk(*appliance, 0);
  ASSERT_TRUE(vmdk.has_value()) << vmdk.error().ToString();
  EXPECT_EQ((*vmdk)->Info().format, "vmdk");
  EXPECT_EQ((*vmdk)->Info().subformat, "streamOptimized");
  EXPECT_EQ((*vmdk)->Info().wire_format, "");
  EXPECT_TRUE((*vmdk)->Info().defects.empty());
  Bytes grain(8192);
  ASSERT_TRUE((*vmdk)->Read(3 * 8192, grain).has_value());
  EXPECT_EQ(grain, Bytes(8192, std::byte{0x5a}));

  const auto raw = OpenApplianceDisk(*appliance, 1);
  ASSERT_TRUE(raw.has_value()) << raw.error().ToString();
  EXPECT_EQ((*raw)->Info().format, "raw");
  Bytes bytes((*raw)->SizeBytes());
  ASSERT_TRUE((*raw)->Read(0, bytes).has_value());
  EXPECT_EQ(AsText(bytes), RandomText(4096, 7));
}

TEST(Ova, VerifiesItsManifest) {
  const auto good = Open(TwoDiskOva());
  ASSERT_TRUE(good.has_value());
  std::uint64_t last = 0;
  std::uint64_t total = 0;
  const auto checks = VerifyManifest(*good, [&](std::uint64_t done, std::uint64_t all) {
    EXPECT_GT(done, last);
    last = done;
    total = all;
    return Result<void>();
  });
  ASSERT_TRUE(checks.has_value()) << checks.error().ToString();
  EXPECT_EQ(checks->size(), 3U);
  EXPECT_EQ(last, total);

  TarBuilder damaged = TwoDiskOva();
  damaged.entries[4].content[100] ^= 1;
  const auto bad = Open(damaged);
  ASSERT_TRUE(bad.has_value());
  const auto refused = VerifyManifest(*bad);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason(), "ova.manifest.mismatch");
  EXPECT_EQ(*refused.error().FindFact("path"), "vm-disk2.img");
  EXPECT_EQ(refused.error().FindFact("expected")->size(), 128U);
  EXPECT_NE(*refused.error().FindFact("expected"), *refused.error().FindFact("found"));
  const auto all = CheckManifest(*bad);
  ASSERT_TRUE(all.has_value());
  EXPECT_TRUE((*all)[0].holds() && (*all)[1].holds() && !(*all)[2].holds());

  const auto stopped = CheckManifest(*good, [](std::uint64_t, std::uint64_t) -> Result<void> {
    return Error(ErrorCode::kCancelled, "test.stop", "stop");
  });
  EXPECT_FALSE(stopped.has_value());
}

TEST(Ova, ABadManifestDoesNotPreventReading) {
  TarBuilder none = TwoDiskOva();
  none.entries.erase(none.entries.begin() + 1);
  auto appliance = Open(none);
  ASSERT_TRUE(appliance.has_value());
  EXPECT_TRUE(appliance->defects.empty());
  EXPECT_EQ(VerifyManifest(*appliance).error().reason(), "ova.manifest.missing");

  TarBuilder malformed = TwoDiskOva();
  malformed.entries[1].content = "rubbish\n";
  appliance = Open(malformed);
  ASSERT_TRUE(appliance.has_value());
  EXPECT_EQ(appliance->defects.size(), 1U);
  EXPECT_EQ(VerifyManifest(*appliance).error().reason(), "ova.manifest.syntax");

  TarBuilder wrong_names = TwoDiskOva();
  wrong_names.entries[1].content = "SHA1(other)= " + std::string(40, '0') + "\n";
  appliance = Open(wrong_names);
  ASSERT_TRUE(appliance.has_value());
  EXPECT_EQ(appliance->defects.size(), 4U) << "one file too many, three without a digest";
  EXPECT_EQ(VerifyManifest(*appliance).error().reason(), "ova.manifest.mismatch");

  TarBuilder huge = TwoDiskOva();
  huge.entries[1].content.resize(2 * kMiB, '\n');
  appliance = Open(huge);
  ASSERT_TRUE(appliance.has_value());
  EXPECT_EQ(VerifyManifest(*appliance).error().reason(), "ova.manifest.too_long");
}

TEST(Ova, RefusesPackagesThatAreNotWhole) {
  EXPECT_EQ(Refusal(TwoDiskOva()), "");
  TarBuilder no_descriptor = TwoDiskOva();
  no_descriptor.entries[0].name = "vm.xml";
  EXPECT_EQ(Refusal(no_descriptor), "ova.no_descriptor");
  TarBuilder two_descriptors = TwoDiskOva();
  two_descriptors.Add("other.OVF", "");
  EXPECT_EQ(Refusal(two_descriptors), "ova.several_descriptors");
  TarBuilder apple = TwoDiskOva();
  apple.Add("._vm.ovf", "Mac OS X");
  EXPECT_EQ(Refusal(apple), "");
  TarBuilder no_disk = TwoDiskOva();
  no_disk.entries.pop_back();
  EXPECT_EQ(Refusal(no_disk), "ova.missing_file");
  TarBuilder huge = TwoDiskOva();
  huge.entries[0].content.resize(ova::kMaxOvfBytes + 1, ' ');
  EXPECT_EQ(Refusal(huge), "ova.ovf.too_large");
  TarBuilder cut = TwoDiskOva();
  Bytes bytes = cut.Build();
  bytes.resize(bytes.size() - 2 * 512 - 1);
  EXPECT_EQ(ova::OpenTar(MakeMemorySource(bytes)).error().reason(), "ova.tar.truncated");
}

TEST(Ova, TellsWhatDoesNotAgree) {
  TarBuilder other_order;
  const TarBuilder good = TwoDiskOva();
  for (const std::size_t i : {3U, 4U, 0U, 1U}) other_order.entries.push_back(good.entries[i]);
  auto appliance = Open(other_order);
  ASSERT_TRUE(appliance.has_value());
  EXPECT_EQ(appliance->defects.size(), 1U) << "the descriptor should come first";

  TarBuilder grown;
  const std::string raw(1024, 'x');
  grown.Add("vm.ovf", testing::VmwareOvf({{"d.img", 512, 2048}})).Add("d.img", raw);
  appliance = Open(grown);
  ASSERT_TRUE(appliance.has_value());
  EXPECT_EQ(appliance->defects.size(), 1U) << "ovf:size";
  const auto disk = OpenApplianceDisk(*appliance, 0);
  ASSERT_TRUE(disk.has_value());
  EXPECT_EQ((*disk)->Info().defects.size(), 2U) << "and the capacity";
}

TEST(Ova, FindsFilesByEscapedNames) {
  TarBuilder builder;
  builder.Add("my vm.ovf", testing::VmwareOvf({{"my%20disk.img", 512, 1024}}));
  builder.Add("./my disk.img", std::string(512, 'x'));
  EXPECT_EQ(Refusal(builder), "");
  TarBuilder one_file;
  const std::string ovf = testing::VmwareOvf({{"a b.img", 512, 1024}, {"a%20b.img", 512, 1024}});
  EXPECT_EQ(Refusal(one_file.Add("vm.ovf", ovf).Add("a b.img", std::string(512, 'x'))),
            "ova.ovf.shared_file");
}

TEST(Ova, TakesAnArchiveOfAFolder) {
  TarBuilder builder = TwoDiskOva();
  for (testing::TarEntry& entry : builder.entries) entry.name = "./export/" + entry.name;
  builder.entries.insert(builder.entries.begin(),
                         testing::TarEntry{.name = "./export/", .type = '5'});
  const auto appliance = Open(builder);
  ASSERT_TRUE(appliance.has_value()) << appliance.error().ToString();
  EXPECT_EQ(appliance->descriptor, "vm.ovf");
  EXPECT_TRUE(VerifyManifest(*appliance).has_value());
  builder.Add("vm-disk2.img", std::string(512, 'x'));
  EXPECT_EQ(Refusal(builder), "ova.tar.duplicate");
}

TEST(Ova, RefusesAnApplianceInsideAnAppliance) {
  TarBuilder inner;
  inner.Add("vm.ovf", testing::VmwareOvf({{"d.img", 512, 1024}})).Add("d.img", std::string(512, 0));
  const std::string nested(AsText(inner.Build()));
  TarBuilder outer;
  outer.Add("vm.ovf", testing::VmwareOvf({{"d.img", nested.size(), 1024}})).Add("d.img", nested);
  const auto appliance = Open(outer);
  ASSERT_TRUE(appliance.has_value());
  EXPECT_EQ(OpenApplianceDisk(*appliance, 0).error().reason(), "ova.nested");
}

TEST(OpenDiskInOva, ChoosesADisk) {
  const TempDir folder;
  const std::string path = Put(folder, "vm.ova", AsText(TwoDiskOva().Build()));
  const auto unclear = OpenDisk(path);
  ASSERT_FALSE(unclear.has_value());
  EXPECT_EQ(unclear.error().reason(), "ova.several_disks");
  EXPECT_NE(unclear.error().message().find("2: vm-disk2.img"), std::string::npos);
  EXPECT_NE(unclear.error().remedy().find("--disk"), std::string::npos);
  const auto second = OpenDisk(path, {.disk = 2});
  ASSERT_TRUE(second.has_value()) << second.error().ToString();
  EXPECT_EQ(second->image->Info().format, "raw");
  EXPECT_EQ(second->image->SizeBytes(), 4096U);
  ASSERT_EQ(second->files.size(), 1U);
  EXPECT_TRUE(second->remarks.empty());
  EXPECT_EQ(OpenDisk(path, {.disk = 3}).error().reason(), "ova.no_such_disk");
  EXPECT_EQ(OpenDisk(path, {.disk = 0}).error().reason(), "ova.no_such_disk");
  const std::string raw = Put(folder, "one.raw", std::string(1024, 'x'));
  EXPECT_TRUE(OpenDisk(raw, {.disk = 1}).has_value());
  EXPECT_EQ(OpenDisk(raw, {.disk = 2}).error().reason(), "image.no_such_disk");
  EXPECT_EQ(OpenAppliance(raw).error().reason(), "image.not_an_appliance");
  const auto appliance = OpenAppliance(path);
  ASSERT_TRUE(appliance.has_value());
  EXPECT_EQ(appliance->appliance.vm.name, "web01");
  EXPECT_EQ(appliance->opened_files.size(), 1U);
}

TEST(OpenDiskOfOvf, FindsFilesBesideIt) {
  const TempDir folder;
  const std::string vmdk = SomeVmdk();
  const std::string ovf = testing::VirtualBoxOvf({TextOf("disk 1.vmdk", vmdk, 2 * kMiB)});
  const std::string path = Put(folder, "vm.ovf", ovf);
  EXPECT_EQ(OpenDisk(path).error().reason(), "ova.missing_file");
  Put(folder, "disk 1.vmdk", vmdk);
  Put(folder, "vm.mf",
      "SHA1 (vm.ovf) = " + DigestOf(ovf, codec::DigestKind::kSha1) +
          "\nSHA1 (disk 1.vmdk) = " + DigestOf(vmdk, codec::DigestKind::kSha1));
  const auto disk = OpenDisk(path);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(disk->image->Info().format, "vmdk");
  EXPECT_EQ(disk->image->Info().wire_format, "");
  EXPECT_EQ(disk->files.size(), 3U) << "descriptor, disk and manifest";
  const auto appliance = OpenAppliance(path);
  ASSERT_TRUE(appliance.has_value());
  EXPECT_TRUE(VerifyManifest(appliance->appliance).has_value());
}

TEST(OpenDiskOfOvf, OpensNothingOutsideItsFolder) {
  const TempDir folder;
  std::filesystem::create_directory(folder / "vm");
  Put(folder, "secret.img", std::string(1024, 's'));
  std::filesystem::create_symlink("../secret.img", folder / "vm/link.img");
  const std::string path = Put(folder, "vm/vm.ovf", testing::VmwareOvf({{"link.img", 1024, 1024}}));
  EXPECT_EQ(OpenDisk(path).error().reason(), "image.chain.outside");
  Put(folder, "vm/vm.ovf", testing::VmwareOvf({{"../secret.img", 1024, 1024}}));
  EXPECT_EQ(OpenDisk(path).error().reason(), "ova.ovf.bad_href");
  // The same, in an archive: there is no folder at all.
  TarBuilder builder;
  builder.Add("vm.ovf", testing::VmwareOvf({{"secret.img", 1024, 1024}}));
  const std::string ova = Put(folder, "vm.ova", AsText(builder.Build()));
  EXPECT_EQ(OpenDisk(ova).error().reason(), "ova.missing_file");
}

TEST(OpenDiskInOva, RefusesADiskThatNamesFiles) {
  const TempDir folder;
  Put(folder, "flat.vmdk", std::string(1024, 's'));
  const std::string descriptor =
      "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
      "createType=\"monolithicFlat\"\nRW 2 FLAT \"flat.vmdk\" 0\n";
  TarBuilder builder;
  builder.Add("vm.ovf", testing::VmwareOvf({{"d.vmdk", descriptor.size(), 1024}}));
  builder.Add("d.vmdk", descriptor).Add("flat.vmdk", std::string(1024, 'i'));
  const std::string ova = Put(folder, "vm.ova", AsText(builder.Build()));
  EXPECT_FALSE(OpenDisk(ova).has_value());
}

TEST(OpenDiskInOva, AgreesWithQemuImg) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  VMFERRY_NEEDS_TOOL("tar");
  const TempDir folder;
  const std::string guest = RandomText(300 * 1024, 11);
  Put(folder, "disk.raw", guest);
  ASSERT_TRUE(
      testing::RunTool({"qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                        "subformat=streamOptimized", folder / "disk.raw", folder / "vm-disk1.vmdk"})
          .ok());
  const auto size = std::filesystem::file_size(folder / "vm-disk1.vmdk");
  Put(folder, "vm.ovf", testing::VmwareOvf({{"vm-disk1.vmdk", size, 300 * 1024}}));
  ASSERT_TRUE(testing::RunTool({"tar", "-C", folder.path(), "--format=ustar", "-cf",
                                folder / "vm.ova", "vm.ovf", "vm-disk1.vmdk"})
                  .ok());
  const auto disk = OpenDisk(folder / "vm.ova");
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  Bytes bytes(disk->image->SizeBytes());
  ASSERT_TRUE(disk->image->Read(0, bytes).has_value());
  EXPECT_EQ(AsText(bytes), guest);
}

}  // namespace
}  // namespace vmferry::image
