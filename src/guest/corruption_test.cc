// SPDX-License-Identifier: Apache-2.0
//
// Every field of MBR, extended boot records and GPT set to what it must not be: the disk is
// described all the same, and what is wrong is said. Built from the specifications, not by the
// reader.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/units.h"
#include "codec/digest.h"
#include "guest/disk_reader.h"
#include "guest/fields.h"
#include "guest/gpt.h"
#include "guest/inspect.h"
#include "testing/memory_disk.h"

namespace vmferry::guest {
namespace {

using testing::MemoryDisk;

void Poke(Bytes& bytes, std::size_t at, std::size_t width, std::uint64_t value) {
  if (bytes.size() < at + width) bytes.resize(at + width);
  for (std::size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
  }
}

void PokeText(Bytes& bytes, std::size_t at, std::string_view text) {
  if (bytes.size() < at + text.size()) bytes.resize(at + text.size());
  std::memcpy(bytes.data() + at, text.data(), text.size());
}

/// An entry of a boot record in sector `sector`.
void PokeEntry(Bytes& bytes, std::size_t sector, std::size_t index, std::uint8_t status,
               std::uint8_t type, std::uint32_t start, std::uint32_t count) {
  const std::size_t at = sector * 512 + 446 + index * 16;
  Poke(bytes, at, 4, status);
  Poke(bytes, at + 4, 4, type);
  Poke(bytes, at + 8, 4, start);
  Poke(bytes, at + 12, 4, count);
  Poke(bytes, sector * 512 + 510, 2, 0xaa55);
}

GuestLayout Describe(Bytes bytes, std::uint64_t size_bytes) {
  const MemoryDisk disk(std::move(bytes), size_bytes);
  auto layout = InspectGuest(disk);
  EXPECT_TRUE(layout) << layout.error().ToString();
  EXPECT_LE(disk.reads(), DiskReader::kMaxReads);
  EXPECT_FALSE(layout->firmware.reasons.empty());
  return *std::move(layout);
}

std::string Joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "; ";
  return text;
}

struct Mutation {
  std::string what;
  std::function<void(Bytes&)> apply;
  std::string defect;  ///< part of what is said; "" where nothing is wrong
  std::size_t partitions;
};

constexpr std::uint64_t kMbrDiskBytes = 1000 * 512;

/// A primary partition, an extended one with two logical partitions in it.
Bytes MbrDisk() {
  Bytes bytes;
  PokeEntry(bytes, 0, 0, 0x80, 0x83, 10, 90);
  PokeEntry(bytes, 0, 1, 0, 0x05, 100, 800);
  PokeEntry(bytes, 100, 0, 0, 0x83, 2, 98);
  PokeEntry(bytes, 100, 1, 0, 0x05, 200, 200);
  PokeEntry(bytes, 300, 0, 0, 0x83, 2, 98);
  return bytes;
}

TEST(GuestCorruption, Mbr) {
  const std::vector<Mutation> mutations = {
      {"nothing", [](Bytes&) {}, "", 4},
      {"boot signature", [](Bytes& b) { Poke(b, 510, 2, 0); }, "", 0},
      {"status 1", [](Bytes& b) { Poke(b, 446, 1, 1); }, "", 0},
      {"status 0x81", [](Bytes& b) { Poke(b, 446 + 48, 1, 0x81); }, "", 0},
      {"type 0", [](Bytes& b) { Poke(b, 446 + 4, 1, 0); }, "", 3},
      {"no sectors", [](Bytes& b) { Poke(b, 446 + 12, 4, 0); }, "", 3},
      {"all ones long", [](Bytes& b) { Poke(b, 446 + 12, 4, ~0U); }, "past the end", 4},
      {"starts at all ones", [](Bytes& b) { Poke(b, 446 + 8, 4, ~0U); }, "past the end", 4},
      {"overlap", [](Bytes& b) { PokeEntry(b, 0, 2, 0, 0x83, 50, 20); }, "1 and 3 overlap", 5},
      {"overlap with a logical one", [](Bytes& b) { PokeEntry(b, 0, 2, 0, 7, 150, 20); },
       "5 and 3 overlap", 5},
      {"two extended", [](Bytes& b) { PokeEntry(b, 0, 2, 0, 0x0f, 910, 50); }, "two extended", 5},
      {"extended past the end", [](Bytes& b) { PokeEntry(b, 0, 1, 0, 5, 5000, 800); },
       "lies past the end", 2},
      {"extended record without signature", [](Bytes& b) { Poke(b, 300 * 512 + 510, 2, 0); },
       "sector 300 has no signature", 3},
      {"link to itself", [](Bytes& b) { PokeEntry(b, 100, 1, 0, 5, 0, 200); }, "back to itself", 3},
      {"link back", [](Bytes& b) { PokeEntry(b, 300, 1, 0, 5, 0, 200); }, "back to itself", 4},
      {"link out of the frame", [](Bytes& b) { PokeEntry(b, 100, 1, 0, 5, 800, 200); },
       "leaves the extended", 3},
      {"link at all ones", [](Bytes& b) { PokeEntry(b, 100, 1, 0, 5, ~0U, ~0U); },
       "leaves the extended", 3},
      {"logical past its frame", [](Bytes& b) { PokeEntry(b, 300, 0, 0, 0x83, 2, 650); },
       "past the extended", 4},
      {"logical at all ones", [](Bytes& b) { PokeEntry(b, 300, 0, 0, 0x83, ~0U, ~0U); },
       "past the end", 4},
      {"protective without a GPT", [](Bytes& b) { PokeEntry(b, 0, 0, 0, 0xee, 1, ~0U); },
       "none can be read", 4},
  };
  for (const Mutation& mutation : mutations) {
    Bytes bytes = MbrDisk();
    mutation.apply(bytes);
    const GuestLayout layout = Describe(std::move(bytes), kMbrDiskBytes);
    EXPECT_EQ(layout.partitions.size(), mutation.partitions) << mutation.what;
    const std::string said = Joined(layout.defects);
    if (mutation.defect.empty()) {
      EXPECT_EQ(said, "") << mutation.what;
    } else {
      EXPECT_NE(said.find(mutation.defect), std::string::npos) << mutation.what << ": " << said;
    }
  }
}

TEST(GuestCorruption, LogicalPartitionsWithoutEnd) {
  Bytes bytes;
  PokeEntry(bytes, 0, 0, 0, 0x05, 1, 100000);
  for (std::uint32_t i = 1; i < 1000; ++i) {
    PokeEntry(bytes, i, 0, 0, 0x83, 1, 1);
    PokeEntry(bytes, i, 1, 0, 0x05, i, 1);
  }
  const GuestLayout layout = Describe(std::move(bytes), 200000 * 512);
  EXPECT_EQ(layout.partitions.size(), 1U + 128U);
  EXPECT_NE(Joined(layout.defects).find("more than 128"), std::string::npos);
}

/// A GPT with one partition, and its copy; `sector` bytes in a sector.
struct GptDisk {
  std::size_t sector = 512;
  std::uint64_t sectors = 1000;
  Bytes entries = Bytes(std::size_t{128} * 128);
  Bytes header[2] = {Bytes(92), Bytes(92)};

