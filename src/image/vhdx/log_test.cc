// SPDX-License-Identifier: Apache-2.0
//
// Logs that were left behind: what they hold is read as if it had reached its place.

#include "image/vhdx/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/digest.h"
#include "image/open.h"
#include "image/vhdx/vhdx_image.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vhdx_builder.h"

namespace vmferry::image::vhdx {
namespace {

using testing::FakeRandom;
using testing::TempDir;
using testing::VhdxBuilder;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kSector = 4096;
constexpr std::string_view kLogGuid = "abcdef01-2345-6789-abcd-ef0123456789";

Result<std::unique_ptr<DiskImage>> OpenBytes(Bytes bytes) {
  return Open(MakeMemorySource(std::move(bytes)), NoCompanions());
}

std::string ReasonOf(Bytes bytes) {
  const auto disk = OpenBytes(std::move(bytes));
  return disk ? "" : disk.error().reason();
}

Bytes ReadAll(const DiskImage& disk) {
  Bytes bytes(disk.SizeBytes());
  const auto read = disk.Read(0, bytes);
  EXPECT_TRUE(read.has_value()) << read.error().ToString();
  return bytes;
}

/// A disk whose BAT and metadata are in the log only: in their places is garbage.
struct DirtyDisk {
  VhdxBuilder builder;
  Bytes clean;  ///< the file as it is meant
  Bytes guest;

  DirtyDisk() {
    FakeRandom random(5);
    builder.size_bytes = 4 * kMiB;
    builder.blocks[0].bytes.resize(kMiB);
    builder.blocks[2].bytes.resize(kMiB);
    random.Fill(builder.blocks[0].bytes);
    random.Fill(builder.blocks[2].bytes);
    clean = builder.Build();
    guest = ReadAll(**OpenBytes(clean));
    builder.log_guid = kLogGuid;
    builder.log_start_bytes = builder.log_bytes - 2 * kSector;  // it wraps, inside an entry
    builder.log = {
        {.writes = {Garbage(builder.places.bat), Sector(builder.places.metadata)}, .sequence = 41},
        {.writes = {Sector(Items()), Zeros(builder.places.bat + kSector, 2)}, .sequence = 42},
        {.writes = {Sector(builder.places.bat)}, .sequence = 43}};
  }

  std::uint64_t Items() const { return builder.places.metadata + 64 * kKiB; }

  VhdxBuilder::LogWrite Sector(std::uint64_t offset) const {
    const auto from = clean.begin() + static_cast<std::ptrdiff_t>(offset);
    return {.offset_bytes = offset, .data = Bytes(from, from + kSector)};
  }
  static VhdxBuilder::LogWrite Garbage(std::uint64_t offset) {
    return {.offset_bytes = offset, .data = Bytes(kSector, std::byte{0xa4})};
  }
  static VhdxBuilder::LogWrite Zeros(std::uint64_t offset, std::uint64_t sectors) {
    return {.offset_bytes = offset, .data = {}, .zero_length_bytes = sectors * kSector};
  }

  /// The file as the crash left it.
  Bytes Build() const {
    Bytes bytes = builder.Build();
    for (const std::uint64_t at :
         {builder.places.metadata, Items(), builder.places.bat, builder.places.bat + kSector}) {
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), kSector, std::byte{0xee});
    }
    return bytes;
  }
};

TEST(VhdxLog, IsReplayedInMemory) {
  const DirtyDisk dirty;
  const auto disk = OpenBytes(dirty.Build());
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_TRUE(ReadAll(**disk) == dirty.guest);
  const auto& defects = (*disk)->Info().defects;
  ASSERT_EQ(defects.size(), 1U);
  EXPECT_NE(defects[0].find("replayed in memory (3 entries)"), std::string::npos);
}

TEST(VhdxLog, LeavesTheFileAlone) {
  const DirtyDisk dirty;
  const TempDir folder;
  const Bytes before = dirty.Build();
  ASSERT_TRUE((testing::SparseFile{{{0, before}}, before.size()}).Write(folder / "disk.vhdx"));
  const auto disk = OpenDisk(folder / "disk.vhdx");
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_TRUE(ReadAll(*disk->image) == dirty.guest);
  const auto after = sys::ReadWholeFile(folder / "disk.vhdx", 64 * kMiB);
  ASSERT_TRUE(after.has_value());
  EXPECT_TRUE(
      std::equal(before.begin(), before.end(), AsBytes(*after).begin(), AsBytes(*after).end()));
}

