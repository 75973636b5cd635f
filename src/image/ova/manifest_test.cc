// SPDX-License-Identifier: Apache-2.0
#include "image/ova/manifest.h"

#include <gtest/gtest.h>

#include <string>

namespace vmferry::image::ova {
namespace {

const std::string kSha1(40, 'a');
const std::string kSha256(64, 'b');
const std::string kSha512(128, 'c');

std::string Refusal(const std::string& text) {
  const auto entries = ParseManifest(text);
  return entries ? "" : entries.error().reason();
}

TEST(Manifest, ReadsEverySpellingOfALine) {
  const auto entries =
      ParseManifest("SHA1(a.ovf)= " + kSha1 + "\r\nSHA256 (b disk.vmdk) = " + std::string(64, 'B') +
                    "\n\nSHA512(c)=" + kSha512 + "\nsha-256(./VM (1) = copy.ovf)= " + kSha256);
  ASSERT_TRUE(entries.has_value()) << entries.error().ToString();
  ASSERT_EQ(entries->size(), 4U);
  EXPECT_EQ((*entries)[0].file, "a.ovf");
  EXPECT_EQ((*entries)[0].kind, codec::DigestKind::kSha1);
  EXPECT_EQ((*entries)[1].file, "b disk.vmdk");
  EXPECT_EQ((*entries)[1].digest, kSha256);
  EXPECT_EQ((*entries)[2].kind, codec::DigestKind::kSha512);
  EXPECT_EQ((*entries)[3].file, "VM (1) = copy.ovf");
  EXPECT_TRUE(ParseManifest("").has_value());
}

TEST(ManifestCorruption, EveryPartIsChecked) {
  EXPECT_EQ(Refusal("MD5(a)= " + std::string(32, 'a')), "ova.manifest.algorithm");
  EXPECT_EQ(Refusal("(a)= " + kSha1), "ova.manifest.algorithm");
  EXPECT_EQ(Refusal("SHA1(a)= " + kSha256), "ova.manifest.syntax");
  EXPECT_EQ(Refusal("SHA1(a)= " + std::string(40, 'g')), "ova.manifest.syntax");
  EXPECT_EQ(Refusal("SHA1(a)= "), "ova.manifest.syntax");
  EXPECT_EQ(Refusal("SHA1(a) " + kSha1), "ova.manifest.syntax");
  EXPECT_EQ(Refusal("SHA1 a = " + kSha1), "ova.manifest.syntax");
  EXPECT_EQ(Refusal("SHA1(a) x = " + kSha1), "ova.manifest.syntax");
  EXPECT_EQ(Refusal("SHA1()= " + kSha1), "ova.manifest.syntax");
  EXPECT_EQ(Refusal("SHA1(../a)= " + kSha1), "ova.manifest.syntax");
  EXPECT_EQ(Refusal("SHA1(/etc/passwd)= " + kSha1), "ova.manifest.syntax");
  EXPECT_EQ(Refusal(")=("), "ova.manifest.syntax");
  EXPECT_EQ(Refusal("SHA1(a)= " + kSha1 + "\nSHA256(a)= " + kSha256), "");
  EXPECT_EQ(Refusal("SHA1(a)= " + kSha1 + "\nSHA1(./a)= " + kSha1), "ova.manifest.syntax");
  EXPECT_EQ(Refusal(std::string("\0\0\0", 3)), "ova.manifest.syntax");
  EXPECT_EQ(Refusal(std::string(kMaxManifestLines + 1, '\n')), "ova.manifest.too_long");
}

}  // namespace
}  // namespace vmferry::image::ova
