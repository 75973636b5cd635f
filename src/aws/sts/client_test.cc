// SPDX-License-Identifier: Apache-2.0
#include "aws/sts/client.h"

#include <gtest/gtest.h>

#include "testing/fake_aws_caller.h"

namespace vmferry::aws::sts {
namespace {

TEST(StsClient, TellsWhoWeAre) {
  testing::FakeAwsCaller fake;
  fake.http.Answer(200,
                   "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
                   "<GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/a</Arn><UserId>AID"
                   "</UserId><Account>123456789012</Account></GetCallerIdentityResult>"
                   "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
                   "</GetCallerIdentityResponse>");
  const auto identity = Client(fake.caller).GetCallerIdentity(fake.context);
  ASSERT_TRUE(identity) << identity.error().ToString();
  EXPECT_EQ(identity->account, "123456789012");
  EXPECT_EQ(identity->arn, "arn:aws:iam::123456789012:user/a");
  EXPECT_EQ(identity->user_id, "AID");
  EXPECT_EQ(fake.http.sent().at(0).body, "Action=GetCallerIdentity&Version=2011-06-15");
  EXPECT_NE(fake.http.sent().at(0).Header("authorization").find("/sts/aws4_request"),
            std::string::npos);
}

TEST(StsClient, RefusesAnAnswerWithoutAccount) {
  testing::FakeAwsCaller fake;
  fake.http.Answer(200, "<GetCallerIdentityResponse/>");
  EXPECT_EQ(Client(fake.caller).GetCallerIdentity(fake.context).error().reason(),
            "aws.bad_response");
}

}  // namespace
}  // namespace vmferry::aws::sts
