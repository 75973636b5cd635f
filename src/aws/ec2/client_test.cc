// SPDX-License-Identifier: Apache-2.0
#include "aws/ec2/client.h"

#include <gtest/gtest.h>

#include "aws/core/error.h"
#include "testing/fake_aws_caller.h"

namespace vmferry::aws::ec2 {
namespace {

using testing::FakeAwsCaller;

std::string Wrap(std::string_view action, std::string_view content) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<" + std::string(action) +
         "Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>" +
         std::string(content) + "</" + std::string(action) + "Response>";
}

class Ec2ClientTest : public ::testing::Test {
 protected:
  void Answer(std::string_view action, std::string_view content) {
    fake_.http.Answer(200, Wrap(action, content));
  }
  std::string Form(std::size_t index = 0) { return fake_.http.sent().at(index).body; }
  /// The form without "Action=...&Version=2016-11-15".
  std::string Parameters(std::size_t index = 0) {
    const std::string form = Form(index);
    const std::size_t version = form.find("&Version=2016-11-15");
    return form.substr(version + 19);
  }
  FakeAwsCaller fake_;
  Client client_{fake_.caller};
};

constexpr std::string_view kTask =
    "<conversionTaskId>import-i-fg4z7c9u</conversionTaskId><expirationTime>2026-01-08T00:00:00Z"
    "</expirationTime><importInstance><volumes><item><bytesConverted>1470714096</bytesConverted>"
    "<availabilityZone>us-east-1a</availabilityZone><image><format>VMDK</format>"
    "<size>1568721408</size><importManifestUrl>https://b/m?X-Amz-Signature=s&amp;x=1"
    "</importManifestUrl></image><description>d</description><volume><size>8</size>"
    "<id>vol-1</id></volume><status>active</status><statusMessage>Progress: 50%</statusMessage>"
    "</item></volumes><instanceId>i-1</instanceId><platform>Linux</platform>"
    "<description>vmferry mig-1</description></importInstance><state>active</state>"
    "<statusMessage>Pending</statusMessage><tagSet><item><key>k</key><value>v</value></item>"
    "</tagSet>";

TEST_F(Ec2ClientTest, ImportInstanceSendsEveryParameterByItsName) {
  Answer("ImportInstance", "<conversionTask>" + std::string(kTask) + "</conversionTask>");
  const auto task = client_.ImportInstance(
      {.instance_type = "t3.small",
       .description = "vmferry mig-1",
       .subnet_id = "subnet-1",
       .group_ids = {"sg-1", "sg-2"},
       .zone = "us-east-1a",
       .disks = {{.format = "VMDK",
                  .image_size_bytes = 12595200,
                  .import_manifest_url = "http://127.0.0.1:8014/b/m.xml?a=1&b=2",
                  .volume_size_gib = 8,
                  .description = "disk"}}},
      fake_.context);
  ASSERT_TRUE(task) << task.error().ToString();
  EXPECT_EQ(Form(),
            "Action=ImportInstance&Version=2016-11-15&Platform=Linux&Description=vmferry%20mig-1"
            "&LaunchSpecification.Architecture=x86_64&LaunchSpecification.InstanceType=t3.small"
            "&LaunchSpecification.GroupId.1=sg-1&LaunchSpecification.GroupId.2=sg-2"
            "&LaunchSpecification.SubnetId=subnet-1"
            "&LaunchSpecification.Placement.AvailabilityZone=us-east-1a"
            "&DiskImage.1.Image.Format=VMDK&DiskImage.1.Image.Bytes=12595200"
            "&DiskImage.1.Image.ImportManifestUrl=http%3A%2F%2F127.0.0.1%3A8014%2Fb%2Fm.xml%3Fa%3D1"
            "%26b%3D2&DiskImage.1.Volume.Size=8&DiskImage.1.Description=disk");
  const auto sent = fake_.http.sent().at(0);
  EXPECT_EQ(sent.method, "POST");
  EXPECT_EQ(sent.url.path, "/");
  EXPECT_EQ(sent.Header("content-type"), "application/x-www-form-urlencoded; charset=utf-8");
  EXPECT_EQ(task->id, "import-i-fg4z7c9u");
  EXPECT_EQ(task->state, "active");
  EXPECT_EQ(task->status_message, "Pending");
  EXPECT_EQ(task->instance_id, "i-1");
  EXPECT_EQ(task->description, "vmferry mig-1");
  EXPECT_EQ(task->tags.at("k"), "v");
  ASSERT_EQ(task->volumes.size(), 1U);
  EXPECT_EQ(task->volumes[0].bytes_converted, 1470714096U);
  EXPECT_EQ(task->volumes[0].import_manifest_url, "https://b/m?X-Amz-Signature=s&x=1");
  EXPECT_EQ(task->volumes[0].volume_id, "vol-1");
  EXPECT_EQ(task->volumes[0].status_message, "Progress: 50%");
}

TEST_F(Ec2ClientTest, ImportInstanceIsNotSentAgainAfterAnUnclearAnswer) {
  for (const char* body : {"", "<html/>", "<ImportInstanceResponse/>"}) {
    FakeAwsCaller fake;
    fake.http.Answer(200, body);
    fake.http.Answer(200, Wrap("ImportInstance", "<conversionTask/>"));
    const auto task = Client(fake.caller).ImportInstance({}, fake.context);
    ASSERT_FALSE(task) << body;
    EXPECT_EQ(fake.http.sent().size(), 1U);
    EXPECT_TRUE(OutcomeUnknown(task.error()));
  }
}

TEST_F(Ec2ClientTest, ConversionTasksMayBeNestedEmptyOrOfAnotherKind) {
  Answer("DescribeConversionTasks",
         "<conversionTasks><item><conversionTask>" + std::string(kTask) +
             "</conversionTask></item><item><conversionTaskId>import-vol-ffmkcg21"
             "</conversionTaskId><state>cancelled</state><statusMessage>ClientError: x"
             "</statusMessage><importVolume><bytesConverted>0</bytesConverted><volume><size>1"
             "</size></volume></importVolume></item></conversionTasks>");
  const std::vector<std::string> ids = {"import-i-fg4z7c9u", "import-vol-ffmkcg21"};
  const auto tasks = client_.DescribeConversionTasks(ids, fake_.context);
  ASSERT_TRUE(tasks) << tasks.error().ToString();
  ASSERT_EQ(tasks->size(), 2U);
  EXPECT_EQ(tasks->at(0).instance_id, "i-1");
  EXPECT_EQ(tasks->at(1).state, "cancelled");
  EXPECT_EQ(tasks->at(1).volumes.at(0).status_message, "ClientError: x");
  EXPECT_EQ(Parameters(),
            "&ConversionTaskId.1=import-i-fg4z7c9u&ConversionTaskId.2=import-vol-"
            "ffmkcg21");
  for (const char* empty : {"", "<conversionTasks/>"}) {
    Answer("DescribeConversionTasks", empty);
    EXPECT_TRUE(client_.DescribeConversionTasks({}, fake_.context)->empty());
  }
}

TEST_F(Ec2ClientTest, CancelSendsTheReason) {
  Answer("CancelConversionTask", "<return>true</return>");
  ASSERT_TRUE(client_.CancelConversionTask("import-i-1", "asked to", fake_.context));
  EXPECT_EQ(Parameters(), "&ConversionTaskId=import-i-1&ReasonMessage=asked%20to");
}

TEST_F(Ec2ClientTest, DescribeInstancesReadsAllPages) {
  const auto page = [](std::string_view id, std::string_view rest) {
    return "<reservationSet><item><instancesSet><item><instanceId>" + std::string(id) +
           "</instanceId><instanceState><code>272</code><name>running</name></instanceState>"
           "<instanceType>t3.small</instanceType><privateIpAddress>10.0.0.1</privateIpAddress>"
           "<ipAddress>127.0.0.1</ipAddress><placement><availabilityZone>us-east-1a"
           "</availabilityZone></placement><rootDeviceName>/dev/sda1</rootDeviceName>"
           "<blockDeviceMapping><item><deviceName>/dev/sda1</deviceName><ebs><volumeId>vol-1"
           "</volumeId></ebs></item></blockDeviceMapping><tagSet><item><key>Name</key><value>web"
           "</value></item></tagSet></item></instancesSet></item></reservationSet>" +
           std::string(rest);
  };
  Answer("DescribeInstances", page("i-1", "<nextToken>t</nextToken>"));
  Answer("DescribeInstances", page("i-2", ""));
  const auto instances = client_.DescribeInstances(
      {.filters = {{"tag:vmferry", {"mig-1", "mig-2"}}, {"image-id", {"ami-1"}}}}, fake_.context);
  ASSERT_TRUE(instances) << instances.error().ToString();
  ASSERT_EQ(instances->size(), 2U);
  const Instance& instance = instances->at(0);
  EXPECT_EQ(instance.id, "i-1");
  EXPECT_EQ(instance.state, "running");
  EXPECT_EQ(instance.state_code, 16);  // of the low byte
  EXPECT_EQ(instance.public_ip, "127.0.0.1");
  EXPECT_EQ(instance.zone, "us-east-1a");
  EXPECT_EQ(instance.root_device, "/dev/sda1");
  EXPECT_EQ(instance.block_devices.at(0).volume_id, "vol-1");
  EXPECT_EQ(instance.tags.at("Name"), "web");
  EXPECT_EQ(Parameters(0),
            "&Filter.1.Name=tag%3Avmferry&Filter.1.Value.1=mig-1&Filter.1.Value.2=mig-2"
            "&Filter.2.Name=image-id&Filter.2.Value.1=ami-1&MaxResults=1000");
  EXPECT_TRUE(Form(1).ends_with("&NextToken=t"));
}

TEST_F(Ec2ClientTest, SelectionByIdHasNoPageSize) {
  Answer("DescribeInstances", "<reservationSet/>");
  EXPECT_TRUE(client_.DescribeInstances({.ids = {"i-1"}}, fake_.context)->empty());
  EXPECT_EQ(Parameters(), "&InstanceId.1=i-1");
}

TEST_F(Ec2ClientTest, StatusCoversStoppedInstances) {
  Answer("DescribeInstanceStatus",
         "<instanceStatusSet><item><instanceId>i-1</instanceId><instanceState><code>16</code>"
         "<name>running</name></instanceState><systemStatus><status>ok</status></systemStatus>"
         "<instanceStatus><status>initializing</status></instanceStatus></item>"
         "</instanceStatusSet>");
  const std::vector<std::string> ids = {"i-1"};
  const auto statuses = client_.DescribeInstanceStatus(ids, fake_.context);
  ASSERT_TRUE(statuses);
  EXPECT_EQ(statuses->at(0).system, "ok");
  EXPECT_EQ(statuses->at(0).instance, "initializing");
  EXPECT_EQ(Parameters(), "&InstanceId.1=i-1&IncludeAllInstances=true");
}

TEST_F(Ec2ClientTest, ChangesStates) {
  const std::vector<std::string> ids = {"i-1"};
  for (const std::string action : {"StartInstances", "StopInstances", "TerminateInstances"}) {
    Answer(action,
           "<instancesSet><item><instanceId>i-1</instanceId><currentState><code>0</code><name>"
           "pending</name></currentState><previousState><code>80</code><name>stopped</name>"
           "</previousState></item></instancesSet>");
  }
  const auto started = client_.StartInstances(ids, fake_.context);
  ASSERT_TRUE(started);
  EXPECT_EQ(started->at(0).previous, "stopped");
  EXPECT_EQ(started->at(0).current, "pending");
  ASSERT_TRUE(client_.StopInstances(ids, fake_.context));
  ASSERT_TRUE(client_.TerminateInstances(ids, fake_.context));
  EXPECT_TRUE(Form(2).starts_with("Action=TerminateInstances&"));
  EXPECT_EQ(Parameters(2), "&InstanceId.1=i-1");
}

TEST_F(Ec2ClientTest, ConsoleOutputIsDecoded) {
  Answer("GetConsoleOutput",
         "<instanceId>i-1</instanceId><timestamp>2026-01-01T00:00:00Z</timestamp><output>"
         "bG9n\naW46\n</output>");
  const auto console = client_.GetConsoleOutput("i-1", true, fake_.context);
  ASSERT_TRUE(console) << console.error().ToString();
  EXPECT_EQ(console->output, "login:");
  EXPECT_EQ(Parameters(), "&InstanceId=i-1&Latest=true");
  Answer("GetConsoleOutput", "<instanceId>i-1</instanceId>");
  EXPECT_EQ(client_.GetConsoleOutput("i-1", false, fake_.context)->output, "");
  Answer("GetConsoleOutput", "<output>no!</output>");
  EXPECT_EQ(client_.GetConsoleOutput("i-1", false, fake_.context).error().reason(),
            "aws.bad_response");
}

TEST_F(Ec2ClientTest, ReadsVolumes) {
  Answer("DescribeVolumes",
         "<volumeSet><item><volumeId>vol-1</volumeId><size>8</size><snapshotId/><availabilityZone>"
         "us-east-1a</availabilityZone><status>in-use</status><encrypted>true</encrypted>"
         "<volumeType>gp2</volumeType><attachmentSet><item><instanceId>i-1</instanceId><device>"
         "/dev/sda1</device><status>attached</status></item></attachmentSet></item></volumeSet>");
  const auto volumes = client_.DescribeVolumes({.ids = {"vol-1"}}, fake_.context);
  ASSERT_TRUE(volumes);
  const Volume& volume = volumes->at(0);
  EXPECT_EQ(volume.state, "in-use");
  EXPECT_EQ(volume.size_gib, 8U);
  EXPECT_TRUE(volume.encrypted);
  EXPECT_EQ(volume.attachments.at(0).device, "/dev/sda1");
  Answer("DeleteVolume", "<return>true</return>");
  ASSERT_TRUE(client_.DeleteVolume("vol-1", fake_.context));
  EXPECT_EQ(Parameters(1), "&VolumeId=vol-1");
}

TEST_F(Ec2ClientTest, CreatesAndFindsSnapshots) {
  const std::string fields =
      "<snapshotId>snap-1</snapshotId><volumeId>vol-1</volumeId><status>pending</status>"
      "<progress>37%</progress><volumeSize>8</volumeSize><encrypted>false</encrypted><description>"
      "d</description><tagSet><item><key>a</key><value/></item></tagSet>";
  Answer("CreateSnapshot", fields);
  const auto created = client_.CreateSnapshot("vol-1", "d", {{"a", ""}, {"b", "2"}}, fake_.context);
  ASSERT_TRUE(created) << created.error().ToString();
  EXPECT_EQ(created->id, "snap-1");
  EXPECT_EQ(created->state, "pending");
  EXPECT_EQ(created->progress, "37%");
  EXPECT_EQ(created->tags.at("a"), "");
  EXPECT_EQ(Parameters(),
            "&VolumeId=vol-1&Description=d&TagSpecification.1.ResourceType=snapshot"
            "&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value="
            "&TagSpecification.1.Tag.2.Key=b&TagSpecification.1.Tag.2.Value=2");
  Answer("DescribeSnapshots", "<snapshotSet><item>" + fields + "</item></snapshotSet>");
  const auto found = client_.DescribeSnapshots({.filters = {{"tag:a", {"x"}}}}, fake_.context);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->at(0).volume_size_gib, 8U);
  EXPECT_EQ(Parameters(1),
            "&Filter.1.Name=tag%3Aa&Filter.1.Value.1=x&MaxResults=1000&Owner.1=self");
  Answer("DeleteSnapshot", "<return>true</return>");
  ASSERT_TRUE(client_.DeleteSnapshot("snap-1", fake_.context));
  EXPECT_EQ(Parameters(2), "&SnapshotId=snap-1");
}