TEST(VhdxLog, QemuImgReplaysItAlike) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  DirtyDisk dirty;
  dirty.builder.log_start_bytes = 0;
  const TempDir folder;
  const Bytes bytes = dirty.Build();
  for (const char* name : {"disk.vhdx", "copy.vhdx"}) {
    ASSERT_TRUE((testing::SparseFile{{{0, bytes}}, bytes.size()}).Write(folder / name));
  }
  const auto repaired =
      testing::RunTool({"qemu-img", "check", "-f", "vhdx", "-r", "all", folder / "copy.vhdx"});
  ASSERT_TRUE(repaired.ok()) << repaired.error_output << repaired.output;
  const auto ours = OpenDisk(folder / "disk.vhdx");
  const auto theirs = OpenDisk(folder / "copy.vhdx");
  ASSERT_TRUE(ours.has_value() && theirs.has_value());
  EXPECT_TRUE(theirs->image->Info().defects.empty());
  EXPECT_TRUE(ReadAll(*ours->image) == ReadAll(*theirs->image));
}

TEST(VhdxLog, AppliesToPayloadToo) {
  DirtyDisk dirty;
  const std::uint64_t block = dirty.builder.places.blocks[2];
  dirty.builder.log.push_back(
      {.writes = {DirtyDisk::Garbage(block + kSector), DirtyDisk::Zeros(block + 3 * kSector, 5),
                  DirtyDisk::Garbage(block + 4 * kSector)},
       .sequence = 44});
  const auto disk = OpenBytes(dirty.Build());
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  Bytes expected = dirty.guest;
  const auto at = expected.begin() + 2 * kMiB;
  std::fill_n(at + kSector, kSector, std::byte{0xa4});
  std::fill_n(at + 3 * kSector, 5 * kSector, std::byte{0});
  std::fill_n(at + 4 * kSector, kSector, std::byte{0xa4});
  ASSERT_TRUE(ReadAll(**disk) == expected);
  for (const std::uint64_t start : {2 * kMiB + 4095, 2 * kMiB + 4 * kSector + 17}) {
    Bytes part(9001);
    ASSERT_TRUE((*disk)->Read(start, part).has_value());
    EXPECT_TRUE(std::equal(part.begin(), part.end(),
                           expected.begin() + static_cast<std::ptrdiff_t>(start)));
  }
}

TEST(VhdxLog, EndsInFrontOfATornEntry) {
  DirtyDisk dirty;
  dirty.builder.log.push_back(
      {.writes = {DirtyDisk::Garbage(dirty.builder.places.bat)}, .sequence = 44, .torn = true});
  const auto disk = OpenBytes(dirty.Build());
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_TRUE(ReadAll(**disk) == dirty.guest);
}

TEST(VhdxLog, BeginsWhereTheHeadsTailSays) {
  DirtyDisk dirty;
  // The first entry would break the metadata, but the head says that it is done with.
  dirty.builder.log.insert(
      dirty.builder.log.begin(),
      {.writes = {DirtyDisk::Garbage(dirty.builder.places.metadata)}, .sequence = 40});
  dirty.builder.log.back().tail_entry = 1;
  EXPECT_EQ(ReasonOf(dirty.Build()), "");
}

TEST(VhdxLog, TheSequenceWithTheHighestNumberIsActive) {
  DirtyDisk dirty;
  // What an earlier lap left behind: whole, but older.
  dirty.builder.log.push_back({.writes = {DirtyDisk::Garbage(dirty.builder.places.metadata)},
                               .sequence = 12,
                               .tail_entry = -1});
  const auto disk = OpenBytes(dirty.Build());
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_TRUE(ReadAll(**disk) == dirty.guest);
}

TEST(VhdxLog, WithoutAnyWholeEntryIsRefused) {
  DirtyDisk dirty;
  for (auto& entry : dirty.builder.log) entry.torn = true;
  EXPECT_EQ(ReasonOf(dirty.Build()), "vhdx.log.damaged");
}

/// Writes an entry without descriptors, `length` sectors long, over what is there.
void PutEmptyEntry(Bytes& file, std::uint64_t log, std::uint64_t slot, std::uint64_t length,
                   std::uint64_t sequence, std::uint64_t tail) {
  const std::uint64_t at = log + slot * kSector;
  const auto put = [&](std::uint64_t offset, std::uint64_t value, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      file[at + offset + i] = static_cast<std::byte>(value >> (8 * i));
    }
  };
  std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(at), 64, std::byte{0});
  std::memcpy(&file[at], "loge", 4);
  put(8, length * kSector, 4);
  put(12, tail, 4);
  put(16, sequence, 8);
  const Bytes guid = testing::VhdxGuid(kLogGuid);
  std::copy(guid.begin(), guid.end(), file.begin() + static_cast<std::ptrdiff_t>(at + 32));
  put(48, file.size(), 8);
  put(56, file.size(), 8);
  put(4, codec::Crc32c(std::span(file).subspan(at, length * kSector)), 4);
}

