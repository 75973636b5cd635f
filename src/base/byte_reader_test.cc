// SPDX-License-Identifier: Apache-2.0
#include "base/byte_reader.h"

#include <gtest/gtest.h>

namespace vmferry {
namespace {

TEST(ByteReader, ReadsBothByteOrders) {
  ByteReader reader(AsBytes(std::string_view("\x01\x02\x03\x04\x05\x06", 6)));
  EXPECT_EQ(reader.U16Le(), 0x0201);
  EXPECT_EQ(reader.U32Be(), 0x03040506U);
  EXPECT_FALSE(reader.failed());
}

TEST(ByteReader, FailsOnceAndForGoodPastTheEnd) {
  ByteReader reader(AsBytes("abc"));
  EXPECT_EQ(reader.U32Le(), 0U);
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.U8(), 0);
  EXPECT_EQ(reader.remaining(), 0U);
}

}  // namespace
}  // namespace vmferry