  explicit GptDisk(std::size_t sector_bytes = 512) : sector(sector_bytes) {
    Poke(entries, 0, 8, 0x11d2f81fc12a7328);
    Poke(entries, 8, 8, 0x3bc93ec9a0004bba);
    Poke(entries, 16, 8, 77);
    Poke(entries, 32, 8, 100);
    Poke(entries, 40, 8, 199);
    Poke(entries, 56, 8, 0x0000006900480041);  // "AHi", the end
    const std::uint64_t array = entries.size() / sector;
    for (const int copy : {0, 1}) {
      Bytes& h = header[copy];
      PokeText(h, 0, "EFI PART");
      Poke(h, 8, 4, 0x00010000);
      Poke(h, 12, 4, 92);
      Poke(h, 24, 8, copy == 0 ? 1 : sectors - 1);
      Poke(h, 32, 8, copy == 0 ? sectors - 1 : 1);
      Poke(h, 40, 8, 2 + array);
      Poke(h, 48, 8, sectors - 2 - array);
      Poke(h, 56, 8, 42);
      Poke(h, 72, 8, copy == 0 ? 2 : sectors - 1 - array);
      Poke(h, 80, 4, 128);
      Poke(h, 84, 4, 128);
    }
  }

  Bytes Build(bool sums = true) const {
    Bytes bytes;
    PokeEntry(bytes, 0, 0, 0, 0xee, 1, ~0U);
    bytes.resize(sectors * sector);
    const std::uint64_t array = entries.size() / sector;
    for (const int copy : {0, 1}) {
      Bytes h = header[copy];
      if (sums) {
        Poke(h, 88, 4, codec::Crc32(entries));
        Poke(h, 16, 4, 0);
        Poke(h, 16, 4, codec::Crc32(h));
      }
      const std::size_t at = (copy == 0 ? 1 : sectors - 1) * sector;
      std::copy(h.begin(), h.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
      const std::size_t array_at = (copy == 0 ? 2 : sectors - 1 - array) * sector;
      std::copy(entries.begin(), entries.end(),
                bytes.begin() + static_cast<std::ptrdiff_t>(array_at));
    }
    return bytes;
  }
};

TEST(GuestCorruption, GptOfBothSectorSizesIsRead) {
  for (const std::size_t sector : {512U, 4096U}) {
    const GptDisk disk(sector);
    const GuestLayout layout = Describe(disk.Build(), disk.sectors * sector);
    EXPECT_EQ(layout.table, TableKind::kGpt);
    EXPECT_EQ(layout.sector_bytes, sector);
    ASSERT_EQ(layout.partitions.size(), 1U);
    EXPECT_EQ(layout.partitions[0].offset_bytes, 100 * sector);
    EXPECT_EQ(layout.partitions[0].length_bytes, 100 * sector);
    EXPECT_EQ(layout.partitions[0].name, "AHi");
    EXPECT_TRUE(layout.partitions[0].esp);
    EXPECT_EQ(Joined(layout.defects), "");
  }
}

TEST(GuestCorruption, GptHeader) {
  struct Case {
    std::string what;
    std::size_t at;
    std::size_t width;
    std::uint64_t value;
    std::string reason;  ///< after "guest.gpt."
  };
  const std::vector<Case> cases = {
      {"signature", 0, 1, 0, "signature"},
      {"revision 2", 8, 4, 0x20000, "revision"},
      {"header of 91 bytes", 12, 4, 91, "header_size"},
      {"header of 513 bytes", 12, 4, 513, "header_size"},
      {"header all ones", 12, 4, ~0U, "header_size"},
      {"my_lba 2", 24, 8, 2, "my_lba"},
      {"first usable behind last", 40, 8, 990, "usable"},
      {"last usable 0", 48, 8, 0, "usable"},
      {"entries at 1", 72, 8, 1, "entries"},
      {"no entries", 80, 4, 0, "entries"},
      {"1,025 entries", 80, 4, 1025, "entries"},
      {"entries all ones", 80, 4, ~0U, "entries"},
      {"entry of 64 bytes", 84, 4, 64, "entries"},
      {"entry of 192 bytes", 84, 4, 192, "entries"},
      {"entry of 8,192 bytes", 84, 4, 8192, "entries"},
      {"entry all ones", 84, 4, ~0U, "entries"},
      {"array of 1 MiB", 80, 8, 1024 | std::uint64_t{1024} << 32, "entries"},
  };
  for (const Case& one : cases) {
    GptDisk disk;
    Poke(disk.header[0], one.at, one.width, one.value);
    Bytes bytes = disk.Build();
    const auto header = ParseGptHeader(Slice(bytes, 512, 512), 1);
    ASSERT_FALSE(header) << one.what;
    EXPECT_EQ(header.error().reason(), "guest.gpt." + one.reason) << one.what;
    // The copy stands in.
    const GuestLayout layout = Describe(std::move(bytes), disk.sectors * 512);
    EXPECT_EQ(layout.partitions.size(), 1U) << one.what;
    EXPECT_NE(Joined(layout.defects).find("copy is used"), std::string::npos) << one.what;
  }
  // A checksum that is wrong, of the header and of the entries.
  const auto unsummed = ParseGptHeader(Slice(GptDisk().Build(false), 512, 512), 1);
  ASSERT_FALSE(unsummed);
  EXPECT_EQ(unsummed.error().reason(), "guest.gpt.header_crc");
  Bytes bytes = GptDisk().Build();
  Poke(bytes, 1024 + 60, 1, 0x42);
  EXPECT_NE(Joined(Describe(std::move(bytes), 512000).defects).find("checksum of its entries"),
            std::string::npos);
}

TEST(GuestCorruption, GptPlacesOutsideTheDisk) {
  struct Case {
    std::size_t at;
    std::uint64_t value;
    std::string defect;
  };
  for (const Case& one : std::vector<Case>{{32, 998, "enlarged"},
                                           {32, 5000, "cut off"},
                                           {32, ~std::uint64_t{0}, "cut off"},
                                           {72, 999, "copy is used"},
                                           {72, ~std::uint64_t{0}, "copy is used"},
                                           {72, ~std::uint64_t{0} / 512, "copy is used"}}) {
    GptDisk disk;
    Poke(disk.header[0], one.at, 8, one.value);
    const GuestLayout layout = Describe(disk.Build(), disk.sectors * 512);
    EXPECT_EQ(layout.partitions.size(), 1U);
    EXPECT_NE(Joined(layout.defects).find(one.defect), std::string::npos)
        << one.defect << ": " << Joined(layout.defects);
  }
}

TEST(GuestCorruption, GptPartitions) {
  struct Case {
    std::uint64_t first;
    std::uint64_t last;
    std::string defect;
  };
  constexpr std::uint64_t kOnes = ~std::uint64_t{0};
  for (const Case& one : std::vector<Case>{{200, 199, "impossible"},
                                           {0, kOnes, "impossible"},
                                           {kOnes, kOnes, "impossible"},
                                           {kOnes / 512 - 1, kOnes / 512, "impossible"},
                                           {1, 40, "leaves the area"},
                                           {900, 970, "leaves the area"},
                                           {900, 5000, "past the end"}}) {
    GptDisk disk;
    Poke(disk.entries, 32, 8, one.first);
    Poke(disk.entries, 40, 8, one.last);
    const GuestLayout layout = Describe(disk.Build(), disk.sectors * 512);
    EXPECT_NE(Joined(layout.defects).find(one.defect), std::string::npos)
        << one.first << ": " << Joined(layout.defects);
  }
}

TEST(GuestCorruption, GptWithoutItsMbrAndMbrOverAGpt) {
  GptDisk disk;
  Bytes bytes = disk.Build();
  Poke(bytes, 510, 2, 0);
  GuestLayout layout = Describe(bytes, disk.sectors * 512);
  EXPECT_EQ(layout.table, TableKind::kGpt);
  EXPECT_NE(Joined(layout.defects).find("no protective MBR"), std::string::npos);
  // Nothing at the beginning at all: the copy alone makes no table.
  std::fill_n(bytes.begin(), 2048, std::byte{0});
  layout = Describe(bytes, disk.sectors * 512);
  EXPECT_EQ(layout.table, TableKind::kNone);
  EXPECT_NE(Joined(layout.findings).find("remains of a GPT"), std::string::npos);

  bytes = disk.Build();
  PokeEntry(bytes, 0, 0, 0, 0x83, 100, 100);
  layout = Describe(bytes, disk.sectors * 512);
  EXPECT_EQ(layout.table, TableKind::kMbr);
  EXPECT_NE(Joined(layout.findings).find("remains of a GPT"), std::string::npos);
}

TEST(GuestCorruption, WorkIsBoundedWhateverTheTableSays) {
  GptDisk disk;
  for (std::uint64_t i = 0; i < 128; ++i) {
    Poke(disk.entries, i * 128, 8, 0x11d2f81fc12a7328);
    Poke(disk.entries, i * 128 + 8, 8, 0x3bc93ec9a0004bba);
    Poke(disk.entries, i * 128 + 32, 8, 100 + i);
    Poke(disk.entries, i * 128 + 40, 8, 900);
  }
  const GuestLayout layout = Describe(disk.Build(), disk.sectors * 512);
  EXPECT_EQ(layout.partitions.size(), 128U);
  EXPECT_NE(Joined(layout.findings).find("only the first 64"), std::string::npos);
}

TEST(GuestFields, TextIsHarmless) {
  EXPECT_EQ(Text(AsBytes("plain  ")), "plain");
  EXPECT_EQ(Text(AsBytes("W\xc3\xbcrzel")), "W\xc3\xbcrzel");
  EXPECT_EQ(Text(AsBytes("\x1b[31m\x7f")), "?[31m?");
  EXPECT_EQ(Text(AsBytes("\xc3\xff\xed\xa0\x80\xc0\x80")), "???????");
  EXPECT_EQ(Text(AsBytes("\xc2\x9b\xe2\x80\xae")), "??");  // CSI; right-to-left override
  EXPECT_EQ(Utf16Text(AsBytes(std::string_view("A\0\x3d\xd8\x00\xde\x00\xd8", 8))),
            "A\xf0\x9f\x98\x80?");
  EXPECT_EQ(Utf16Text(AsBytes(std::string_view("B\0\0\0C\0", 6))), "B");
  EXPECT_EQ(Uuid(Bytes(15)), "");
}

}  // namespace
}  // namespace vmferry::guest