// Sixty first entries, all followed by the same long sequence, none of them valid: following each
// to its end would cost the product, and hours in a log of the largest size.
TEST(VhdxLog, WithSequencesThatShareTheirEndIsGivenUp) {
  constexpr std::uint64_t kFirsts = 60;
  constexpr std::uint64_t kSlots = kMiB / kSector;
  VhdxBuilder builder;
  builder.log_guid = kLogGuid;
  Bytes file = builder.Build();
  const std::uint64_t log = builder.places.log;
  const std::uint64_t nowhere = (kSlots - 1) * kSector;
  for (std::uint64_t slot = kFirsts; slot < kSlots - 2; ++slot) {
    PutEmptyEntry(file, log, slot, 1, 2 + slot - kFirsts, nowhere);
  }
  for (std::uint64_t slot = kFirsts; slot-- > 0;) {
    PutEmptyEntry(file, log, slot, kFirsts - slot, 1, nowhere);
  }
  const auto disk = OpenBytes(std::move(file));
  ASSERT_FALSE(disk.has_value());
  EXPECT_EQ(disk.error().reason(), "vhdx.log.damaged");
  EXPECT_NE(disk.error().message().find("sequences"), std::string::npos) << disk.error().message();
  EXPECT_NE(disk.error().message().find("overlap"), std::string::npos) << disk.error().message();
}

TEST(VhdxLog, ThatWasNeverWrittenIsADefect) {
  VhdxBuilder builder;
  builder.log_guid = kLogGuid;
  const auto disk = OpenBytes(builder.Build());
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ((*disk)->Info().defects.size(), 1U);
}

TEST(VhdxLog, ThatIsTooLongIsRefused) {
  const TempDir folder;
  VhdxBuilder builder;
  builder.log_guid = kLogGuid;
  builder.log_bytes = 512 << 20;
  ASSERT_TRUE(builder.BuildSparse().Write(folder / "disk.vhdx"));
  const auto disk = OpenDisk(folder / "disk.vhdx");
  ASSERT_FALSE(disk.has_value());
  EXPECT_EQ(disk.error().reason(), "vhdx.log.too_large");
}

TEST(VhdxLog, TellsThatTheFileWasCutOff) {
  DirtyDisk dirty;
  dirty.builder.flushed_file_bytes = dirty.clean.size() + 1;
  EXPECT_EQ(ReasonOf(dirty.Build()), "vhdx.log.file_truncated");
}

TEST(VhdxLog, MayMakeTheFileLonger) {
  DirtyDisk dirty;
  dirty.builder.flushed_file_bytes = 1;
  dirty.builder.last_file_bytes = dirty.clean.size();
  Bytes bytes = dirty.Build();
  bytes.resize(bytes.size() - kMiB);  // block 2 was allocated, but the file not made longer
  const auto disk = OpenBytes(std::move(bytes));
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  Bytes expected = dirty.guest;
  std::fill_n(expected.begin() + 2 * kMiB, kMiB, std::byte{0});
  EXPECT_TRUE(ReadAll(**disk) == expected);
}

TEST(VhdxLog, EveryFlippedBitOfAnEntryIsNoticedProperty) {
  const DirtyDisk dirty;
  const Bytes good = dirty.Build();
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    FakeRandom random(seed);
    Bytes bad = good;
    // In the last entry: then nothing says what the BAT is.
    const std::uint64_t at = dirty.builder.places.log_entries[2] + random.Below(2 * kSector);
    bad[dirty.builder.places.log + at] ^= static_cast<std::byte>(1U << random.Below(8));
    EXPECT_NE(ReasonOf(std::move(bad)), "");
  }
}

TEST(LoggedWrites, LaterOnesCoverEarlierOnesProperty) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    FakeRandom random(seed);
    LoggedWrites writes;
    std::vector<std::uint64_t> model(64, 0);  // per sector: 0 nothing, 1 zero, else its place
    for (std::uint64_t i = 0; i < 40; ++i) {
      LoggedWrite write;
      write.zero = random.Below(2) == 0;
      const std::uint64_t first = random.Below(64);
      const std::uint64_t count = write.zero ? 1 + random.Below(64 - first) : 1;
      write.offset_bytes = first * kSector;
      write.length_bytes = count * kSector;
      write.place_bytes = write.zero ? 0 : 100 + i;
      writes.Add(write);
      std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(first), count,
                  write.zero ? 1 : write.place_bytes);
    }
    std::vector<std::uint64_t> seen(64, 0);
    for (const LoggedWrite& write : writes.List()) {
      for (std::uint64_t at = 0; at < write.length_bytes; at += kSector) {
        std::uint64_t& sector = seen.at((write.offset_bytes + at) / kSector);
        ASSERT_EQ(sector, 0U);
        sector = write.zero ? 1 : write.place_bytes;
      }
    }
    ASSERT_EQ(seen, model);
  }
}

}  // namespace
}  // namespace vmferry::image::vhdx
