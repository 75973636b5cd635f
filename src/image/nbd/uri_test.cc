// SPDX-License-Identifier: Apache-2.0
#include "image/nbd/uri.h"

#include <gtest/gtest.h>

#include <string>

namespace vmferry::image::nbd {
namespace {

TEST(NbdUri, KnowsItsSchemes) {
  for (const char* yes : {"nbd://h", "nbds://h/x", "nbd+unix:///x", "nbds+unix:///x", "nbd+ssh://h",
                          "nbds+vsock://1"}) {
    EXPECT_TRUE(IsUri(yes)) << yes;
  }
  for (const char* no : {"disk.vmdk", "nbd", "nbd:/x", "nbdx://h", "http://nbd://", "/nbd://x"}) {
    EXPECT_FALSE(IsUri(no)) << no;
  }
}

TEST(NbdUri, TakesAddressesApart) {
  const auto tcp = ParseUri("nbd://host:10810/a%20b");
  ASSERT_TRUE(tcp);
  EXPECT_EQ(tcp->address, "nbd://host:10810/a%20b");
  EXPECT_EQ(tcp->export_name, "a b");
  EXPECT_FALSE(tcp->tls);

  const auto local = ParseUri("nbd+unix:///?socket=/tmp/s");
  ASSERT_TRUE(local);
  EXPECT_EQ(local->address, "nbd+unix:///?socket=/tmp/s");
  EXPECT_EQ(local->export_name, "");

  const auto tls = ParseUri("nbds://[::1]/x?tls-certificates=/etc/my%2Fpki");
  ASSERT_TRUE(tls);
  EXPECT_EQ(tls->address, "nbds://[::1]/x");
  EXPECT_EQ(tls->certificates, "/etc/my/pki");
  EXPECT_TRUE(tls->tls);
}

TEST(NbdUri, RefusesWhatReachesFurther) {
  for (const std::string bad : {"nbd+ssh://host/x",
                                "nbd+vsock://1/x",
                                "nbd://",
                                "nbd:///x",
                                "nbd+unix://host/x?socket=/s",
                                "nbd+unix:///x",
                                "nbd+unix:///x?socket=",
                                "nbd+unix:///x?socket=/a&socket=/b",
                                "nbd://h/x?socket=/s",
                                "nbd://h/x?tls-certificates=/d",
                                "nbds://h/x?tls-psk-file=/etc/passwd",
                                "nbds://h/x?tls%2Dpsk%2Dfile=/etc/passwd",
                                "nbds://h/x?tls-verify-peer=false",
                                "nbds://h/x?tls-certificates=/a&tls-psk-file=/etc/passwd",
                                "nbds://h/x?tls-certificates=/a;tls-verify-peer=0",
                                "nbd://h/x#y",
                                "nbd://h/x y",
                                "nbd://h/x\ny",
                                "nbd://h/%zz",
                                "nbd://h/%0",
                                "nbd://h/%00",
                                "nbd://h/x?%zz=1"}) {
    const auto uri = ParseUri(bad);
    ASSERT_FALSE(uri) << bad;
    EXPECT_EQ(uri.error().reason(), "nbd.uri") << bad;
  }
  EXPECT_TRUE(ParseUri("nbd://h/" + std::string(4096, 'x')));
  EXPECT_FALSE(ParseUri("nbd://h/" + std::string(4097, 'x')));
  EXPECT_FALSE(ParseUri("nbd://h/" + std::string(20000, 'x')));
}

}  // namespace
}  // namespace vmferry::image::nbd
