// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/vmdk_image.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/extent_list.h"
#include "image/open.h"
#include "sys/file.h"
#include "testing/esx_extent_builder.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vmdk_builder.h"
#include "text/json.h"

namespace vmferry::image::vmdk {
namespace {

using testing::CowBuilder;
using testing::DescriptorText;
using testing::FakeRandom;
using testing::RunTool;
using testing::SeSparseBuilder;
using testing::TempDir;
using testing::VmdkBuilder;
using Bytes = std::vector<std::byte>;
namespace fs = std::filesystem;

fs::path Put(const TempDir& folder, std::string_view name, std::string_view content) {
  const auto path = folder / name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

Bytes ReadAll(const DiskImage& disk) {
  Bytes bytes(disk.SizeBytes(), std::byte{0xee});
  const auto read = disk.Read(0, bytes);
  EXPECT_TRUE(read.has_value()) << read.error().ToString();
  return bytes;
}

/// The reason why the disk is refused; "" when it is not.
std::string Refusal(const fs::path& path) {
  const auto disk = OpenDisk(path);
  if (!disk) return disk.error().reason();
  Bytes guest(disk->image->SizeBytes());
  const auto read = disk->image->Read(0, guest);
  return read ? "" : read.error().reason();
}

std::vector<Extent> MappedByQemuImg(const fs::path& path) {
  const auto mapped = RunTool({"qemu-img", "map", "-f", "vmdk", "--output=json", path});
  EXPECT_TRUE(mapped.ok()) << mapped.error_output;
  const auto json = text::Json::Parse(mapped.output);
  EXPECT_TRUE(json.has_value());
  std::vector<Extent> extents;
  for (const text::Json& run : json->Items()) {
    ExtentKind kind = ExtentKind::kData;
    if (!run["data"].AsBool())
      kind = run["present"].AsBool() ? ExtentKind::kZero : ExtentKind::kHole;
    AppendExtent(extents, {run["start"].AsUint(), run["length"].AsUint(), kind});
  }
  return extents;
}

/// Our bytes are those of `guest`, and so are qemu-img's.
void ExpectGuest(const TempDir& folder, const fs::path& path, const Bytes& guest) {
  const auto disk = OpenDisk(path);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  ASSERT_EQ(disk->image->SizeBytes(), guest.size());
  EXPECT_TRUE(ReadAll(*disk->image) == guest);
  if (!testing::HasTool("qemu-img")) return;
  const auto raw = Put(folder, "guest.raw", AsText(guest));
  const auto compared = RunTool({"qemu-img", "compare", "-f", "vmdk", "-F", "raw", path, raw});
  EXPECT_TRUE(compared.ok()) << path << compared.output << compared.error_output;
}

/// A disk of data in runs, holes between them.
Bytes MakeGuest(std::uint64_t seed, std::size_t size) {
  FakeRandom random(seed);
  Bytes guest(size);
  for (std::size_t at = 0; at < size;) {
    const std::size_t length = std::min<std::size_t>(size - at, (1 + random.Below(5)) * 65536);
    if (random.Below(2) == 0) random.Fill(std::span(guest).subspan(at, length));
    at += length;
  }
  return guest;
}

TEST(VmdkImage, ReadsEverySubformatThatQemuImgWrites) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const TempDir folder;
  const Bytes guest = MakeGuest(1, 3 * kMiB + 1536);
  const auto raw = Put(folder, "disk.raw", AsText(guest));
  struct Case {
    std::string subformat;
    std::string options;
  };
  for (const Case& tested : {Case{"monolithicSparse", ""}, Case{"monolithicSparse", ",compat6=on"},
                             Case{"monolithicSparse", ",zeroed_grain=on,adapter_type=lsilogic"},
                             Case{"streamOptimized", ",adapter_type=buslogic,hwversion=13"},
                             Case{"monolithicFlat", ",adapter_type=legacyESX"},
                             Case{"twoGbMaxExtentSparse", ""}, Case{"twoGbMaxExtentFlat", ""}}) {
    SCOPED_TRACE(tested.subformat + tested.options);
    const auto path = folder / "disk.vmdk";
    const auto made = RunTool({"qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                               "subformat=" + tested.subformat + tested.options, raw, path});
    ASSERT_TRUE(made.ok()) << made.error_output;
    const auto disk = OpenDisk(path);
    ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
    EXPECT_TRUE(ReadAll(*disk->image) == guest);
    const DiskImageInfo& info = disk->image->Info();
    EXPECT_EQ(info.subformat, tested.subformat);
    EXPECT_EQ(info.wire_format, tested.subformat == "streamOptimized" ? "VMDK" : "");
    EXPECT_EQ(info.identity.size(), 8U);
    EXPECT_TRUE(info.defects.empty()) << info.defects.front();
    if (tested.subformat.ends_with("Flat")) continue;  // qemu-img maps flat extents as data
    const auto extents = disk->image->Extents(0, guest.size());
    ASSERT_TRUE(extents.has_value());
    EXPECT_EQ(*extents, MappedByQemuImg(path));
  }
}

TEST(VmdkImage, ReadsAcrossTheExtentsOfASplitDisk) {
  VMFERRY_NEEDS_TOOL("qemu-io");
  const TempDir folder;
  for (const char* subformat : {"twoGbMaxExtentSparse", "twoGbMaxExtentFlat"}) {
    SCOPED_TRACE(subformat);
    const auto path = folder / "disk.vmdk";
    ASSERT_TRUE(RunTool({"qemu-img", "create", "-q", "-f", "vmdk", "-o",
                         std::string("subformat=") + subformat, path, "5G"})
                    .ok());
    const auto written = RunTool({"qemu-io", "-f", "vmdk", "-c", "write -P 7 2147352576 256k", "-c",
                                  "write -P 9 4294836224 256k", path});
    ASSERT_TRUE(written.ok()) << written.output << written.error_output;
    const auto disk = OpenDisk(path);
    ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
    EXPECT_EQ(disk->image->SizeBytes(), 5 * kGiB);
    EXPECT_EQ(disk->files.size(), 4U);
    Bytes part(512 * kKiB);
    ASSERT_TRUE(disk->image->Read(2147352576 - 128 * kKiB, part).has_value());
    for (std::size_t i = 0; i < part.size(); i += 4096) {
      const bool inside = i >= 128 * kKiB && i < 384 * kKiB;
      ASSERT_EQ(part[i], std::byte{inside ? std::uint8_t{7} : std::uint8_t{0}}) << i;
    }
    const auto extents = disk->image->Extents(0, 5 * kGiB);
    ASSERT_TRUE(extents.has_value());
    // qemu-img leaves stored zeros in flat files.
    if (std::string_view(subformat) == "twoGbMaxExtentSparse") {
      EXPECT_EQ(extents->size(), 5U);
    }
  }
}

/// A snapshot as ESX makes it: a flat base, COWD or seSparse differences on top.
struct Snapshots {
  Bytes guest;
  fs::path top;
};

Snapshots MakeSnapshots(const TempDir& folder, const std::string& hint_folder, bool se_sparse) {
  Snapshots made;
  made.guest = MakeGuest(2, (se_sparse ? 17 : 5) * kMiB);  // over a grain table
  Put(folder, "vm-flat.vmdk", AsText(made.guest));
  const std::string sectors = std::to_string(made.guest.size() / 512);
  DescriptorText base;
  base.content_id = "7b8de3";
  base.extents = {"RW " + sectors + " VMFS \"vm-flat.vmdk\""};
  Put(folder, "vm.vmdk", base.Text());
  std::string parent = "vm.vmdk";
  std::string parent_id = "007b8de3";
  for (int level = 1; level <= 3; ++level) {
    FakeRandom random(static_cast<std::uint64_t>(level));
    const std::size_t grain_bytes = se_sparse ? 4096 : 512;
    CowBuilder cow;
    SeSparseBuilder sesparse;
    cow.capacity_sectors = static_cast<std::uint32_t>(made.guest.size() / 512);
    sesparse.capacity_sectors = cow.capacity_sectors;
    for (int i = 0; i < 40; ++i) {
      const std::uint64_t first = random.Below(made.guest.size() / grain_bytes - 30);
      for (std::uint64_t grain = first; grain < first + 1 + random.Below(30); ++grain) {
        Bytes data(grain_bytes);
        random.Fill(data);
        std::copy(data.begin(), data.end(),
                  made.guest.begin() + static_cast<std::ptrdiff_t>(grain * grain_bytes));
        (se_sparse ? sesparse.grains : cow.grains)[grain] = std::move(data);
      }
    }
    if (se_sparse) {
      for (const std::uint64_t grain : {3U, 4U, 4097U}) {
        if (sesparse.grains.contains(grain)) continue;
        (grain == 4 ? sesparse.unmapped_grains : sesparse.zero_grains).insert(grain);
        std::fill_n(made.guest.begin() + static_cast<std::ptrdiff_t>(grain * grain_bytes),
                    grain_bytes, std::byte{0});
      }
    }
    const std::string name = "vm-00000" + std::to_string(level);
    Put(folder, name + "-delta.vmdk", AsText(se_sparse ? sesparse.Build() : cow.Build()));
    DescriptorText delta;
    delta.create_type = se_sparse ? "seSparse" : "vmfsSparse";
    delta.content_id = "abcdef0" + std::to_string(level);
    delta.parent_content_id = parent_id;
    delta.parent_hint = hint_folder + parent;
    delta.extents = {"RW " + sectors + (se_sparse ? " SESPARSE \"" : " VMFSSPARSE \"") + name +
                     "-delta.vmdk\""};
    made.top = Put(folder, name + ".vmdk", delta.Text());
    parent = name + ".vmdk";
    parent_id = delta.content_id;
  }
  return made;
}

TEST(VmdkImage, FollowsChainsOfEsxSnapshots) {
  for (const bool se_sparse : {false, true}) {
    SCOPED_TRACE(se_sparse);
    const TempDir folder;
    const Snapshots made = MakeSnapshots(folder, "", se_sparse);
    ExpectGuest(folder, made.top, made.guest);
    const auto disk = OpenDisk(made.top);
    ASSERT_TRUE(disk.has_value());
    const DiskImageInfo& info = disk->image->Info();
    EXPECT_EQ(info.subformat, se_sparse ? "seSparse" : "vmfsSparse");
    EXPECT_EQ(info.identity, "abcdef03");
    EXPECT_EQ(info.creator, "VMware");
    EXPECT_EQ(info.wire_format, "");
    ASSERT_EQ(info.chain.size(), 3U);
    EXPECT_EQ(info.chain.back().subformat, "vmfs");
    EXPECT_EQ(disk->files.size(), 8U);
  }
}

TEST(VmdkImage, FindsParentsWhoseHintsComeFromAnotherHost) {
  for (const char* hint : {"/vmfs/volumes/5f0c/vm/", "C:\\vms\\vm\\", "\\\\host\\share\\",
                           "[datastore1] vm/", "../gone/"}) {
    SCOPED_TRACE(hint);
    const TempDir folder;
    const Snapshots made = MakeSnapshots(folder, hint, false);
    const auto disk = OpenDisk(made.top);
    ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
    EXPECT_TRUE(ReadAll(*disk->image) == made.guest);
  }
}

TEST(VmdkImage, RefusesAParentThatIsNotTheOne) {
  const TempDir folder;
  const Snapshots made = MakeSnapshots(folder, "", false);
  DescriptorText other;
  other.extents = {"RW 8 ZERO"};
  Put(folder, "vm-000002.vmdk", other.Text());
  EXPECT_EQ(Refusal(made.top), "image.chain.parent_mismatch");
  fs::remove(folder / "vm-000002.vmdk");
  EXPECT_EQ(Refusal(made.top), "image.chain.missing");
  other.content_id = "abcdef02";
  other.parent_content_id = "abcdef03";
  other.parent_hint = "vm-000003.vmdk";
  Put(folder, "vm-000002.vmdk", other.Text());
  EXPECT_EQ(Refusal(made.top), "image.chain.loop");
}

TEST(VmdkImage, ChainsOfQemuImgReadAsQemuImgReadsThem) {
  VMFERRY_NEEDS_TOOL("qemu-io");
  const std::uint64_t seed = 12;
  SCOPED_TRACE(seed);
  FakeRandom random(seed);
  const TempDir folder;
  std::string below;
  for (int level = 0; level < 4; ++level) {
    const std::string path = folder / ("disk" + std::to_string(level) + ".vmdk");
    std::vector<std::string> create = {"qemu-img", "create",         "-q", "-f", "vmdk",
                                       "-o",       "zeroed_grain=on"};
    if (!below.empty()) create.insert(create.end(), {"-F", "vmdk", "-b", below});
    create.push_back(path);
    create.emplace_back("40M");
    ASSERT_TRUE(RunTool(create).ok());
    std::vector<std::string> write = {"qemu-io", "-f", "vmdk"};
    for (int i = 0; i < 12; ++i) {
      const std::uint64_t offset = random.Below(39 * 2048) * 512;
      const std::string range =
          std::to_string(offset) + " " + std::to_string((1 + random.Below(400)) * 512);
      write.insert(write.end(),
                   {"-c", random.Below(4) == 0
                              ? "write -z " + range
                              : "write -P " + std::to_string(random.Below(256)) + " " + range});
    }
    write.push_back(path);
    ASSERT_TRUE(RunTool(write).ok());
    below = path;
  }
  const auto disk = OpenDisk(below);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(disk->image->Info().chain.size(), 3U);
  const auto raw = folder / "oracle.raw";
  ASSERT_TRUE(RunTool({"qemu-img", "convert", "-f", "vmdk", "-O", "raw", below, raw}).ok());
  const auto oracle = sys::ReadWholeFile(raw, 64 * kMiB);
  ASSERT_TRUE(oracle.has_value());
  EXPECT_TRUE(AsText(ReadAll(*disk->image)) == *oracle);
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t offset = random.Below(oracle->size());
    Bytes part(random.Below(std::min<std::uint64_t>(oracle->size() - offset, 200'000) + 1));
    ASSERT_TRUE(disk->image->Read(offset, part).has_value());
    ASSERT_EQ(AsText(part), std::string_view(*oracle).substr(offset, part.size())) << offset;
  }
}

TEST(VmdkImage, ReadsDescriptorsOfMixedExtents) {
  const TempDir folder;
  const Bytes guest = MakeGuest(4, 4 * kMiB);
  Put(folder,
      "b\xfc"
      "cher.bin",
      AsText(guest));
  VmdkBuilder sparse;
  sparse.layout = VmdkBuilder::Layout::kDirectoryFirst;
  sparse.flags = 3;
  sparse.capacity_sectors = 2048;
  sparse.grains[1] = Bytes(8192, std::byte{5});
  Put(folder, "part-s001.vmdk", AsText(sparse.Build()));
  DescriptorText text;
  text.create_type = "custom";
  text.extents = {
      "RDONLY 1000 FLAT \"b\xfc"
      "cher.bin\" 24",
      "RW 100 ZERO", "RW 2048 SPARSE \"part-s001.vmdk\"",
      "RW 24 FLAT \"b\xfc"
      "cher.bin\" 0"};
  const auto path = Put(folder, "disk.vmdk", text.Text());
  const auto disk = OpenDisk(path);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  Bytes expected((1000 + 100 + 2048 + 24) * 512);
  std::memcpy(expected.data(), guest.data() + 24 * 512, 1000 * 512);
  std::fill_n(expected.begin() + 1100 * 512 + 8192, 8192, std::byte{5});
  std::memcpy(expected.data() + 3148 * 512, guest.data(), 24 * 512);
  EXPECT_TRUE(ReadAll(*disk->image) == expected);
  EXPECT_EQ(disk->files.size(), 3U) << "a file that is named twice is opened once";
}

TEST(VmdkImage, TriesNamesInWindows1252AndUtf8) {
  const TempDir folder;
  Put(folder,
      "b\xc3\xbc"
      "cher-flat.vmdk",
      std::string(4096, 'x'));
  DescriptorText text;
  text.extents = {
      "RW 8 FLAT \"b\xfc"
      "cher-flat.vmdk\" 0"};
  std::string spelled = text.Text();
  spelled.replace(spelled.find("UTF-8"), 5, "windows-1252");
  EXPECT_EQ(Refusal(Put(folder, "disk.vmdk", spelled)), "");
}

TEST(VmdkImage, RefusesWhatLeadsOutOfTheFolder) {
  const TempDir outside;
  const TempDir folder;
  Put(outside, "secret", std::string(8192, 's'));
  fs::create_symlink(outside / "secret", folder / "link");
  fs::create_directory_symlink(outside.path(), folder / "dir");
  fs::create_directory(folder / "inside");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  const std::string up = "../" + outside.path().filename().string() + "/secret";
  struct Case {
    std::string name;
    std::string reason;
  };
  for (const Case& tested :
       {Case{"/etc/passwd", "image.chain.outside"}, Case{up, "image.chain.outside"},
        Case{"../../../../../../etc/passwd", "image.chain.outside"},
        Case{"/dev/zero", "image.chain.outside"}, Case{"link", "image.chain.outside"},
        Case{"dir/secret", "image.chain.outside"}, Case{"..\\..\\x", "image.chain.outside"},
        Case{"C:\\etc\\passwd", "image.chain.outside"}, Case{"absent", "image.chain.missing"},
        Case{"nbd://host/x", "image.chain.bad_name"}, Case{"json:{}", "image.chain.bad_name"},
        Case{"inside", "io.is_directory"}, Case{"fifo", "image.not_a_file"}}) {
    DescriptorText text;
    text.extents = {"RW 8 FLAT \"" + tested.name + "\" 0"};
    EXPECT_EQ(Refusal(Put(folder, "disk.vmdk", text.Text())), tested.reason) << tested.name;
    DescriptorText child;
    child.extents = {"RW 8 ZERO"};
    child.parent_content_id = "1";
    child.parent_hint = tested.name;
    const std::string refusal = Refusal(Put(folder, "disk.vmdk", child.Text()));
    // A parent is looked for beside the disk, too: "passwd" or "secret" is not there.
    EXPECT_TRUE(refusal.starts_with("image.") || refusal == "io.is_directory")
        << tested.name << ": " << refusal;
  }
}

TEST(VmdkImage, RefusesTypesThatAreNotInFilesByName) {
  const TempDir folder;
  Put(folder, "x.vmdk", std::string(8192, 'x'));
  struct Case {
    std::string type;
    std::string line;
    std::string reason;
    std::string word;
  };
  for (const Case& tested :
       {Case{"vmfsRDM", "RW 8 VMFSRDM \"x.vmdk\"", "vmdk.descriptor.create_type", "vmfsRDM"},
        Case{"vmfsRDMP", "RW 8 VMFSRDM \"x.vmdk\"", "vmdk.descriptor.create_type", "vmfsRDMP"},
        Case{"vmfsPassthroughRawDeviceMap", "RW 8 VMFSRDM \"x.vmdk\"",
             "vmdk.descriptor.create_type", "raw device mapping"},
        Case{"fullDevice", "RW 8 FLAT \"\\\\.\\PhysicalDrive0\" 0", "vmdk.descriptor.create_type",
             "fullDevice"},
        Case{"partitionedDevice", "RW 8 FLAT \"/dev/sda\" 0", "vmdk.descriptor.create_type",
             "partitionedDevice"},
        Case{"vmfs", "RW 8 VMFSRDM \"x.vmdk\"", "vmdk.descriptor.extent_type", "VMFSRDM"},
        Case{"vmfs", "RW 8 HOLOGRAM \"x.vmdk\"", "vmdk.descriptor.extent_type", "HOLOGRAM"},
        Case{"holographic", "RW 8 FLAT \"x.vmdk\" 0", "vmdk.descriptor.create_type", "holographic"},
        Case{"vmfs", "RW 8 FLAT \"x.vmdk\" 0 device", "vmdk.descriptor.extent_type", "device"},
        Case{"vmfs", "NOACCESS 8 FLAT \"x.vmdk\" 0", "vmdk.descriptor.no_access", "NOACCESS"},
        Case{"vmfs", "RW 0 FLAT \"x.vmdk\" 0", "vmdk.descriptor.bad_extent", ""},
        Case{"vmfs", "RW 8 FLAT", "vmdk.descriptor.bad_extent", ""},
        Case{"vmfs", "RW 8 ZERO \"x.vmdk\"", "vmdk.descriptor.bad_extent", ""},
        Case{"vmfs", "RW 8 SPARSE \"x.vmdk\" 8", "vmdk.descriptor.bad_extent", ""},
        Case{"vmfs", "RW 8 FLAT \"x.vmdk\" 18446744073709551615", "vmdk.extent.truncated", ""},
        Case{"vmfs", "RW 8 FLAT \"x.vmdk\" 9", "vmdk.extent.truncated", ""},
        Case{"vmfs", "RW 17 FLAT \"x.vmdk\"", "vmdk.extent.truncated", ""},
        Case{"vmfs", "RW 16 FLAT \"x.vmdk\"", "", ""},
        Case{"vmfs", "RW 18446744073709551615 ZERO", "vmdk.descriptor.capacity", ""},
        Case{"vmfs", "RW 137438953472 ZERO\nRW 1 ZERO", "vmdk.descriptor.capacity", ""},
        Case{"vmfs", "RW 8 SPARSE \"x.vmdk\"", "vmdk.extent.layout", ""},
        Case{"vmfs", "RW 8 VMFSSPARSE \"x.vmdk\"", "vmdk.extent.layout", ""},
        Case{"vmfs", "RW 8 SESPARSE \"x.vmdk\"", "vmdk.extent.layout", ""},
        Case{"vmfs", "", "vmdk.descriptor.bad_extent", ""}}) {
    DescriptorText text;
    text.create_type = tested.type;
    text.extents = {tested.line};
    const auto path = Put(folder, "disk.vmdk", text.Text());
    EXPECT_EQ(Refusal(path), tested.reason) << tested.type << " " << tested.line;
    const auto disk = OpenDisk(path);
    if (disk) continue;
    EXPECT_NE(disk.error().message().find(tested.word), std::string::npos)
        << disk.error().message();
  }
}

TEST(VmdkImage, RefusesAnExtentInPlaceOfTheDisk) {
  const TempDir folder;
  VmdkBuilder sparse;
  sparse.layout = VmdkBuilder::Layout::kDirectoryFirst;
  sparse.flags = 3;
  Bytes bytes = sparse.Build();
  EXPECT_EQ(Refusal(Put(folder, "good.vmdk", AsText(bytes))), "");
  // As qemu-img leaves it: room for a descriptor, but none in it.
  std::fill_n(bytes.begin() + 512, 20 * 512, std::byte{0});
  EXPECT_EQ(Refusal(Put(folder, "disk-s001.vmdk", AsText(bytes))), "vmdk.extent.alone");
  // As VMware does.
  testing::PokeU64(bytes, 28, 0);
  testing::PokeU64(bytes, 36, 0);
  EXPECT_EQ(Refusal(Put(folder, "disk-s002.vmdk", AsText(bytes))), "vmdk.extent.alone");
  EXPECT_EQ(Refusal(Put(folder, "disk-delta.vmdk", AsText(CowBuilder{}.Build()))),
            "vmdk.extent.alone");
  EXPECT_EQ(Refusal(Put(folder, "disk-sesparse.vmdk", AsText(SeSparseBuilder{}.Build()))),
            "vmdk.extent.alone");
}

TEST(VmdkImage, TellsWhenTheRedundantDirectoryDisagrees) {
  const TempDir folder;
  VmdkBuilder sparse;
  sparse.layout = VmdkBuilder::Layout::kDirectoryFirst;
  sparse.flags = 3;
  sparse.grains[2] = Bytes(8192, std::byte{1});
  Bytes bytes = sparse.Build();
  const auto defects = [&] {
    const auto disk = OpenDisk(Put(folder, "disk.vmdk", AsText(bytes)));
    EXPECT_TRUE(disk.has_value());
    return disk ? disk->image->Info().defects.size() : 99;
  };
  EXPECT_EQ(defects(), 0U);
  bytes[72] = std::byte{1};  // unclean shutdown
  EXPECT_EQ(defects(), 1U);
  bytes[72] = std::byte{0};
  testing::PokeU32(bytes, sparse.places.redundant_directory, 0);
  EXPECT_EQ(defects(), 1U);
  testing::PokeU64(bytes, 48, ~std::uint64_t{0});
  EXPECT_EQ(defects(), 1U);
}

TEST(VmdkImage, AnEmptyLargeSparseDiskIsListedQuickly) {
  VMFERRY_NEEDS_TOOL("qemu-io");
  const TempDir folder;
  const auto path = folder / "disk.vmdk";
  ASSERT_TRUE(RunTool({"qemu-img", "create", "-q", "-f", "vmdk", path, "1900G"}).ok());
  ASSERT_TRUE(RunTool({"qemu-io", "-f", "vmdk", "-c", "write -P 3 1T 1M", path}).ok());
  const auto start = std::chrono::steady_clock::now();
  const auto disk = OpenDisk(path);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  const auto extents = disk->image->Extents(0, disk->image->SizeBytes());
  ASSERT_TRUE(extents.has_value());
  EXPECT_EQ(extents->size(), 3U);
  EXPECT_EQ((*extents)[1], (Extent{kTiB, kMiB, ExtentKind::kData}));
  EXPECT_EQ(disk->image->Info().allocated_size_bytes, kMiB);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

}  // namespace
}  // namespace vmferry::image::vmdk
