// SPDX-License-Identifier: Apache-2.0
#include "image/ova/tar.h"

#include <gtest/gtest.h>

#include <string>

#include "base/byte_reader.h"
#include "sys/file.h"
#include "testing/ova_builder.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image::ova {
namespace {

using testing::FixTarChecksum;
using testing::RunTool;
using testing::TarBuilder;
using testing::TarHeaderOffset;
using Bytes = std::vector<std::byte>;

Result<TarIndex> Read(Bytes archive) { return ReadTar(*MakeMemorySource(std::move(archive))); }

std::string Refusal(Bytes archive) {
  const auto index = Read(std::move(archive));
  return index ? "" : index.error().reason();
}

std::string ContentOf(const Bytes& archive, const TarMember& member) {
  return std::string(AsText(std::span(archive).subspan(member.offset_bytes, member.size_bytes)));
}

TEST(Tar, FindsMembersInOrder) {
  TarBuilder builder;
  builder.Add("a.ovf", "descriptor").Add("./disks/b", std::string(513, 'b')).Add("c", "");
  const Bytes archive = builder.Build();
  const auto index = Read(archive);
  ASSERT_TRUE(index.has_value()) << index.error().ToString();
  ASSERT_EQ(index->members.size(), 3U);
  EXPECT_EQ(index->members[0].name, "a.ovf");
  EXPECT_EQ(ContentOf(archive, index->members[0]), "descriptor");
  EXPECT_EQ(index->members[1].name, "disks/b");
  EXPECT_EQ(ContentOf(archive, index->members[1]), std::string(513, 'b'));
  EXPECT_EQ(index->members[2].size_bytes, 0U);
  EXPECT_TRUE(index->defects.empty());
}

TEST(Tar, ReadsLongNamesAndSizesOfEveryKind) {
  const std::string long_name = std::string(120, 'n') + ".vmdk";
  TarBuilder builder;
  builder.Pax({"path=from pax", "mtime=1.5", "size=4"}).Add("short", "four");
  builder.GnuLongName(long_name).Add("truncated", "gnu");
  builder.Pax({"comment=for all"}, 'g').Add("plain", "p", '7');
  builder.Add("zero type", "z", '\0').Add("folder/", "", '5');
  builder.entries[3].gnu = true;
  // Base-256: 0x80, then the number big-endian.
  builder.Add("binary", "four");
  builder.entries.back().size_field = std::string("\x80\0\0\0\0\0\0\0\0\0\0\x04", 12);
  builder.Add("blanks", "four");
  builder.entries.back().size_field = "         4 ";
  const Bytes archive = builder.Build();
  const auto index = Read(archive);
  ASSERT_TRUE(index.has_value()) << index.error().ToString();
  std::vector<std::string> names;
  for (const TarMember& member : index->members) names.push_back(member.name);
  EXPECT_EQ(names, (std::vector<std::string>{"from pax", long_name, "plain", "zero type", "binary",
                                             "blanks"}));
  EXPECT_EQ(ContentOf(archive, index->members[0]), "four");
  EXPECT_EQ(ContentOf(archive, index->members[4]), "four");
  EXPECT_EQ(ContentOf(archive, index->members[5]), "four");
}

TEST(Tar, JoinsPrefixAndName) {
  TarBuilder builder;
  builder.Add("name", "x");
  Bytes archive = builder.Build();
  const std::string prefix = "a/folder";
  for (std::size_t i = 0; i < prefix.size(); ++i) archive[345 + i] = std::byte(prefix[i]);
  FixTarChecksum(archive, 0);
  const auto index = Read(archive);
  ASSERT_TRUE(index.has_value());
  EXPECT_EQ(index->members.at(0).name, "a/folder/name");
}

TEST(TarCorruption, EveryFieldIsChecked) {
  struct Case {
    const char* what;
    std::size_t offset;
    std::string bytes;
    const char* reason;
    bool fix_checksum = true;
  };
  const std::vector<Case> cases = {
      {"name empty", 0, std::string(5, '\0'), "ova.tar.member_name"},
      {"name absolute", 0, "/etc/passwd", "ova.tar.member_name"},
      {"name goes up", 0, "../disk", "ova.tar.member_name"},
      {"name goes up inside", 0, "a/../../b", "ova.tar.member_name"},
      {"name with a line end", 0, "a\nb", "ova.tar.member_name"},
      {"name with a backslash", 0, "..\\b", "ova.tar.member_name"},
      {"name is the folder", 0, std::string(".\0\0\0\0", 5), "ova.tar.member_name"},
      {"mode is not used", 100, "zzzzzzz", ""},
      {"owner is not used", 108, "zzzzzzz", ""},
      {"time is not used", 136, "zzzzzzzzzzz", ""},
      {"size no number", 124, "0000000000x", "ova.tar.number"},
      {"size with a sign", 124, "-0000000001", "ova.tar.number"},
      {"size hexadecimal", 124, "0x000000010", "ova.tar.number"},
      {"size digit 8", 124, "00000000008", "ova.tar.number"},
      {"size beyond the archive", 124, "77777777777", "ova.tar.truncated"},
      {"size one block too many", 124, "00000004001", "ova.tar.truncated"},
      {"size negative", 124, std::string(12, '\xff'), "ova.tar.number"},
      {"size base-256, 64 bits", 124, std::string("\x80\0\0\0\x80\0\0\0\0\0\0\0", 12),
       "ova.tar.number"},
      {"size base-256, 63 bits", 124, std::string("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12),
       "ova.tar.truncated"},
      {"size base-256, 95 bits", 124, "\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
       "ova.tar.number"},
      {"checksum no number", 148, "zzzzzz", "ova.tar.checksum", false},
      {"checksum of another header", 148, "000001", "ova.tar.checksum", false},
      {"name without its checksum", 0, "b", "ova.tar.checksum", false},
      {"hard link", 156, "1", "ova.tar.member_type"},
      {"symbolic link", 156, "2", "ova.tar.member_type"},
      {"character device", 156, "3", "ova.tar.member_type"},
      {"block device", 156, "4", "ova.tar.member_type"},
      {"folder", 156, "5", ""},
      {"FIFO", 156, "6", "ova.tar.member_type"},
      {"contiguous file", 156, "7", ""},
      {"multi-volume", 156, "M", "ova.tar.member_type"},
      {"volume label", 156, "V", "ova.tar.member_type"},
      {"GNU sparse", 156, "S", "ova.tar.sparse"},
      {"type all ones", 156, "\xff", "ova.tar.member_type"},
      {"magic", 257, "vstar", "ova.tar.magic"},
      {"magic of GNU", 257, std::string("ustar  \0", 8), ""},
      {"prefix goes up", 345, "..", "ova.tar.member_name"},
      {"prefix absolute", 345, "/x", "ova.tar.member_name"},
  };
  TarBuilder builder;
  builder.Add("name", "").Add("other", "");
  const Bytes good = builder.Build();
  ASSERT_EQ(good.size(), 4 * kTarBlockBytes);
  for (const Case& tested : cases) {
    Bytes bad = good;
    for (std::size_t i = 0; i < tested.bytes.size(); ++i) {
      bad[tested.offset + i] = std::byte(tested.bytes[i]);
    }
    if (tested.fix_checksum) FixTarChecksum(bad, 0);
    EXPECT_EQ(Refusal(std::move(bad)), tested.reason) << tested.what;
  }
}

TEST(TarCorruption, ExtendedHeaders) {
  const auto refusal_of = [](std::string content, char type = 'x') {
    TarBuilder builder;
    builder.Add("ext", std::move(content), type).Add("file", "");
    return Refusal(builder.Build());
  };
  EXPECT_EQ(refusal_of(""), "");
  EXPECT_EQ(refusal_of("9 path=a\n"), "");
  EXPECT_EQ(refusal_of("9 path=a"), "ova.tar.pax");
  EXPECT_EQ(refusal_of("8 path=a\n"), "ova.tar.pax");
  EXPECT_EQ(refusal_of("11 path=a\n"), "ova.tar.pax");
  EXPECT_EQ(refusal_of("0 path=a\n"), "ova.tar.pax");
  EXPECT_EQ(refusal_of("3 \n"), "ova.tar.pax");
  EXPECT_EQ(refusal_of("99999999999999999999 path=a\n"), "ova.tar.pax");
  EXPECT_EQ(refusal_of("-9 path=a\n"), "ova.tar.pax");
  EXPECT_EQ(refusal_of("8 path a\n"), "ova.tar.pax");
  EXPECT_EQ(refusal_of("9 path=/\n"), "ova.tar.member_name");
  EXPECT_EQ(refusal_of("10 size=-1\n"), "ova.tar.pax");
  EXPECT_EQ(refusal_of("30 size=18446744073709551615\n"), "ova.tar.pax");  // its length is 29
  EXPECT_EQ(refusal_of("29 size=18446744073709551615\n"), "ova.tar.truncated");
  EXPECT_EQ(refusal_of("22 GNU.sparse.major=1\n"), "ova.tar.sparse");
  EXPECT_EQ(refusal_of("22 GNU.sparse.major=1\n", 'g'), "ova.tar.sparse");
  EXPECT_EQ(refusal_of("../up", 'L'), "ova.tar.member_name");
  EXPECT_EQ(refusal_of(std::string(kMaxTarExtensionBytes + 1, 'x'), 'L'), "ova.tar.extension");
  // An extension without a member behind it.
  TarBuilder builder;
  builder.end_blocks = 0;
  EXPECT_EQ(Refusal(builder.Pax({"path=a"}).Build()), "ova.tar.truncated");
}

TEST(TarCorruption, RefusesTwoMembersOfOneName) {
  TarBuilder builder;
  EXPECT_EQ(Refusal(builder.Add("a", "1").Add("b", "").Add("./a", "2").Build()),
            "ova.tar.duplicate");
}

TEST(TarCorruption, BoundsTheNumberOfMembers) {
  TarBuilder many;
  for (std::size_t i = 0; i < kMaxTarMembers; ++i) many.Add("m" + std::to_string(i), "");
  EXPECT_EQ(Refusal(many.Build()), "");
  EXPECT_EQ(Refusal(many.Add("one more", "").Build()), "ova.tar.too_many");
  TarBuilder folders;
  for (std::size_t i = 0; i < kMaxTarHeaders; ++i) folders.Add("f/", "", '5');
  EXPECT_EQ(Refusal(folders.Build()), "ova.tar.too_many");
}

TEST(TarCorruption, ACutIsNoticedAtEveryByteOfContent) {
  TarBuilder builder;
  builder.Pax({"path=pax"}).Add("a", std::string(700, 'a')).Add("b", std::string(512, 'b'));
  const Bytes whole = builder.Build();
  const std::size_t content_end = whole.size() - 2 * kTarBlockBytes;
  for (std::size_t size = 0; size < content_end; size += 17) {
    const auto index = Read(Bytes(whole.begin(), whole.begin() + static_cast<long>(size)));
    if (index) {
      EXPECT_FALSE(index->defects.empty()) << size;
      EXPECT_LT(index->members.size(), 2U) << size;
    } else {
      EXPECT_EQ(index.error().reason(), "ova.tar.truncated") << size;
    }
  }
  const auto unmarked = Read(Bytes(whole.begin(), whole.begin() + static_cast<long>(content_end)));
  ASSERT_TRUE(unmarked.has_value());
  EXPECT_EQ(unmarked->defects.size(), 1U);
}

TEST(Tar, ReadsWhatGnuTarAndPythonWrite) {
  VMFERRY_NEEDS_TOOL("tar");
  VMFERRY_NEEDS_TOOL("python3");
  const testing::TempDir folder;
  const std::string long_name = std::string(150, 'n');
  ASSERT_TRUE(sys::WriteWholeFile(folder / "vm.ovf", "descriptor").has_value());
  ASSERT_TRUE(sys::WriteWholeFile(folder / long_name, std::string(1000, 'd')).has_value());
  for (const std::string format : {"gnu", "ustar", "posix", "v7"}) {
    const auto archive = folder / ("t." + format);
    const std::string second = format == "gnu" || format == "posix" ? long_name : "vm.ovf.copy";
    ASSERT_TRUE(sys::WriteWholeFile(folder / "vm.ovf.copy", std::string(1000, 'd')).has_value());
    const auto made = RunTool(
        {"tar", "-C", folder.path(), "--format=" + format, "-cf", archive, "vm.ovf", second});
    ASSERT_TRUE(made.ok()) << made.error_output;
    const auto bytes = sys::ReadWholeFile(archive, 1 << 20);
    ASSERT_TRUE(bytes.has_value());
    const auto span = AsBytes(*bytes);
    const auto index = Read(Bytes(span.begin(), span.end()));
    if (format == "v7") {
      // Before POSIX: no magic, and nobody has made an OVA of it.
      ASSERT_FALSE(index.has_value());
      EXPECT_EQ(index.error().reason(), "ova.tar.magic");
      continue;
    }
    ASSERT_TRUE(index.has_value()) << format << ": " << index.error().ToString();
    ASSERT_EQ(index->members.size(), 2U) << format;
    EXPECT_EQ(index->members[1].name, second);
    EXPECT_EQ(bytes->substr(index->members[1].offset_bytes, 1000), std::string(1000, 'd'));
  }
  // Sizes beyond 8 GiB: base-256 (GNU) and a pax record, with the content left a hole.
  const std::string script =
      "import sys, tarfile\n"
      "for name, form in (('g', tarfile.GNU_FORMAT), ('p', tarfile.PAX_FORMAT)):\n"
      "    info = tarfile.TarInfo('big'); info.size = 9 << 30\n"
      "    head = info.tobuf(form)\n"
      "    with open(sys.argv[1] + '/big.' + name, 'wb') as out:\n"
      "        out.write(head); out.truncate(len(head) + info.size + 1024)\n";
  ASSERT_TRUE(RunTool({"python3", "-c", script, folder.path()}).ok());
  for (const char* name : {"big.g", "big.p"}) {
    auto file = sys::File::Open(folder / name, sys::File::Mode::kRead);
    ASSERT_TRUE(file.has_value());
    const auto source = MakeFileSource(*std::move(file));
    const auto index = ReadTar(**source);
    ASSERT_TRUE(index.has_value()) << name << ": " << index.error().ToString();
    EXPECT_EQ(index->members.at(0).size_bytes, 9ULL << 30);
  }
}

}  // namespace
}  // namespace vmferry::image::ova
