// SPDX-License-Identifier: Apache-2.0
#include "region/import/appliance.h"

#include <gtest/gtest.h>

#include "base/byte_reader.h"
#include "region/import/ovf.h"
#include "region/import/tar_members.h"
#include "testing/temp_dir.h"

namespace vmferry::region {
namespace {

// One ustar header with its checksum.
std::string TarHeader(const std::string& name, std::size_t size, char type = '0') {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  header.replace(100, 7, "0000644");
  char text[13] = {};
  std::snprintf(text, sizeof text, "%011zo", size);
  header.replace(124, 11, text);
  header.replace(136, 11, "00000000000");
  header[156] = type;
  header.replace(257, 8, std::string("ustar\00000", 8));
  header.replace(148, 8, "        ");
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  std::snprintf(text, sizeof text, "%06o", sum);
  header.replace(148, 8, std::string(text, 6) + '\0' + ' ');
  return header;
}

std::string Member(const std::string& name, const std::string& content, char type = '0') {
  std::string member = TarHeader(name, content.size(), type) + content;
  member.resize((member.size() + 511) / 512 * 512, '\0');
  return member;
}

const std::string kEnd(1024, '\0');

class Tar : public ::testing::Test {
 protected:
  Result<std::vector<TarMember>> Read(const std::string& content) {
    EXPECT_TRUE(sys::WriteWholeFile(dir_ / "a.ova", content));
    return ReadTarMembers(sys::File::Open(dir_ / "a.ova", sys::File::Mode::kRead).value());
  }
  testing::TempDir dir_;
};

TEST_F(Tar, FindsItsFiles) {
  const auto members = Read(Member("./vm.ovf", "<x/>") + Member("folder", "", '5') +
                            Member("disk.vmdk", "content") + kEnd);
  ASSERT_TRUE(members) << members.error().ToString();
  ASSERT_EQ(members->size(), 2U);
  EXPECT_EQ((*members)[0].name, "vm.ovf");
  EXPECT_EQ((*members)[1].name, "disk.vmdk");
  EXPECT_EQ((*members)[1].size_bytes, 7U);
  EXPECT_EQ((*members)[1].offset_bytes, 2048U);
}

TEST_F(Tar, LongNamesAndSizesOfExtendedHeadersCount) {
  const auto members =
      Read(Member("h", "26 path=long-name.vmdk.xx\n", 'x') + Member("short", "abc") +
           Member("h", "gnu-name.vmdk", 'L') + Member("other", "de") + kEnd);
  ASSERT_TRUE(members) << members.error().ToString();
  EXPECT_EQ((*members)[0].name, "long-name.vmdk.xx");
  EXPECT_EQ((*members)[1].name, "gnu-name.vmdk");
}

TEST_F(Tar, RefusesWhatIsNoPlainArchive) {
  std::string bad_sum = Member("a", "b");
  bad_sum[0] = 'c';
  std::string huge = TarHeader("a", 0);
  huge.replace(124, 11, "77777777777");
  for (const std::string& content :
       {std::string(), kEnd, std::string("\x1f\x8b") + std::string(2000, 'x'), bad_sum + kEnd,
        huge + kEnd, Member("a", "b") + Member("a", "c") + kEnd, Member("../a", "b") + kEnd,
        Member("d/a", "b") + kEnd, Member("a", "", '1') + kEnd, Member("a", "", '2') + kEnd,
        Member("a", "", '3') + kEnd, Member("a", std::string(2000, 'x')).substr(0, 1024),
        Member("h", "99 path=x\n", 'x') + Member("a", "b") + kEnd,
        Member("h", "17 size=99999999\n", 'x') + Member("a", "b") + kEnd}) {
    const auto members = Read(content);
    ASSERT_FALSE(members);
    EXPECT_EQ(members.error().message(), "Disk validation failed [Unsupported OVA format]");
  }
}

constexpr std::string_view kOvf = R"(<Envelope>
 <References><File id="f1" href="one.vmdk"/><File id="f2" href="two.vmdk"/></References>
 <DiskSection><Disk diskId="d1" fileRef="f1"/><Disk diskId="d2" fileRef="f2"/></DiskSection>
 <VirtualSystem><VirtualHardwareSection>
  <Item><AddressOnParent>1</AddressOnParent><HostResource>ovf:/disk/d1</HostResource><Parent>3</Parent><ResourceType>17</ResourceType></Item>
  <Item><AddressOnParent>0</AddressOnParent><HostResource>ovf:/disk/d2</HostResource><Parent>3</Parent><ResourceType>17</ResourceType></Item>
  <Config key="firmware" value="efi"/>
 </VirtualHardwareSection></VirtualSystem></Envelope>)";

std::string Replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result(text);
  const std::size_t at = result.find(from);
  EXPECT_NE(at, result.npos) << from;
  result.replace(at, from.size(), to);
  return result;
}

TEST(Ovf, DisksComeInTheMachinesOrder) {
  const auto ovf = ParseOvf(kOvf);
  ASSERT_TRUE(ovf) << ovf.error().ToString();
  EXPECT_EQ(ovf->disk_files, (std::vector<std::string>{"two.vmdk", "one.vmdk"}));
  EXPECT_TRUE(ovf->uefi);
}

TEST(Ovf, RefusesWhatIsNotOneWholeMachine) {
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"href=\"one.vmdk\"", "href=\"../one.vmdk\""},
           {"href=\"one.vmdk\"", "href=\"http://x/one.vmdk\""},
           {"href=\"one.vmdk\"", "href=\"one.vmdk\" compression=\"gzip\""},
           {"id=\"f2\"", "id=\"f1\""},
           {"diskId=\"d2\"", "diskId=\"d1\""},
           {"fileRef=\"f2\"", "fileRef=\"f3\""},
           {"fileRef=\"f2\"", "fileRef=\"f2\" parentRef=\"d1\""},
           {"fileRef=\"f2\"", "fileRef=\"f1\""},
           {"/disk/d2", "/disk/d9"},
           {"<VirtualSystem>", "<VirtualSystemCollection/><VirtualSystem>"},
           {"<Envelope>", "<!DOCTYPE x><Envelope>"},
           {"</Envelope>", ""}}) {
    EXPECT_FALSE(ParseOvf(Replaced(kOvf, from, to))) << from << to;
  }
  const auto chunked =
      ParseOvf(Replaced(kOvf, "href=\"one.vmdk\"", "href=\"one.vmdk\" chunkSize=\"7\""));
  ASSERT_FALSE(chunked);
  EXPECT_EQ(chunked.error().message(),
            "Disk validation failed [OVF file parsing error: OVA with chunked disk files is not "
            "supported]");
}

}  // namespace
}  // namespace vmferry::region
