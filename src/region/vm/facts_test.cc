// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "region/vm/instance_types.h"
#include "region/vm/key_pairs.h"
#include "region/vm/qemu.h"
#include "region/vm/screen.h"

namespace vmferry::region::vm {
namespace {

TEST(Screen, BecomesJpegOfTheSameSize) {
  std::string ppm = "P6\n16 9\n255\n";
  for (int i = 0; i < 16 * 9 * 3; ++i) ppm += static_cast<char>(i);
  const auto jpeg = JpegOfPpm(ppm);
  ASSERT_TRUE(jpeg) << jpeg.error().ToString();
  EXPECT_EQ(jpeg->substr(0, 3), "\xff\xd8\xff");
  EXPECT_EQ(jpeg->substr(jpeg->size() - 2), "\xff\xd9");
  // ITU T.81 B.2.2: SOF0, length, precision 8, height, width, three components.
  EXPECT_NE(jpeg->find(std::string("\xff\xc0\x00\x11\x08\x00\x09\x00\x10\x03", 10)),
            std::string::npos);
}

TEST(Screen, RefusesWhatIsNoPicture) {
  for (const std::string& bad :
       {std::string(), std::string("P6"), std::string("P5\n1 1\n255\n."),
        std::string("P6\n1 1\n255\n.."), std::string("P6\n0 1\n255\n"),
        std::string("P6\n99999 99999\n255\n"), std::string("P6\n1 1\n65535\n......"),
        std::string("P6\n-1 1\n255\n..."), std::string("P6\n1 1 255")}) {
    const auto jpeg = JpegOfPpm(bad);
    ASSERT_FALSE(jpeg) << bad;
    EXPECT_EQ(jpeg.error().reason(), "region.bad_screen");
  }
}

TEST(InstanceTypes, AreSortedAndFound) {
  std::string_view last;
  for (const InstanceType& type : InstanceTypes()) {
    EXPECT_LT(last, type.name);
    last = type.name;
    ASSERT_TRUE(FindInstanceType(type.name));
    EXPECT_EQ(FindInstanceType(type.name)->memory_mib, type.memory_mib);
  }
  EXPECT_FALSE(FindInstanceType("t3.gigantic"));
  EXPECT_EQ(FindInstanceType("t3.small")->memory_mib, 2048U);
  EXPECT_EQ(FindInstanceType("t2.micro")->hypervisor, Hypervisor::kXen);
  EXPECT_EQ(FindInstanceType("m5.large")->hypervisor, Hypervisor::kNitro);
}

// Fingerprints by other programs: ssh-keygen -l -E sha256, and openssl for the RSA key.
TEST(KeyPairs, HaveTheFingerprintsOfEc2) {
  const auto ed = ParsePublicKey(
      "ssh-ed25519 "
      "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here\n");
  ASSERT_TRUE(ed) << ed.error().ToString();
  EXPECT_EQ(ed->type, "ed25519");
  EXPECT_EQ(ed->fingerprint, "ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA=");
  for (const char* bad : {"", "ssh-rsa", "ssh-rsa AAAA", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
                          "ssh-dss AAAAB3NzaC1kc3M=", "ssh-ed25519 !!!!"}) {
    EXPECT_FALSE(ParsePublicKey(bad)) << bad;
  }
}

TEST(KeyPairs, RsaFingerprintIsThatOfTheDerForm) {
  const auto rsa = ParsePublicKey(
      "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDJOwAiEmDssomv7Y0OFdQJzxUALiUdPk/SLyr8H43B"
      "0zjpzLRdLoGOhFPZmVS2lKNKKYgMcmia8DKhuuWrt/B3r5aAI23DhNi3wZ0CfoTv2sAf6Fs1myn1HJKa"
      "MB/p3APck6/NTWvrpmjZzhnWvjqtdqAvuBTRmnKVBz7MeQIpihbwI6ug0kwvAtpYeC2ixxKaC4j5nkek"
      "sHlnzYF+2sTQQxKbBaGFHQxQllFCfN1HVjd88+zPhAYcl5uSRnDVMoousas4G611p5g+J5Rduu9Ao3F5"
      "ajkJcekpR3vrxRSpyhnRmLY7A7q5u8Z5sIF+/peBJrrudUYlUHfeJChSs4C9 test");
  ASSERT_TRUE(rsa) << rsa.error().ToString();
  EXPECT_EQ(rsa->type, "rsa");
  EXPECT_EQ(rsa->fingerprint, "ad:c5:4c:de:c6:a7:00:4a:64:46:76:77:b4:0d:9b:de");
}

TEST(Qemu, TakesOtherBusesAndUefi) {
  EXPECT_EQ(ParseDiskBus("sata"), DiskBus::kSata);
  EXPECT_EQ(ParseDiskBus("virtio"), DiskBus::kVirtio);
  EXPECT_FALSE(ParseDiskBus("floppy"));
  EXPECT_EQ(PortsOf(0), 8U);
  EXPECT_EQ(PortsOf(27), 27U);
  EXPECT_EQ(MacAddressOf("i-1").size(), 17U);
  EXPECT_NE(MacAddressOf("i-1"), MacAddressOf("i-2"));
}

}  // namespace
}  // namespace vmferry::region::vm