TEST_F(Ec2ClientTest, CreateSnapshotIsNotSentAgainAfterABrokenConnection) {
  fake_.http.AnswerError(
      Error(ErrorCode::kUnavailable, "http.cut", "broken").WithRetry(Retry::kTransient));
  fake_.http.Answer(200, Wrap("CreateSnapshot", "<snapshotId>snap-2</snapshotId>"));
  ASSERT_FALSE(client_.CreateSnapshot("vol-1", "", {}, fake_.context));
  EXPECT_EQ(fake_.http.sent().size(), 1U);
}

TEST_F(Ec2ClientTest, TagsListsAndRegions) {
  Answer("CreateTags", "<return>true</return>");
  const std::vector<std::string> ids = {"i-1", "vol-1"};
  ASSERT_TRUE(client_.CreateTags(ids, {{"k", "v"}}, fake_.context));
  EXPECT_EQ(Parameters(), "&ResourceId.1=i-1&ResourceId.2=vol-1&Tag.1.Key=k&Tag.1.Value=v");
  Answer("DescribeRegions",
         "<regionInfo><item><regionName>us-east-1</regionName><regionEndpoint>e</regionEndpoint>"
         "<optInStatus>opted-in</optInStatus></item></regionInfo>");
  EXPECT_EQ(client_.DescribeRegions(fake_.context)->at(0).name, "us-east-1");
  Answer("DescribeAvailabilityZones",
         "<availabilityZoneInfo><item><zoneName>us-east-1a</zoneName><zoneState>available"
         "</zoneState><regionName>us-east-1</regionName></item></availabilityZoneInfo>");
  EXPECT_EQ(client_.DescribeAvailabilityZones(fake_.context)->at(0).state, "available");
}

TEST_F(Ec2ClientTest, DescribeIsRepeatedAfterAnAnswerThatCannotBe) {
  fake_.http.Answer(200, "<DescribeRegionsResponse><cut");
  Answer("DescribeRegions", "<regionInfo/>");
  EXPECT_TRUE(client_.DescribeRegions(fake_.context));
}

}  // namespace
}  // namespace vmferry::aws::ec2
